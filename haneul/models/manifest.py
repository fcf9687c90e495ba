"""Which files a revision of a model is: the one thing that never changes about it.

A revision is named by the digest of its files' names and contents, so the same bytes are the same
revision wherever they came from, and no revision can be changed under its name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec import Struct

from haneul.base.errors import BrokenFile

Format = Literal["gguf", "safetensors", "adapter"]

SHA256 = re.compile(r"[0-9a-f]{64}")
PATH = re.compile(r"[\w.+=@ -]{1,255}(/[\w.+=@ -]{1,255}){0,7}")
FILES_MAX = 10_000


class File(Struct, frozen=True, order=True):
    """One file: where it lies in the repository, its SHA-256 in hexadecimal, its size."""

    path: str
    sha256: str
    bytes: int


class Manifest(Struct, frozen=True, kw_only=True):
    """The files of a revision, by their paths."""

    format: Format
    files: tuple[File, ...]

    @property
    def revision(self) -> str:
        """The name of the revision: 64 hexadecimal digits."""
        return hashlib.sha256(dump(self).encode()).hexdigest()

    @property
    def bytes(self) -> int:
        """Bytes of all files together."""
        return sum(file.bytes for file in self.files)

    @property
    def weights(self) -> tuple[File, ...]:
        """The files that hold tensors, in the order in which an engine counts them."""
        suffix = (".gguf", ".safetensors")
        return tuple(file for file in self.files if file.path.endswith(suffix))


def manifest(format: Format, files: Iterable[File]) -> Manifest:
    """A manifest in its one order. Raises BrokenFile for a path or digest no store would take."""
    listed = tuple(sorted(files))
    paths = [file.path for file in listed]
    if not listed or len(listed) > FILES_MAX or len(set(paths)) != len(paths):
        raise BrokenFile(f"A revision has 1 to {FILES_MAX} files, each path once.")
    for file in listed:
        is_up = any(step.strip(". ") == "" for step in file.path.split("/"))
        if not PATH.fullmatch(file.path) or is_up:
            raise BrokenFile(f"A revision cannot hold a file called {file.path[:100]!r}.")
        if not SHA256.fullmatch(file.sha256) or file.bytes < 0:
            raise BrokenFile(f"{file.path} has no proper digest or size.")
    return Manifest(format=format, files=listed)


def dump(manifest: Manifest) -> str:
    """The manifest as it is stored and digested: JSON, its fields in their order."""
    return msgspec.json.encode(manifest).decode()


def read(text: str | bytes) -> Manifest:
    """A manifest from its JSON, checked. Raises BrokenFile."""
    try:
        said = msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as cause:
        raise BrokenFile(f"This is not a revision's list of files: {cause}.") from cause
    return manifest(said.format, said.files)
