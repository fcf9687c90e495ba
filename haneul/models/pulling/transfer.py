"""One remote file onto the disk: over several connections, from whoever is fastest, continued at
the byte where it was cut.

Whose bytes they are is decided by their SHA-256 where it is known beforehand; then several servers
may give parts of one file, and a wrong one is found out before the file is used. Where it is not,
the one server's entity tag must say at each request that this is still the same file, and without
such a tag one connection fetches it from end to end. A server that ignores ranges is read over
what is here already; nothing that is held is ever written again.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import NoReturn

from msgspec import Struct

from haneul.base.errors import CommandError, FetchFailed
from haneul.models.folder.lock import hold
from haneul.models.pulling.connections import Connections
from haneul.models.pulling.fetch import Fetcher, WrongBytes
from haneul.models.pulling.mirrors import Mirrors
from haneul.models.pulling.partial import SUFFIXES, Partial
from haneul.models.pulling.piece import Piece
from haneul.models.pulling.progress import OnBytes
from haneul.models.pulling.threads import to_end

CONNECTIONS = 8


class Arrived(Struct, frozen=True):
    """A file that is whole, on the disk, and has this hash."""

    path: Path
    sha256: str
    bytes: int
    source: str = ""  # who gave most of it; "": it was here already


async def transfer(
    fetcher: Fetcher,
    piece: Piece | Mirrors,
    folder: Path,
    *,
    on_bytes: OnBytes | None = None,
    connections: int = CONNECTIONS,
    lanes: asyncio.Semaphore | None = None,
) -> Arrived:
    """Fetches the piece into the folder and returns it whole, hashed and synced to the disk.

    lanes bounds the requests of several transfers together. Raises FetchFailed (the partial file
    stays), WrongBytes (it does not), CommandError for a disk that is full or cannot be written.
    """
    mirrors = Mirrors([("the server", piece)]) if isinstance(piece, Piece) else piece
    path = folder / f"{key(mirrors.piece)}.partial"
    started = asyncio.Semaphore(connections) if lanes is None else lanes
    await to_end(folder.mkdir, parents=True, exist_ok=True)

    def job(chosen: Mirrors) -> _Job:
        return _Job(fetcher, chosen, path, started, connections, on_bytes or _silent)

    async with hold(path.with_suffix(".lock"), is_kept=False):
        try:
            return await job(mirrors).run()
        except _PerhapsAnother as failure:
            cause: FetchFailed = failure.cause
        for mirror in list(mirrors.all):  # each alone, from its first byte on
            try:
                return await job(Mirrors([(mirror.source, mirror.piece)])).run()
            except _PerhapsAnother as failure:
                cause = failure.cause
            except FetchFailed as failure:
                cause = failure
        raise cause


def discard(piece: Piece, folder: Path) -> None:
    """Removes what was kept of a piece."""
    for suffix in SUFFIXES:
        folder.joinpath(key(piece) + suffix).unlink(missing_ok=True)


def key(piece: Piece) -> str:
    """What a piece's partial file is called: by its hash where that is known, else by its URL."""
    return piece.sha256 or hashlib.sha256(piece.url.encode()).hexdigest()[:40]


class _PerhapsAnother(Exception):
    """The bytes are wrong; one server alone, from the first byte on, may give the right ones."""

    def __init__(self, cause: FetchFailed) -> None:
        super().__init__()
        self.cause = cause


class _Job:
    """One attempt at a whole file."""

    def __init__(
        self,
        fetcher: Fetcher,
        mirrors: Mirrors,
        path: Path,
        lanes: asyncio.Semaphore,
        connections: int,
        on_bytes: OnBytes,
    ) -> None:
        self._fetcher, self._mirrors, self._path = fetcher, mirrors, path
        self._lanes, self._connections, self._on_bytes = lanes, connections, on_bytes

    async def run(self) -> Arrived:
        """The file, whole and hashed. Raises _PerhapsAnother, FetchFailed, CommandError."""
        try:
            partial = await to_end(Partial, self._path, self._mirrors.piece)
            try:
                return await self._filled(partial)
            finally:
                await to_end(partial.close)
        except OSError as cause:
            raise CommandError(f"The disk cannot take the model: {cause.strerror}.") from cause

    async def _filled(self, partial: Partial) -> Arrived:
        piece = self._mirrors.piece
        is_told_beforehand = bool(piece.sha256) and piece.bytes is not None
        connections = Connections(
            self._fetcher,
            self._mirrors,
            partial,
            lanes=self._lanes,
            most=self._connections,
            on_bytes=self._on_bytes,
        )
        try:
            await connections.fill()
        except WrongBytes as failure:
            if is_told_beforehand:  # what is held is not to blame
                raise
            await self._begin_anew(partial, failure)
        if piece.sha256 and partial.sha256 != piece.sha256:
            reason = "The bytes that came do not have the promised SHA-256."
            await self._begin_anew(partial, WrongBytes(reason))
        await to_end(partial.sync, tuple(partial.held))
        served = self._mirrors.served
        source = served[0].source if served else ""
        return Arrived(self._path, partial.sha256, partial.hashed_bytes, source)

    async def _begin_anew(self, partial: Partial, wrong: WrongBytes) -> NoReturn:
        """Removes what is held; perhaps only an older part of it was wrong, or another's."""
        is_mixed = len(self._mirrors.served) > 1
        is_hopeful = partial.was_continued or is_mixed or not self._mirrors.piece.sha256
        await to_end(partial.drop)
        if is_hopeful:
            raise _PerhapsAnother(wrong) from wrong
        raise wrong


def _silent(_done: int, _total: int | None) -> None:
    pass
