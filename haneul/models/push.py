"""A revision put to another hub, over the upload API that Hugging Face's clients speak.

Only what the other side does not have is sent; it proves every file before the revision is there.
The revision's name is its content's digest, so both sides call it the same.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
from msgspec import Struct, field

from haneul import __version__
from haneul.base.errors import BadRequest, FetchFailed
from haneul.models.folder.blobs import Blobs
from haneul.models.manifest import File, Manifest
from haneul.models.pulling.progress import Meter, OnBytes, OnProgress, Tally
from haneul.models.pulling.threads import together

CONNECT_S = 10.0
IDLE_S = 60.0  # between two reads or writes
COMMIT_S = 600.0  # for the other side to prove what came
ANSWER_MAX_BYTES = 16 << 20
PIECE_BYTES = 1 << 20
TRIES = 3
PAUSE_S = 1.0
AT_ONCE = 2
T = TypeVar("T")
REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)


class Target(Struct, frozen=True):
    """Where a revision is put: a hub's address and a repository there."""

    hub: str
    repository: str


class Told(Struct, frozen=True, kw_only=True):
    """What the other side is told beside the files."""

    model: str  # its name here
    source: str
    licence: str | None


class Pushed(Struct, frozen=True, kw_only=True):
    """What came of it."""

    hub: str
    repository: str
    commit: str
    sent_bytes: int
    is_new: bool  # False: it was there


class _Action(Struct):
    href: str
    header: dict[str, str] = {}


class _Actions(Struct):
    upload: _Action | None = None


class _Object(Struct):
    oid: str
    actions: _Actions | None = None
    error: dict[str, Any] | None = None


class _Batch(Struct):
    objects: list[_Object]


class _Sibling(Struct):
    rfilename: str


class _There(Struct):
    sha: str
    siblings: list[_Sibling] = []


class _Committed(Struct):
    commit: str = field(name="commitOid")


def read_target(text: str, repository: str) -> Target:
    """The target as people type it: http://HOST:PORT[/hub][/ORGANISATION/NAME].

    Without a repository it is the one given. Raises BadRequest.
    """
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError as cause:
        raise BadRequest(f"'{text}' is not the address of a hub.") from cause
    if not is_address or parts.username or parts.query or parts.fragment:
        raise BadRequest(f"'{text}' is not the address of a hub: http://HOST:PORT is one.")
    path = parts.path.strip("/").removeprefix("hub").strip("/")
    if path and not REPOSITORY.fullmatch(path):
        raise BadRequest(f"'{path}' is not a repository: ORGANISATION/NAME is one.")
    return Target(f"{parts.scheme}://{parts.netloc}/hub", path or repository)


async def push(
    manifest: Manifest,
    target: Target,
    *,
    blobs: Blobs,
    key: str,
    told: Told,
    on_progress: OnProgress | None = None,
) -> Pushed:
    """Puts the revision there. Raises FetchFailed with what the other side says."""
    async with _session() as session:
        hub = _Hub(session, target, key, Meter(on_progress))
        there = await hub.state()
        if there is not None and manifest.revision.startswith(there.sha):
            return _pushed(target, there.sha, 0, is_new=False)
        await hub.create()
        sent = await hub.put(manifest, blobs)
        commit = await hub.commit(manifest, there, told)
        return _pushed(target, commit, sent, is_new=True)


def _pushed(target: Target, commit: str, sent_bytes: int, *, is_new: bool) -> Pushed:
    return Pushed(
        hub=target.hub,
        repository=target.repository,
        commit=commit,
        sent_bytes=sent_bytes,
        is_new=is_new,
    )


@asynccontextmanager
async def _session() -> AsyncIterator[aiohttp.ClientSession]:
    context = await asyncio.to_thread(ssl.create_default_context)
    timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_read=IDLE_S)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context),
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=True,
        headers={"User-Agent": f"haneul/{__version__}"},
    ) as session:
        yield session


class _Hub:
    """The other side."""

    def __init__(
        self, session: aiohttp.ClientSession, target: Target, key: str, meter: Meter
    ) -> None:
        self._session = session
        self._credentials = {"Authorization": f"Bearer {key}"} if key else {}
        self._hub, self._repository = target.hub, target.repository
        self._api = f"{target.hub}/api/models/{target.repository}"
        self._meter = meter

    async def state(self) -> _There | None:
        """What the repository holds; None where there is none."""
        data = await self._ask("GET", self._api, known=(404,))
        return None if data is None else _read(data, _There)

    async def create(self) -> None:
        """Makes the repository, if it is not there."""
        organisation, _, name = self._repository.partition("/")
        body = {"name": name, "organization": organisation, "type": "model"}
        await self._ask("POST", f"{self._hub}/api/repos/create", body=body, known=(409,))

    async def put(self, manifest: Manifest, blobs: Blobs) -> int:
        """Sends what is not there; how many bytes that were."""
        files = {file.sha256: file for file in manifest.files if file.bytes}
        body = {
            "operation": "upload",
            "transfers": ["basic"],
            "hash_algo": "sha256",
            "objects": [{"oid": file.sha256, "size": file.bytes} for file in files.values()],
        }
        url = f"{self._hub}/{self._repository}.git/info/lfs/objects/batch"
        data = await self._ask("POST", url, body=body)
        wanted = [one for one in _read(data or b"", _Batch).objects if one.oid in files]
        for one in wanted:
            if one.error is not None:
                raise FetchFailed(f"{files[one.oid].path}: {one.error.get('message')}")
        actions = {one.oid: one.actions.upload for one in wanted if one.actions is not None}
        places = {oid: action for oid, action in actions.items() if action is not None}
        total = sum(files[oid].bytes for oid in places)
        route = f"here to {urlsplit(self._hub).netloc}"
        tally = Tally(self._meter, route, [files[oid].bytes for oid in places])
        turns = asyncio.Semaphore(AT_ONCE)
        await together(
            *(
                self._put(files[oid], action, blobs.path(oid), turns, tally.of(number))
                for number, (oid, action) in enumerate(places.items())
            )
        )
        return total

    async def _put(
        self, file: File, action: _Action, path: Path, turns: asyncio.Semaphore, note: OnBytes
    ) -> None:
        """One file, again from its start where the way there breaks."""
        async with turns:
            for left in reversed(range(TRIES)):
                try:
                    await self._send(file, action, path, note)
                    return
                except FetchFailed:
                    if not left:
                        raise
                await asyncio.sleep(PAUSE_S * (TRIES - left))

    async def _send(self, file: File, action: _Action, path: Path, note: OnBytes) -> None:
        headers = {**action.header, "Content-Length": str(file.bytes)}
        # The address itself is the permission: our key is not for whoever it leads to.
        body = _pieces(path, file.bytes, note)
        async with self._answer("PUT", action.href, data=body, headers=headers) as answer:
            await answer.read()

    async def commit(self, manifest: Manifest, there: _There | None, told: Told) -> str:
        """Makes the files the repository's newest revision; its commit."""
        head = {"summary": f"from {told.source}", "description": "", "model": told.model}
        if told.licence:
            head["licence"] = told.licence
        if there is not None:
            head["parentCommit"] = there.sha
        ours = {file.path for file in manifest.files}
        gone = (
            [one.rfilename for one in there.siblings if one.rfilename not in ours] if there else []
        )
        lines: list[dict[str, Any]] = [{"key": "header", "value": head}]
        lines += [{"key": "deletedFile", "value": {"path": path}} for path in gone]
        lines += [_line(file) for file in manifest.files]
        body = b"\n".join(json.dumps(line).encode() for line in lines)
        self._meter.stage("checking", urlsplit(self._hub).netloc)
        data = await self._ask("POST", f"{self._api}/commit/main", data=body, within_s=COMMIT_S)
        return _read(data or b"", _Committed).commit

    async def _ask(
        self,
        method: str,
        url: str,
        *,
        body: Any = None,
        data: bytes | None = None,
        known: tuple[int, ...] = (),
        within_s: float = IDLE_S,
    ) -> bytes | None:
        """The answer's body; None for a status that is known to mean that there is none."""
        sent = json.dumps(body).encode() if body is not None else data
        headers = {"Content-Type": "application/json", **self._credentials}
        timeout = aiohttp.ClientTimeout(total=within_s, connect=CONNECT_S)
        async with self._answer(
            method, url, data=sent, headers=headers, timeout=timeout, known=known
        ) as answer:
            if answer.status in known:
                return None
            return await answer.content.read(ANSWER_MAX_BYTES)

    @asynccontextmanager
    async def _answer(
        self, method: str, url: str, *, known: tuple[int, ...] = (), **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, below 400 or of a known status. Raises FetchFailed with what it says."""
        try:
            async with self._session.request(
                method, url, allow_redirects=False, **options
            ) as answer:
                if answer.status >= 300 and answer.status not in known:
                    raise FetchFailed(await _refusal(answer), upstream_status=answer.status)
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError) as cause:
            host = urlsplit(url).netloc
            reason = str(cause) or type(cause).__name__
            raise FetchFailed(f"{host} does not answer: {reason}.") from cause


def _line(file: File) -> dict[str, Any]:
    if not file.bytes:
        return {"key": "file", "value": {"path": file.path, "content": "", "encoding": "utf-8"}}
    value = {"path": file.path, "algo": "sha256", "oid": file.sha256, "size": file.bytes}
    return {"key": "lfsFile", "value": value}


async def _pieces(path: Path, size: int, note: OnBytes) -> AsyncIterator[bytes]:
    sent = 0
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece
            sent += len(piece)
            note(sent, size)


async def _refusal(answer: aiohttp.ClientResponse) -> str:
    """What the other side says, in its words."""
    host = answer.url.host
    data = await answer.content.read(64 << 10)
    try:
        said = msgspec.json.decode(data, type=Mapping[str, Any])
    except msgspec.MsgspecError:
        said = {}
    reason = said.get("error") if isinstance(said.get("error"), str) else f"HTTP {answer.status}"
    return f"{host} refuses: {reason}"


def _read(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as cause:
        raise FetchFailed(f"The other side answered something unknown: {cause}.") from cause
