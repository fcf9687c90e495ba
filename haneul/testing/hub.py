"""An honest fake of the places models come from: a small web server over a folder.

It speaks the listings and downloads of Hugging Face and ModelScope and the simple package index
(PEP 691 and 503), with ranges, entity tags and redirects, and misbehaves where it is told to.

    FOLDER/models/ORG/REPO/FILE      repositories of both hubs
    FOLDER/wheels/NAME-VERSION-….whl the package index
    FOLDER/files/FILE                a plain web server under /files/
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from aiohttp import web

CHUNK_BYTES = 64 << 10


@dataclass
class Faults:
    """What one of the surfaces does wrong; the defaults are: nothing."""

    listing_status: int = 0  # answers every listing with this status
    listing_hangs: bool = False  # never answers a listing
    lists_no_hashes: bool = False
    speaks_html: bool = False  # the index: no JSON
    download_status: int = 0
    download_hangs: bool = False  # sends the head and then nothing
    cut_after_bytes: int = 0  # of each download, then the connection breaks
    ignores_range: bool = False
    wrong_bytes: bool = False  # the last byte of every download is another
    claims_bytes: int = 0  # announces this length
    packs: bool = False  # claims a Content-Encoding
    redirect_to: str = ""  # downloads lead there
    pause_s: float = 0.0  # between chunks of 64 KiB


@dataclass(frozen=True)
class Seen:
    """One request that came."""

    surface: str
    path: str
    headers: dict[str, str]


class FakeHub:
    """Serves on a free port of 127.0.0.1 within `async with`; surfaces are named as the sources."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: defaultdict[str, Faults] = defaultdict(Faults)
        self.seen: list[Seen] = []
        self.url = ""
        self._runner: web.AppRunner | None = None

    @property
    def environ(self) -> dict[str, str]:
        """The environment that points every source here."""
        return {
            "HF_ENDPOINT": self.url,
            "MODELSCOPE_ENDPOINT": self.url,
            "PIP_INDEX_URL": f"{self.url}/simple",
        }

    async def __aenter__(self) -> Self:
        app = web.Application()
        repository = r"{org:[^/]+}/{repo:[^/]+}"
        app.add_routes(
            [
                web.get(f"/api/models/{repository}/revision/{{revision}}", self._huggingface),
                web.get(f"/{repository}/resolve/{{revision}}/{{file:.+}}", self._resolve),
                web.get(f"/api/v1/models/{repository}/repo/files", self._modelscope),
                web.get(f"/api/v1/models/{repository}/repo", self._repo),
                web.get("/simple/{name}/", self._simple),
                web.get("/wheels/{file}", self._wheel),
                web.get("/files/{file:.+}", self._file),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def downloads(self) -> list[Seen]:
        """The requests for files, without those for listings."""
        return [
            seen for seen in self.seen if not re.search(r"/api/models|/files\?|/simple", seen.path)
        ]

    # Hugging Face
    async def _huggingface(self, request: web.Request) -> web.StreamResponse:
        faults = await self._listing("huggingface", request)
        files = self._repository(request)
        siblings = []
        for name, path in files.items():
            sibling: dict[str, object] = {"rfilename": name, "size": path.stat().st_size}
            if not faults.lists_no_hashes:
                sibling["lfs"] = {
                    "sha256": _sha256(path),
                    "size": path.stat().st_size,
                    "pointerSize": 134,
                }
            siblings.append(sibling)
        return web.json_response(
            {"sha": "c0ffee" * 6 + "c0ff", "siblings": siblings, "cardData": {"license": "mit"}}
        )

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        return await self._send("huggingface", request, self._repository(request))

    # ModelScope
    async def _modelscope(self, request: web.Request) -> web.StreamResponse:
        faults = await self._listing("modelscope", request)
        files = [
            {
                "Path": name,
                "Name": Path(name).name,
                "Type": "blob",
                "Size": path.stat().st_size,
                "Sha256": "" if faults.lists_no_hashes else _sha256(path),
            }
            for name, path in self._repository(request).items()
        ]
        return web.json_response({"Code": 200, "Data": {"Files": files}, "Success": True})

    async def _repo(self, request: web.Request) -> web.StreamResponse:
        return await self._send("modelscope", request, self._repository(request))

    # the package index
    async def _simple(self, request: web.Request) -> web.StreamResponse:
        faults = await self._listing("package index", request)
        wanted = request.match_info["name"].replace("-", "_")
        paths = sorted((self.folder / "wheels").glob(f"{wanted}-*.whl"))
        if not paths:
            raise web.HTTPNotFound
        if faults.speaks_html:
            links = [
                f'<a href="../../wheels/{quote(path.name)}#sha256={_sha256(path)}">{path.name}</a>'
                for path in paths
            ]
            return web.Response(text="<br/>".join(links), content_type="text/html")
        files = [
            {
                "filename": path.name,
                "url": f"{self.url}/wheels/{quote(path.name)}",
                "hashes": {} if faults.lists_no_hashes else {"sha256": _sha256(path)},
                "size": path.stat().st_size,
            }
            for path in paths
        ]
        return web.json_response(
            {"meta": {"api-version": "1.1"}, "name": request.match_info["name"], "files": files},
            content_type="application/vnd.pypi.simple.v1+json",
        )

    async def _wheel(self, request: web.Request) -> web.StreamResponse:
        paths = {path.name: path for path in (self.folder / "wheels").glob("*.whl")}
        return await self._send("package index", request, paths)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return await self._send("url", request, _files(self.folder / "files"))

    # all of them
    async def _listing(self, surface: str, request: web.Request) -> Faults:
        self._note(surface, request)
        faults = self.faults[surface]
        if faults.listing_hangs:
            await asyncio.sleep(3600)
        if faults.listing_status:
            raise _status(faults.listing_status)
        return faults

    async def _send(
        self, surface: str, request: web.Request, files: dict[str, Path]
    ) -> web.StreamResponse:
        """One file: ranges, entity tag, and the surface's faults."""
        self._note(surface, request)
        faults = self.faults[surface]
        if faults.download_status:
            raise _status(faults.download_status)
        if faults.redirect_to:
            raise web.HTTPFound(faults.redirect_to)
        name = request.match_info.get("file") or request.query.get("FilePath", "")
        if name not in files:
            raise web.HTTPNotFound
        data = files[name].read_bytes()
        tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        start = 0 if faults.ignores_range else _range_start(request, tag)
        if start >= len(data):
            raise web.HTTPRequestRangeNotSatisfiable
        if faults.wrong_bytes:
            data = data[:-1] + bytes([data[-1] ^ 1])
        return await _stream(request, data, start, tag, faults)

    def _repository(self, request: web.Request) -> dict[str, Path]:
        info = request.match_info
        found = _files(self.folder / "models" / info["org"] / info["repo"])
        if not found:
            raise web.HTTPNotFound
        return found

    def _note(self, surface: str, request: web.Request) -> None:
        self.seen.append(Seen(surface, str(request.rel_url), dict(request.headers)))


async def _stream(
    request: web.Request, data: bytes, start: int, tag: str, faults: Faults
) -> web.StreamResponse:
    answer = web.StreamResponse(status=206 if start else 200, headers={"ETag": tag})
    if start:
        answer.headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
    if faults.packs:
        answer.headers["Content-Encoding"] = "gzip"
    answer.content_length = faults.claims_bytes or len(data) - start
    await answer.prepare(request)
    if faults.download_hangs:
        await asyncio.sleep(3600)
    end = start + (faults.cut_after_bytes or len(data))
    for at in range(start, min(end, len(data)), CHUNK_BYTES):
        await answer.write(data[at : min(at + CHUNK_BYTES, end)])
        if faults.pause_s:
            await asyncio.sleep(faults.pause_s)
    if end < len(data) or faults.claims_bytes:
        await asyncio.sleep(0.01)  # let what was written arrive
        if request.transport is not None:
            request.transport.close()
    return answer


def _range_start(request: web.Request, tag: str) -> int:
    found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    if found is None or request.headers.get("If-Range", tag) != tag:
        return 0
    return int(found[1])


def _status(status: int) -> web.HTTPException:
    kinds: dict[int, type[web.HTTPError]] = {
        401: web.HTTPUnauthorized,
        403: web.HTTPForbidden,
        404: web.HTTPNotFound,
        429: web.HTTPTooManyRequests,
        500: web.HTTPInternalServerError,
    }
    return kinds[status](headers={"Retry-After": "7"} if status == 429 else None)


def _files(folder: Path) -> dict[str, Path]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in paths}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
