"""A commit as it is sent: lines of operations on the files of the revision before it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from haneul.base.errors import BadRequest, NotFound
from haneul.models.folder.accept import IGNORED, check_name
from haneul.models.manifest import FILES_MAX, File
from haneul.services.hub.wire import Oid, Path, Size

OPERATIONS_MAX = FILES_MAX
Kind = Literal["header", "file", "lfsFile", "deletedFile", "deletedFolder"]


class CommitLine(Struct, frozen=True, kw_only=True):
    """POST …/commit/{revision}: one line each, of JSON."""

    key: Kind
    value: dict[str, Any]


class Head(Struct, frozen=True, kw_only=True, rename="camel"):
    """What the commit is called; another haneul says what its model is called there too."""

    summary: str = ""
    description: str = ""
    parent_commit: Annotated[str, Meta(pattern="^[0-9a-f]{7,64}$")] | None = None
    model: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None
    licence: Annotated[str, Meta(max_length=200)] | None = None


class Content(Struct, frozen=True, kw_only=True):
    """A small file, in the line itself."""

    path: Path
    content: str
    encoding: Literal["base64", "utf-8"] = "utf-8"


class Large(Struct, frozen=True, kw_only=True):
    """A file that was put before, or is here already."""

    path: Path
    oid: Oid
    algo: Literal["sha256"] = "sha256"
    size: Size | None = None


class Gone(Struct, frozen=True, kw_only=True):
    path: Path


class Wanted(Struct, frozen=True, kw_only=True):
    """What a commit says."""

    head: Head
    contents: dict[str, bytes]  # new small files
    larges: dict[str, Large]  # new large ones
    kept: dict[str, File]  # of the revision before

    @property
    def paths(self) -> list[str]:
        return [*self.kept, *self.contents, *self.larges]


_line: msgspec.json.Decoder[CommitLine] = msgspec.json.Decoder(CommitLine)


def read(data: bytes, before: Mapping[str, File]) -> Wanted:
    """What the lines make of the files before. Raises BadRequest, NotFound."""
    head, contents, larges, kept = Head(), dict[str, bytes](), dict[str, Large](), dict(before)
    for number, (key, value) in enumerate(_lines(data), 1):
        if key == "header":
            head = _read(value, Head, number)
        elif key == "file":
            small = _read(value, Content, number)
            _new(small.path, contents, larges, kept)
            contents[small.path] = _decoded(small)
        elif key == "lfsFile":
            large = _read(value, Large, number)
            _new(large.path, contents, larges, kept)
            larges[large.path] = large
        else:
            _remove(_read(value, Gone, number).path, kept, is_folder=key == "deletedFolder")
    return Wanted(head=head, contents=contents, larges=larges, kept=kept)


def _lines(data: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    lines = [line for line in data.split(b"\n") if line.strip()]
    if len(lines) > OPERATIONS_MAX:
        raise BadRequest(f"A commit has at most {OPERATIONS_MAX} operations.", param="key")
    for number, line in enumerate(lines, 1):
        try:
            told = _line.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as cause:
            raise BadRequest(f"Line {number} of the commit: {cause}", param="key") from cause
        yield told.key, told.value


def _read(value: dict[str, Any], kind: type[Any], number: int) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as cause:
        raise BadRequest(f"Line {number} of the commit: {cause}", param="value") from cause


def _new(
    path: str, contents: dict[str, bytes], larges: dict[str, Large], kept: dict[str, File]
) -> None:
    """Makes room for a path's new file. Raises BadRequest for one that cannot be kept."""
    if path.rpartition("/")[2] not in IGNORED:
        check_name(path)
    contents.pop(path, None)
    larges.pop(path, None)
    kept.pop(path, None)


def _decoded(small: Content) -> bytes:
    if small.encoding != "base64":
        return small.content.encode()
    try:
        return base64.b64decode(small.content, validate=True)
    except (binascii.Error, ValueError) as cause:
        raise BadRequest(f"The content of {small.path} is no base64.", param="value") from cause


def _remove(path: str, kept: dict[str, File], *, is_folder: bool) -> None:
    """Raises NotFound for what is not there: these words are known to clients."""
    below = f"{path.rstrip('/')}/"
    gone = [each for each in kept if each.startswith(below)] if is_folder else [path]
    if not gone or gone[0] not in kept:
        raise NotFound(f"A file with this name doesn't exist: {path[:200]}", param="path")
    for each in gone:
        del kept[each]
