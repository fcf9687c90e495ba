"""One remote file onto the disk, continued where it was cut, whatever cut it.

Beside `KEY.partial` lies `KEY.json`: the entity tag and length of what is being fetched, and how
many bytes are known to be on the disk. KEY is the digest of the URL and the pinned hash. A server
that ignores ranges, or has another file by now, makes the transfer begin again; it never joins two
files. Every byte kept is hashed again before more are added.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

import msgspec
from aiohttp import ClientResponse
from msgspec import Struct

from haneul.base.errors import CommandError, FetchFailed
from haneul.base.units import show_bytes
from haneul.models.fetch import Fetcher
from haneul.models.piece import Piece

WRITE_BYTES = 1 << 20
SYNC_BYTES = 64 << 20
CUTS_MAX = 64  # continued at once, as long as each attempt brought something
AT_ONCE_S, PAUSE_S, FRUITLESS_MAX = 2.0, 0.1, 4
SPARE_BYTES = 64 << 20  # left free on the disk

P = ParamSpec("P")
T = TypeVar("T")
OnBytes = Callable[[int, int | None], None]  # bytes so far, bytes in all if known


class Arrived(Struct, frozen=True):
    """A file that is whole, on the disk, and has this hash."""

    path: Path
    sha256: str
    bytes: int


class State(Struct, frozen=True):
    """What KEY.json says."""

    url: str
    etag: str = ""
    total_bytes: int | None = None
    synced_bytes: int = 0


class WrongBytes(FetchFailed):
    """The bytes that came are not the ones that were promised."""


async def transfer(
    fetcher: Fetcher, piece: Piece, folder: Path, *, on_bytes: OnBytes | None = None
) -> Arrived:
    """Fetches the piece into the folder and returns it whole, hashed and synced to the disk.

    Raises FetchFailed (the partial file stays), WrongBytes (it does not), CommandError for a disk
    that is full or cannot be written.
    """
    kept = _Kept(folder / f"{_key(piece)}.partial", piece)
    was_continued = False
    try:
        with kept:
            was_continued = await to_end(kept.open) > 0
            await _fill(fetcher, piece, kept, on_bytes or _silent)
            return await to_end(_finish, piece, kept)
    except WrongBytes:
        discard(piece, folder)
        if was_continued:  # perhaps only the old part was wrong
            return await transfer(fetcher, piece, folder, on_bytes=on_bytes)
        raise
    except OSError as cause:
        raise CommandError(f"The disk cannot take the model: {cause.strerror}.") from cause


def discard(piece: Piece, folder: Path) -> None:
    """Removes what was kept of a piece."""
    for suffix in (".partial", ".json"):
        folder.joinpath(_key(piece) + suffix).unlink(missing_ok=True)


def check_space(folder: Path, needed_bytes: int) -> None:
    """Raises CommandError when the disk has not that much free, with a little to spare."""
    free = shutil.disk_usage(folder).free
    if needed_bytes + SPARE_BYTES > free:
        raise CommandError(
            f"The disk is too full: {show_bytes(needed_bytes)} are needed, "
            f"{show_bytes(free)} are free."
        )


class _Kept:
    """The partial file, its hash so far and its state."""

    def __init__(self, path: Path, piece: Piece) -> None:
        self.path, self.piece = path, piece
        self.state = State(url=piece.url)
        self.hash, self.size = hashlib.sha256(), 0
        self._file: BinaryIO | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def file(self) -> BinaryIO:
        assert self._file is not None
        return self._file

    def open(self) -> int:
        """Opens what was kept, or nothing, hashes it, and returns how many bytes are believed.

        Without a pinned hash only bytes that were synced are believed: after a power cut the rest
        of the file may have its length and not its content.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        self._file = os.fdopen(os.open(self.path, flags, 0o644), "r+b", buffering=0)
        try:
            raw = self.path.with_suffix(".json").read_bytes()
            self.state = msgspec.json.decode(raw, type=State)
        except (OSError, msgspec.MsgspecError):
            pass  # begun and never answered, or written by something else
        size = os.fstat(self.file.fileno()).st_size
        believed = size if self.piece.sha256 else min(size, self.state.synced_bytes)
        if believed > (self.piece.bytes or believed):
            believed = 0
        while data := self.file.read(min(WRITE_BYTES, believed - self.size)):
            self.hash.update(data)
            self.size += len(data)
        self.file.truncate(self.size)
        return self.size

    def add(self, data: bytes | bytearray) -> None:
        left = memoryview(data)
        while left:  # a write that fills the disk takes a part and says so only the next time
            left = left[self.file.write(left) :]
        self.hash.update(data)
        self.size += len(data)
        if self.size - self.state.synced_bytes >= SYNC_BYTES:
            self.sync()

    def sync(self) -> None:
        os.fsync(self.file.fileno())
        self.save(msgspec.structs.replace(self.state, synced_bytes=self.size))

    def restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.hash, self.size = hashlib.sha256(), 0
        self.state = msgspec.structs.replace(self.state, synced_bytes=0)

    def save(self, state: State) -> None:
        self.state = state
        fresh = self.path.with_suffix(".fresh")
        fresh.write_bytes(msgspec.json.encode(state))
        fresh.replace(self.path.with_suffix(".json"))


def _silent(_done: int, _total: int | None) -> None:
    pass


def _key(piece: Piece) -> str:
    return hashlib.sha256(f"{piece.url}\n{piece.sha256}".encode()).hexdigest()[:40]


async def _fill(fetcher: Fetcher, piece: Piece, kept: _Kept, on_bytes: OnBytes) -> None:
    """Asks for what is missing until nothing is; gives up when attempts bring nothing.

    A cut that comes while the head is being read takes the bytes behind it along, so an attempt
    that failed at once is made again, a few times.
    """
    fruitless = 0
    for _ in range(CUTS_MAX):
        if kept.size and kept.size == (piece.bytes or kept.state.total_bytes):
            return
        before, began = kept.size, time.monotonic()
        try:
            await _attempt(fetcher, piece, kept, on_bytes)
            return
        except FetchFailed as failure:
            if failure.facts.get("upstream_status") == 416:
                raise WrongBytes("The file has become shorter than what was kept.") from failure
            fruitless = 0 if kept.size > before else fruitless + 1
            was_cut = (
                "upstream_status" not in failure.facts and time.monotonic() - began < AT_ONCE_S
            )
            if (
                isinstance(failure, WrongBytes)
                or (fruitless and not was_cut)
                or fruitless > FRUITLESS_MAX
            ):
                raise
            await asyncio.sleep(PAUSE_S * fruitless)
        finally:
            await to_end(kept.sync)
    raise FetchFailed("The connection was cut again and again.")


async def _attempt(fetcher: Fetcher, piece: Piece, kept: _Kept, on_bytes: OnBytes) -> None:
    async with fetcher.open(
        piece.url, headers=_range(kept), credentials=piece.credentials
    ) as answer:
        total = await to_end(_agree, answer, piece, kept)
        on_bytes(kept.size, total)
        buffer = bytearray()
        try:
            async for data in answer.content.iter_any():
                buffer += data
                if total is not None and kept.size + len(buffer) > total:
                    raise WrongBytes(f"{answer.url.host} sent more bytes than it announced.")
                if len(buffer) >= WRITE_BYTES:
                    full, buffer = buffer, bytearray()
                    await to_end(kept.add, full)
                    on_bytes(kept.size, total)
        finally:  # what came before a cut is kept
            await to_end(kept.add, buffer)
        on_bytes(kept.size, total)
    if total is not None and kept.size < total:
        raise FetchFailed(f"{answer.url.host} ended at byte {kept.size} of {total}.")


async def to_end(step: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Runs a step in a thread and waits for its end, also when the pull is called off meanwhile."""
    running = asyncio.ensure_future(asyncio.to_thread(step, *args, **options))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _range(kept: _Kept) -> dict[str, str]:
    if not kept.size:
        return {}
    headers = {"Range": f"bytes={kept.size}-"}
    if kept.state.etag.startswith('"'):  # a weak tag may not be used here (RFC 9110, 13.1.5)
        headers["If-Range"] = kept.state.etag
    return headers


def _agree(answer: ClientResponse, piece: Piece, kept: _Kept) -> int | None:
    """Holds the head of the answer against what is known; returns the length of the whole file."""
    etag = answer.headers.get("ETag", "")
    total = answer.content_length
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise FetchFailed(f"{answer.url.host} sent a packed answer that was not asked for.")
    if answer.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        is_same = not (etag and kept.state.etag) or etag == kept.state.etag
        if found is None or int(found[1]) != kept.size or not is_same:
            raise WrongBytes(f"{answer.url.host} has another file by now.")
        total = int(found[2])
    elif kept.size:
        kept.restart()
    if piece.bytes is not None and total not in (None, piece.bytes):
        raise WrongBytes(
            f"{answer.url.host} offers {total} bytes where {piece.bytes} were promised."
        )
    kept.save(msgspec.structs.replace(kept.state, url=piece.url, etag=etag, total_bytes=total))
    check_space(kept.path.parent, (total or kept.size) - kept.size)
    return piece.bytes if total is None else total


def _finish(piece: Piece, kept: _Kept) -> Arrived:
    digest = kept.hash.hexdigest()
    if piece.sha256 and digest != piece.sha256:
        raise WrongBytes("The bytes that came do not have the promised SHA-256.")
    os.fsync(kept.file.fileno())
    return Arrived(kept.path, digest, kept.size)
