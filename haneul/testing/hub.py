"""An honest fake of the places models come from: a small web server over a folder.

It speaks the listings and downloads of Hugging Face and ModelScope and the simple package index
(PEP 691 and 503), with ranges, entity tags and redirects, and misbehaves where it is told to.

    FOLDER/models/ORG/REPO/FILE      repositories of both hubs; a branch is ORG/REPO@BRANCH
    FOLDER/wheels/NAME-VERSION-….whl the package index
    FOLDER/files/FILE                a plain web server under /files/
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self
from urllib.parse import quote

from aiohttp import web

from haneul.testing import repositories
from haneul.testing.repositories import Repository

CHUNK_BYTES = 64 << 10


@dataclass
class Faults:
    """What one of the surfaces does wrong; the defaults are: nothing."""

    listing_status: int = 0  # answers every listing with this status
    listing_hangs: bool = False  # never answers a listing
    says: bytes | None = None  # instead of a listing
    lists_no_hashes: bool = False
    lists_no_sizes: bool = False  # with the model; as some mirrors do
    page_entries: int = 1000  # of a tree, as the hub has it; then a Link to the next page
    continues_at: str = ""  # another host that the Link leads to
    cut_entries: int = 3000  # of ModelScope's listing, which is cut there in silence
    has_cdn: bool = False  # large files lie elsewhere, as on the real hub
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
        self.tokens: dict[str, str] = {}  # ORG/REPO that opens with this token only
        self.is_gated = False  # those are gated, not private
        self.licence = "mit"
        self.url = ""
        self._runner: web.AppRunner | None = None

    @property
    def cdn_url(self) -> str:
        """Another host by its name, where large files lie."""
        return self.url.replace("127.0.0.1", "localhost")

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
                web.get(f"/api/models/{repository}", self._huggingface),
                web.get(f"/api/models/{repository}/revision/{{revision}}", self._huggingface),
                web.get(f"/api/models/{repository}/tree/{{revision}}", self._tree),
                web.get("/cdn/{org}/{repo}/{revision}/{file:.+}", self._cdn),
                web.get(f"/api/v1/models/{repository}", self._card),
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
        answer = repositories.huggingface_model(
            self._on_huggingface(request),
            has_blobs="blobs" in request.query and not faults.lists_no_sizes,
            has_hashes=not faults.lists_no_hashes,
            licence=self.licence,
        )
        return web.json_response(answer)

    async def _tree(self, request: web.Request) -> web.StreamResponse:
        faults = await self._listing("huggingface", request)
        entries = repositories.huggingface_tree(self._on_huggingface(request))
        start = int(request.query.get("cursor", "0"))
        end = start + faults.page_entries
        headers = {}
        if end < len(entries):
            following = request.rel_url.update_query(cursor=str(end))
            headers["Link"] = f'<{faults.continues_at or self.url}{following}>; rel="next"'
        return web.json_response(entries[start:end], headers=headers)

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        repository = self._on_huggingface(request)
        name = request.match_info["file"]
        if name not in repository.files:
            self._note("huggingface", request)
            raise web.HTTPNotFound(headers={"X-Error-Code": "EntryNotFound"})
        path, marks = repository.files[name], {"X-Repo-Commit": repository.commit}
        if self.faults["huggingface"].has_cdn and repositories.is_large(name):
            place = f"{self.cdn_url}/cdn/{repository.name}/{repository.commit}/{quote(name)}"
            place += "?Signature=x"
            marks |= {"X-Linked-Size": str(path.stat().st_size)}
            marks |= {"X-Linked-Etag": repositories.etag(path)}
            raise web.HTTPFound(place, headers=marks)
        return await self._send("huggingface", request, repository.files, marks)

    async def _cdn(self, request: web.Request) -> web.StreamResponse:
        found = self._on_huggingface(request, is_signed="Signature" in request.query)
        return await self._send("huggingface", request, found.files)

    def _on_huggingface(self, request: web.Request, *, is_signed: bool = False) -> Repository:
        """Raises what the hub answers: 401 for what is not there or closed, 404 for a revision."""
        info = request.match_info
        name = f"{info['org']}/{info['repo']}"
        token = self.tokens.get(name)
        is_open = request.headers.get("Authorization") == f"Bearer {token}"
        is_open = is_open or is_signed or token is None
        is_there = repositories.files_of(self.folder / "models" / name)
        if is_there and not is_open and self.is_gated:
            self._note("huggingface", request)
            raise web.HTTPForbidden(headers={"X-Error-Code": "GatedRepo"})
        if not is_there or not is_open:
            self._note("huggingface", request)
            raise web.HTTPUnauthorized(headers={"X-Error-Code": "RepoNotFound"})
        found = repositories.find(
            self.folder / "models", name, info.get("revision", "main"), "main"
        )
        if found is None:
            self._note("huggingface", request)
            raise web.HTTPNotFound(headers={"X-Error-Code": "RevisionNotFound"})
        return found

    # ModelScope
    async def _modelscope(self, request: web.Request) -> web.StreamResponse:
        faults = await self._listing("modelscope", request)
        query = request.query
        files = repositories.modelscope_files(
            self._on_modelscope(request),
            root=query.get("Root", ""),
            is_deep=query.get("Recursive") == "True",
            has_hashes=not faults.lists_no_hashes,
        )
        files = files[: faults.cut_entries]
        return web.json_response({"Code": 200, "Data": {"Files": files}, "Success": True})

    async def _card(self, request: web.Request) -> web.StreamResponse:
        """The model's page: no files are looked at for it."""
        name = request.match_info["repo"]
        is_open = f"{request.match_info['org']}/{name}" not in self.tokens
        if not is_open and "m_session_id" not in request.headers.get("Cookie", ""):
            raise web.HTTPNotFound
        card = {"Name": name, "License": self.licence}
        return web.json_response({"Code": 200, "Data": card, "Success": True})

    async def _repo(self, request: web.Request) -> web.StreamResponse:
        return await self._send("modelscope", request, self._on_modelscope(request).files)

    def _on_modelscope(self, request: web.Request) -> Repository:
        info = request.match_info
        name = f"{info['org']}/{info['repo']}"
        token = self.tokens.get(name)
        is_open = token is None or f"m_session_id={token}" in request.headers.get("Cookie", "")
        revision = request.query.get("Revision", "master")
        found = repositories.find(self.folder / "models", name, revision, "master")
        if found is None or not is_open:
            self._note("modelscope", request)
            raise web.HTTPNotFound
        return found

    # the package index
    async def _simple(self, request: web.Request) -> web.StreamResponse:
        faults = await self._listing("package index", request)
        wanted = request.match_info["name"].replace("-", "_")
        paths = sorted((self.folder / "wheels").glob(f"{wanted}-*.whl"))
        if not paths:
            raise web.HTTPNotFound
        if faults.speaks_html:
            links = [_link(path) for path in paths]
            return web.Response(text="<br/>".join(links), content_type="text/html")
        files = [
            {
                "filename": path.name,
                "url": f"{self.url}/wheels/{quote(path.name)}",
                "hashes": {} if faults.lists_no_hashes else {"sha256": repositories.sha256(path)},
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
        return await self._send("url", request, repositories.files_of(self.folder / "files"))

    # all of them
    async def _listing(self, surface: str, request: web.Request) -> Faults:
        self._note(surface, request)
        faults = self.faults[surface]
        if faults.listing_hangs:
            await asyncio.sleep(3600)
        if faults.listing_status:
            raise _status(faults.listing_status)
        if faults.says is not None:
            raise web.HTTPOk(body=faults.says, content_type="application/json")
        return faults

    async def _send(
        self,
        surface: str,
        request: web.Request,
        files: dict[str, Path],
        marks: Mapping[str, str] = MappingProxyType({}),
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
        data, tag = files[name].read_bytes(), repositories.etag(files[name])
        span = None if faults.ignores_range else _range(request, tag, len(data))
        if span is not None and span.start >= len(data):
            raise web.HTTPRequestRangeNotSatisfiable
        if faults.wrong_bytes:
            data = data[:-1] + bytes([data[-1] ^ 1])
        return await _stream(request, data, span, {"ETag": tag, **marks}, faults)

    def _note(self, surface: str, request: web.Request) -> None:
        self.seen.append(Seen(surface, str(request.rel_url), dict(request.headers)))


def _link(path: Path) -> str:
    fragment = f"sha256={repositories.sha256(path)}"
    return f'<a href="../../wheels/{quote(path.name)}#{fragment}">{path.name}</a>'


async def _stream(
    request: web.Request,
    data: bytes,
    span: range | None,
    headers: Mapping[str, str],
    faults: Faults,
) -> web.StreamResponse:
    """The bytes of the span, all of them where there is none."""
    answer = web.StreamResponse(status=200 if span is None else 206, headers=headers)
    start, stop = (0, len(data)) if span is None else (span.start, span.stop)
    if span is not None:
        answer.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
    if faults.packs:
        answer.headers["Content-Encoding"] = "gzip"
    answer.content_length = faults.claims_bytes or stop - start
    await answer.prepare(request)
    if request.method == "HEAD":
        return answer
    if faults.download_hangs:
        await asyncio.sleep(3600)
    end = start + (faults.cut_after_bytes or len(data))
    for at in range(start, min(end, stop), CHUNK_BYTES):
        await answer.write(data[at : min(at + CHUNK_BYTES, end, stop)])
        if faults.pause_s:
            await asyncio.sleep(faults.pause_s)
    if end < stop or faults.claims_bytes:
        await asyncio.sleep(0.01)  # let what was written arrive
        if request.transport is not None:
            request.transport.close()
    return answer


def _range(request: web.Request, tag: str, size: int) -> range | None:
    """The span that is asked for; None where all of the file is."""
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
    if found is None or request.headers.get("If-Range", tag) != tag:
        return None
    last = int(found[2]) if found[2] else size - 1
    return range(int(found[1]), min(last + 1, size))


def _status(status: int) -> web.HTTPException:
    kinds: dict[int, type[web.HTTPError]] = {
        401: web.HTTPUnauthorized,
        403: web.HTTPForbidden,
        404: web.HTTPNotFound,
        429: web.HTTPTooManyRequests,
        500: web.HTTPInternalServerError,
    }
    return kinds[status](headers={"Retry-After": "7"} if status == 429 else None)
