"""Walks the head of a weights file that came from a stranger: every step is bounded first.

The head is read through a window that moves on, never the whole file and not a memory map: a file
that is cut while it is read is then an error and not a bus fault. The same walk serves a file that
lies elsewhere, of which only the first bytes are here: it then says how many more it needs.
"""

from __future__ import annotations

import io
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from msgspec import Struct

from haneul.base.errors import BrokenFile

CHUNK_BYTES = 1 << 20
UNKNOWN_BYTES = (1 << 63) - 1  # of a file whose length nobody told

U32 = struct.Struct("<I")
U64 = struct.Struct("<Q")


class More(Struct, frozen=True):
    """The header does not end within the bytes given: ask again with the file's first `bytes`."""

    bytes: int


class Bounds(Struct, frozen=True, kw_only=True):
    """What a head may take at most: bytes in the file, in one text, in all texts that are kept."""

    head_bytes: int
    text_bytes: int
    texts_bytes: int


class Short(Exception):
    """The bytes that are here end before byte `end`; caught where first bytes are read."""

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, int]]:
    """A plain file to read and its bytes. Raises BrokenFile for what is none, without waiting."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BrokenFile("The file cannot be read: it is not a plain file.")
            yield file, found.st_size
    except FileNotFoundError as cause:
        raise BrokenFile("There is no file at that path.") from cause
    except OSError as cause:
        raise BrokenFile(f"The file cannot be read: {cause.strerror}.") from cause


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would keep us for ever


def wanted(short: Short, given: int, size: int | None, bounds: Bounds) -> More:
    """What to ask for next: at least what is needed, and twice what was there."""
    least = max(short.end, 2 * given, 1 << 16)
    return More(max(short.end, min(least, size or UNKNOWN_BYTES, bounds.head_bytes)))


class Cursor:
    """Where the walk is. Asking for more than the file has raises BrokenFile."""

    def __init__(self, file: BinaryIO, size: int | None, bounds: Bounds) -> None:
        self.file, self.bounds = file, bounds
        self.size = UNKNOWN_BYTES if size is None else size
        self.data = bytearray()  # the window; `at` counts in it
        self.at = 0
        self._before = 0  # bytes of the file before the window
        self._given: int | None = None  # of a file that lies elsewhere
        self._texts_left = bounds.texts_bytes

    @classmethod
    def over(cls, data: bytes, size: int | None, bounds: Bounds) -> Cursor:
        """Over a file's first bytes; raises Short where they end too early."""
        cursor = cls(io.BytesIO(data), size, bounds)
        cursor._given = len(data)
        return cursor

    @property
    def position(self) -> int:
        """Bytes from the file's beginning to the cursor."""
        return self._before + self.at

    @property
    def left(self) -> int:
        """Bytes from the cursor to the end of the file."""
        return self.size - self.position

    def need(self, count: int, what: str) -> None:
        """Makes count bytes at the cursor available in the window."""
        if self.at + count <= len(self.data):
            return
        end = self._checked_end(count, what)
        del self.data[: self.at]
        self._before, self.at = self._before + self.at, 0
        while len(self.data) < count:
            more = self.file.read(max(CHUNK_BYTES, count - len(self.data)))
            if not more:
                raise BrokenFile(f"The file ended at byte {end} while {what} was read.")
            self.data += more

    def skip(self, count: int, what: str) -> None:
        """Goes on without keeping what lies between."""
        beyond = self.at + count - len(self.data)
        if beyond <= 0:
            self.at += count
            return
        self._before = self._checked_end(count, what)
        self.file.seek(beyond, io.SEEK_CUR)
        self.data.clear()
        self.at = 0

    def take(self, count: int, what: str) -> bytes:
        """The next bytes."""
        self.need(count, what)
        self.at += count
        return bytes(self.data[self.at - count : self.at])

    def number(self, layout: struct.Struct, what: str) -> int:
        self.need(layout.size, what)
        value: int = layout.unpack_from(self.data, self.at)[0]
        self.at += layout.size
        return value

    def text(self, limit: int, what: str) -> str:
        """The text at the cursor, behind its length. Raises BrokenFile beyond limit bytes."""
        length = self.number(U64, what)
        if length > limit:
            raise BrokenFile(f"{what} claims {length} bytes; at most {limit} are taken.")
        self._texts_left -= length
        if self._texts_left < 0:
            raise BrokenFile(f"The file's texts are longer than {self.bounds.texts_bytes} bytes.")
        try:
            return self.take(length, what).decode()
        except UnicodeDecodeError as cause:
            raise BrokenFile(f"{what} is not UTF-8.") from cause

    def skip_texts(self, count: int, what: str) -> None:
        """Walks over texts; this loop runs once per vocabulary entry, so it is written flat."""
        unpack, limit = U64.unpack_from, self.bounds.text_bytes
        at, ready = self.at, len(self.data)
        for _ in range(count):
            if at + 8 > ready:
                self._go(at, what)
                self.need(8, what)
                at, ready = self.at, len(self.data)
            (length,) = unpack(self.data, at)
            if length > limit:
                raise BrokenFile(f"{what} holds a string that claims {length} bytes.")
            at += 8 + length
        self._go(at, what)

    def _go(self, at: int, what: str) -> None:
        """To a place counted in the window, be it behind its end."""
        forward, self.at = at - self.at, self.at
        self.skip(forward, what)

    def _checked_end(self, count: int, what: str) -> int:
        """Where the next bytes end in the file, which may be too far."""
        end = self.position + count
        if end > self.size:
            raise BrokenFile(f"The file is cut short: {what} ends at byte {end} of {self.size}.")
        if end > self.bounds.head_bytes:
            raise BrokenFile(f"The header is larger than {self.bounds.head_bytes >> 20} MiB.")
        if self._given is not None and end > self._given:
            raise Short(end)
        return end


def shown(name: str) -> str:
    """A name from a stranger's file, made fit for a message."""
    return repr(name if len(name) <= 80 else name[:77] + "…")
