"""A file that is still coming: its bytes on the disk, which of them are held, their hash so far.

Beside `KEY.partial` lies `KEY.json`, which says which ranges were written, and which of those were
synced to the disk. After a kill what was written is believed; after a power cut, which the
kernel's boot id tells, only what was synced. The file is hashed from its first byte on, as it was
written, close behind the bytes that come: what is read again is still in the page cache, so a
whole file needs no second reading of the disk, and no byte is written after it was hashed.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from haneul.models.pulling.fetch import WrongBytes
from haneul.models.pulling.piece import Piece
from haneul.models.pulling.spans import Held

Range = tuple[int, int]  # [start, end)

SUFFIXES = (".partial", ".json", ".fresh")
READ_BYTES = 1 << 20
HASH_BYTES = 64 << 20  # at a time, so that calling off is not long
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class State(Struct, frozen=True):
    """What KEY.json says."""

    url: str
    etag: str = ""
    total_bytes: int | None = None
    boot: str = ""
    written: tuple[Range, ...] = ()
    synced: tuple[Range, ...] = ()


class Partial:
    """Opens what was kept of a piece, or nothing; every method may touch the disk.

    `held` belongs to the thread of the caller's loop: the methods, which run in others, are given
    what they need of it.
    """

    def __init__(self, path: Path, piece: Piece) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        self._handle = os.open(path, flags, 0o644)
        try:
            self.state = _kept_state(path.with_suffix(".json"), piece)
            self.held = Held(_believed(self.state, os.fstat(self._handle).st_size))
        except BaseException:
            os.close(self._handle)
            raise
        self.was_continued = self.held.bytes > 0
        self.hashed_bytes = 0
        self._hash = hashlib.sha256()
        self._saving = threading.Lock()

    def close(self) -> None:
        """Keeps what is held for the next time, and closes the file."""
        if self._handle < 0:
            return
        try:
            self.save(tuple(self.held))
        finally:
            os.close(self._handle)
            self._handle = -1

    def drop(self) -> None:
        """Removes the file and what is known of it."""
        os.close(self._handle)
        self._handle = -1
        for suffix in SUFFIXES:
            self.path.with_suffix(suffix).unlink(missing_ok=True)

    def write(self, start: int, parts: Sequence[bytes], gaps: Sequence[Range]) -> None:
        """Writes those bytes of what came for start on that lie in the gaps."""
        if len(gaps) == 1 and gaps[0] == (start, start + sum(map(len, parts))):
            self._write(start, [memoryview(part) for part in parts])
        elif gaps:
            whole = memoryview(b"".join(parts))
            for low, high in gaps:
                self._write(low, [whole[low - start : high - start]])

    def _write(self, at: int, views: list[memoryview]) -> None:
        while views:  # a write that fills the disk takes a part and says so only the next time
            done = os.pwritev(self._handle, views, at)
            at += done
            while views and done >= len(views[0]):
                done -= len(views.pop(0))
            if done:
                views[0] = views[0][done:]

    def hash(self, end: int) -> None:
        """Hashes on towards end, at most HASH_BYTES."""
        end = min(end, self.hashed_bytes + HASH_BYTES)
        buffer = bytearray(READ_BYTES)
        view = memoryview(buffer)
        while self.hashed_bytes < end:
            wanted = min(READ_BYTES, end - self.hashed_bytes)
            count = os.preadv(self._handle, [view[:wanted]], self.hashed_bytes)
            if not count:
                raise WrongBytes("The file that was being fetched was cut short on the disk.")
            self._hash.update(view[:count])
            self.hashed_bytes += count

    @property
    def sha256(self) -> str:
        """Of the bytes hashed so far, in hexadecimal."""
        return self._hash.hexdigest()

    def note(self, *, url: str, etag: str, total_bytes: int | None) -> None:
        """Keeps whose file this is, before the first byte of it is."""
        self._save(url=url, etag=etag, total_bytes=total_bytes)

    def sync(self, held: Sequence[Range]) -> None:
        """Brings what is held to the disk itself."""
        os.fsync(self._handle)
        self._save(boot=_boot_id(), written=tuple(held), synced=tuple(held))

    def save(self, held: Sequence[Range]) -> None:
        """Writes down which ranges are held."""
        self._save(boot=_boot_id(), written=tuple(held))

    def _save(self, **changes: object) -> None:
        with self._saving:
            self.state = msgspec.structs.replace(self.state, **changes)
            fresh = self.path.with_suffix(".fresh")
            fresh.write_bytes(msgspec.json.encode(self.state))
            fresh.replace(self.path.with_suffix(".json"))


def _kept_state(path: Path, piece: Piece) -> State:
    """What was noted; nothing of a file of another length."""
    nothing = State(url=piece.url)
    try:
        state = msgspec.json.decode(path.read_bytes(), type=State)
        Held(state.written + state.synced)
    except (OSError, ValueError):  # begun and never answered, or written by something else
        return nothing
    is_other = None not in (piece.bytes, state.total_bytes) and piece.bytes != state.total_bytes
    return nothing if is_other else state


def _believed(state: State, size_bytes: int) -> list[Range]:
    boot = _boot_id()
    ranges = state.written if boot and boot == state.boot else state.synced
    limit = size_bytes if state.total_bytes is None else min(size_bytes, state.total_bytes)
    return [(start, min(end, limit)) for start, end in ranges if start < limit]


def _boot_id() -> str:
    """Another one after each start of the machine; "" where that cannot be known."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
