"""The file itself: a plain tar that any tool lists, of which nothing is believed that was not said.

First comes what is in it, `bundle.json`, then its signature, then the blobs in the order in which
bundle.json names them, then the end. A tar's own heads name paths, owners and sizes; here each must
be, byte for byte, the one that the signed list asks for. So no path of the file is ever used, and
nothing can hide in it.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from typing import BinaryIO

from haneul.base.errors import BrokenFile

CONTENTS, SIGNATURE = "bundle.json", "bundle.sig"
CONTENTS_MAX_BYTES = 16 << 20
SIGNATURE_MAX_BYTES = 4096
BLOCK = tarfile.BLOCKSIZE
END = b"\0" * 2 * BLOCK
READ_BYTES = 1 << 20

OnBytes = Callable[[int], None]  # how many more went by
Take = Callable[[bytes], object]  # takes the bytes of a blob as they come


def blob_name(sha256: str) -> str:
    """What a blob is called in the file."""
    return f"blobs/sha256-{sha256}"


class Writer:
    """Writes a bundle from its beginning to its end; never goes back."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def small(self, name: str, data: bytes) -> None:
        """A member that is in memory."""
        self._file.write(_head(name, len(data)) + data + _padding(len(data)))

    def blob(self, sha256: str, size: int, source: BinaryIO, on_bytes: OnBytes) -> None:
        """A member that streams. Raises BrokenFile where its bytes are not what they should be."""
        self._file.write(_head(blob_name(sha256), size))
        hasher, left = hashlib.sha256(), size
        while left:
            part = source.read(min(READ_BYTES, left))
            if not part:
                break
            hasher.update(part)
            self._file.write(part)
            left -= len(part)
            on_bytes(len(part))
        if left or source.read(1) or hasher.hexdigest() != sha256:
            raise BrokenFile(f"The file sha256-{sha256} of this home is damaged; pull it again.")
        self._file.write(_padding(size))

    def end(self) -> None:
        """What follows the last member."""
        self._file.write(END)


class Reader:
    """Reads a bundle from its beginning to its end, from a file or a pipe."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._can_seek = file.seekable()
        self._size = _size_of(file) if self._can_seek else None

    def small(self, name: str, limit: int) -> bytes:
        """A member whose size is not known yet. Raises BrokenFile."""
        head = self._exactly(BLOCK, name)
        try:
            size = tarfile.TarInfo.frombuf(head, "ascii", "strict").size
        except (tarfile.HeaderError, ValueError) as cause:
            raise BrokenFile(
                f"This is no bundle: it does not hold {name} where it should."
            ) from cause
        if not 0 <= size <= limit:
            raise BrokenFile(f"{name} claims {size} bytes; at most {limit} are taken.")
        if head != _head(name, size):
            raise BrokenFile(f"This is no bundle: it does not hold {name} where it should.")
        data = self._exactly(size, name)
        self._skip_padding(size, name)
        return data

    def blob(self, sha256: str, size: int, take: Take | None, on_bytes: OnBytes) -> None:
        """Gives the bytes of the next blob to take, or with None goes past them.

        Raises BrokenFile where it is another, is cut short, or its bytes are not what was signed.
        """
        name = blob_name(sha256)
        if self._exactly(BLOCK, name) != _head(name, size):
            raise BrokenFile(f"The bundle does not hold {name} where it should.")
        if take is None:
            self._skip(size, name, on_bytes)
        else:
            self._give(sha256, size, take, on_bytes)
        self._skip_padding(size, name)

    def end(self) -> None:
        """Raises BrokenFile unless the bundle ends here."""
        if self._exactly(len(END), "its end") != END or self._file.read(1):
            raise BrokenFile("The bundle holds more than it says.")

    def _give(self, sha256: str, size: int, take: Take, on_bytes: OnBytes) -> None:
        hasher, left = hashlib.sha256(), size
        while left:
            part = self._exactly(min(READ_BYTES, left), blob_name(sha256))
            hasher.update(part)
            take(part)
            left -= len(part)
            on_bytes(len(part))
        if hasher.hexdigest() != sha256:
            raise BrokenFile(f"{blob_name(sha256)} of the bundle has other bytes than were signed.")

    def _skip(self, size: int, name: str, on_bytes: OnBytes) -> None:
        if self._size is not None:
            if self._file.tell() + size > self._size:
                raise BrokenFile(f"The bundle is cut short: {name} does not end in it.")
            self._file.seek(size, io.SEEK_CUR)
            on_bytes(size)
            return
        left = size
        while left:
            part = self._exactly(min(READ_BYTES, left), name)
            left -= len(part)
            on_bytes(len(part))

    def _skip_padding(self, size: int, name: str) -> None:
        padding = _padding(size)
        if self._exactly(len(padding), name) != padding:
            raise BrokenFile(f"The bundle hides something behind {name}.")

    def _exactly(self, count: int, name: str) -> bytes:
        parts, left = [], count
        while left:
            part = self._file.read(min(READ_BYTES, left))  # a lying length takes no memory
            if not part:
                raise BrokenFile(f"The bundle is cut short: {name} does not end in it.")
            parts.append(part)
            left -= len(part)
        return b"".join(parts)


def _head(name: str, size: int) -> bytes:
    """The one head that a member of this name and size has: no owner, no time, read by all."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o444, 0
    return info.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")


def _padding(size: int) -> bytes:
    return b"\0" * (-size % BLOCK)


def _size_of(file: BinaryIO) -> int:
    at = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(at)
    return end
