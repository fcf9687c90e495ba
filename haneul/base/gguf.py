"""Reads the header of a GGUF file (versions 2 and 3) and believes nothing it says.

A model file comes from a stranger, and engines have crashed or leaked their memory on lying counts
and sizes (CVE-2026-7482, CVE-2026-27940). So every count is bounded by the bytes that are there
before anything is allocated, and every tensor must lie inside the real file. Only the header is
read, through a growing buffer and not a memory map: a file cut while being read is then an error
and not a bus fault.

Source of the layout: ggml's docs/gguf.md.
"""

from __future__ import annotations

import math
import os
import re
import struct
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from haneul.base.errors import BrokenFile
from haneul.base.gguf_types import ARRAY, SCALARS, STRING, TENSOR_TYPES

METADATA_MAX = 1 << 16
TENSORS_MAX = 1 << 17
DIMENSIONS_MAX = 4
NAME_MAX_BYTES = 63  # of a tensor; engines keep 64 with the closing zero
KEY_MAX_BYTES = 65_535
STRING_MAX_BYTES = 16 << 20
STRINGS_MAX = 1 << 22  # in one array; the largest vocabulary known has 2^18 entries
HEADER_MAX_BYTES = 256 << 20
ALIGNMENT_MAX = 1 << 20
KEPT_ELEMENTS = 4096  # a longer array is counted, not kept: nobody here reads a vocabulary
CHUNK_BYTES = 1 << 20
INT64_MAX = (1 << 63) - 1

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_INFO_MIN_BYTES = 8 + 4 + 4 + 8  # of one tensor: empty name, no dimensions
_PAIR_MIN_BYTES = 8 + 4 + 1  # of one metadata pair


class Array(Struct, frozen=True):
    """An array that is only counted: its element type (as in the format) and its length."""

    type: int
    count: int


Value = str | int | float | bool | tuple[int | float | bool, ...] | Array


class Tensor(Struct, frozen=True):
    """One tensor: fastest dimension first; the offset counts from Header.data_offset, in bytes."""

    name: str
    dims: tuple[int, ...]
    type: str
    offset: int
    size_bytes: int


class Header(Struct, frozen=True, kw_only=True):
    """What a GGUF file says of itself, all of it checked against the file's real length."""

    version: int
    metadata: dict[str, Value]
    tensors: tuple[Tensor, ...]
    alignment: int
    data_offset: int
    file_bytes: int


def read_header(path: str | os.PathLike[str]) -> Header:
    """The header, with every count, offset and size proven. Raises BrokenFile with the reason."""
    try:
        with Path(path).open("rb") as file:
            return _read(_Cursor(file, os.fstat(file.fileno()).st_size))
    except FileNotFoundError as cause:
        raise BrokenFile("There is no file at that path.") from cause
    except OSError as cause:
        raise BrokenFile(f"The file cannot be read: {cause.strerror}.") from cause


def check_file(path: str | os.PathLike[str]) -> Header:
    """The header of a file that an engine may be given: a whole model of a named architecture.

    Beyond read_header, the measures that every engine allocates by must be there and be sensible.
    Raises BrokenFile with the reason.
    """
    header = read_header(path)
    _check_model(header)
    return header


class _Cursor:
    """Walks the head of a file; asking for more than there is raises BrokenFile."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.data = bytearray()
        self.at = 0

    def need(self, count: int, what: str) -> None:
        """Makes count bytes at the cursor available."""
        end = self.at + count
        if end > self.size:
            raise BrokenFile(f"The file is cut short: {what} ends at byte {end} of {self.size}.")
        if end > HEADER_MAX_BYTES:
            raise BrokenFile(f"The header is larger than {HEADER_MAX_BYTES >> 20} MiB.")
        while len(self.data) < end:
            more = self.file.read(max(CHUNK_BYTES, end - len(self.data)))
            if not more:
                raise BrokenFile(f"The file ended while {what} was read.")
            self.data += more

    @property
    def left(self) -> int:
        """Bytes from the cursor to the end of the file."""
        return self.size - self.at

    def number(self, layout: struct.Struct, what: str) -> int:
        self.need(layout.size, what)
        value: int = layout.unpack_from(self.data, self.at)[0]
        self.at += layout.size
        return value

    def text(self, limit: int, what: str) -> str:
        length = self.number(_U64, what)
        if length > limit:
            raise BrokenFile(f"{what} claims {length} bytes; at most {limit} are taken.")
        self.need(length, what)
        raw = bytes(self.data[self.at : self.at + length])
        self.at += length
        try:
            return raw.decode()
        except UnicodeDecodeError as cause:
            raise BrokenFile(f"{what} is not UTF-8.") from cause

    def skip_strings(self, count: int, what: str) -> None:
        """Walks over strings; this loop runs once per vocabulary entry, so it is written flat."""
        unpack = _U64.unpack_from
        at, ready = self.at, len(self.data)
        for _ in range(count):
            if at + 8 > ready:
                self.at = at
                self.need(8, what)
                ready = len(self.data)
            (length,) = unpack(self.data, at)
            if length > STRING_MAX_BYTES:
                raise BrokenFile(f"{what} holds a string that claims {length} bytes.")
            at += 8 + length
            if at > ready:
                self.at = at
                self.need(0, what)
                ready = len(self.data)
        self.at = at


def _read(cursor: _Cursor) -> Header:
    version = _read_version(cursor)
    tensor_count = cursor.number(_U64, "the tensor count")
    pair_count = cursor.number(_U64, "the metadata count")
    _check_count(tensor_count, TENSORS_MAX, _INFO_MIN_BYTES, cursor, "tensors")
    _check_count(pair_count, METADATA_MAX, _PAIR_MIN_BYTES, cursor, "metadata pairs")
    metadata: dict[str, Value] = {}
    for _ in range(pair_count):
        key = cursor.text(KEY_MAX_BYTES, "a metadata key")
        if key in metadata:
            raise BrokenFile(f"The metadata key {_shown(key)} stands there twice.")
        metadata[key] = _read_value(cursor, f"the value of {_shown(key)}")
    alignment = _alignment(metadata)
    tensors = tuple(_read_tensor(cursor) for _ in range(tensor_count))
    data_offset = -(-cursor.at // alignment) * alignment
    _check_layout(tensors, alignment, cursor.size - data_offset)
    return Header(
        version=version,
        metadata=metadata,
        tensors=tensors,
        alignment=alignment,
        data_offset=data_offset,
        file_bytes=cursor.size,
    )


def _read_version(cursor: _Cursor) -> int:
    if not cursor.size:
        raise BrokenFile("The file is empty.")
    if cursor.size < 4:
        raise BrokenFile(f"The file has only {cursor.size} bytes.")
    cursor.need(4, "the magic number")
    if cursor.data[:4] != b"GGUF":
        raise BrokenFile("This is not a GGUF file: it does not begin with 'GGUF'.")
    cursor.at = 4
    version = cursor.number(_U32, "the version")
    if version & 0xFFFF == 0:
        raise BrokenFile("This is a big-endian GGUF file; only little-endian ones are read.")
    if version not in (2, 3):
        raise BrokenFile(f"GGUF version {version} is not read; versions 2 and 3 are.")
    return version


def _check_count(count: int, limit: int, least_bytes: int, cursor: _Cursor, what: str) -> None:
    if count > limit:
        raise BrokenFile(f"The file claims {count} {what}; at most {limit} are taken.")
    if count * least_bytes > cursor.left:
        raise BrokenFile(f"The file claims {count} {what}, more than its bytes can hold.")


def _read_value(cursor: _Cursor, what: str) -> Value:
    kind = cursor.number(_U32, what)
    if kind == STRING:
        return cursor.text(STRING_MAX_BYTES, what)
    if kind == ARRAY:
        return _read_array(cursor, what)
    return cursor.number(_scalar(kind, what), what)


def _scalar(kind: int, what: str) -> struct.Struct:
    layout = SCALARS.get(kind)
    if layout is None:
        raise BrokenFile(f"{what} has the unknown type {kind}.")
    return layout


def _read_array(cursor: _Cursor, what: str) -> Value:
    kind = cursor.number(_U32, what)
    count = cursor.number(_U64, what)
    if kind == ARRAY:
        raise BrokenFile(f"{what} is an array of arrays, which no engine reads.")
    if kind == STRING:
        _check_count(count, STRINGS_MAX, 8, cursor, f"strings as {what}")
        cursor.skip_strings(count, what)
        return Array(kind, count)
    layout = _scalar(kind, what)
    _check_count(count, HEADER_MAX_BYTES, layout.size, cursor, f"numbers as {what}")
    cursor.need(count * layout.size, what)
    start, cursor.at = cursor.at, cursor.at + count * layout.size
    if count > KEPT_ELEMENTS:
        return Array(kind, count)
    return tuple(value for (value,) in layout.iter_unpack(cursor.data[start : cursor.at]))


def _alignment(metadata: dict[str, Value]) -> int:
    value = metadata.get("general.alignment", 32)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number or not 1 <= value <= ALIGNMENT_MAX or value & (value - 1):  # type: ignore[operator]
        raise BrokenFile(f"general.alignment is {value!r}, not a power of two up to 2^20.")
    assert isinstance(value, int)
    return value


def _read_tensor(cursor: _Cursor) -> Tensor:
    name = cursor.text(NAME_MAX_BYTES, "a tensor name")
    what = f"tensor {_shown(name)}"
    rank = cursor.number(_U32, what)
    if not 1 <= rank <= DIMENSIONS_MAX:
        raise BrokenFile(f"{what} has {rank} dimensions; 1 to {DIMENSIONS_MAX} are taken.")
    dims = tuple(cursor.number(_U64, what) for _ in range(rank))
    kind = cursor.number(_U32, what)
    if kind not in TENSOR_TYPES:
        raise BrokenFile(f"{what} has the unknown type {kind}.")
    offset = cursor.number(_U64, what)
    return Tensor(name, dims, TENSOR_TYPES[kind].name, offset, _size_bytes(dims, kind, what))


def _size_bytes(dims: tuple[int, ...], kind: int, what: str) -> int:
    form = TENSOR_TYPES[kind]
    if not all(1 <= dim <= INT64_MAX for dim in dims):
        raise BrokenFile(f"{what} has a dimension of {min(dims)}…{max(dims)} elements.")
    if dims[0] % form.block_weights:
        raise BrokenFile(f"{what}: rows of {dims[0]} do not divide into {form.name} blocks.")
    weights = math.prod(dims)
    size = weights // form.block_weights * form.block_bytes
    if max(weights, size) > INT64_MAX:
        raise BrokenFile(f"{what}: its size overflows 64 bits.")
    return size


def _check_layout(tensors: tuple[Tensor, ...], alignment: int, data_bytes: int) -> None:
    """Every tensor aligned, inside the file, named once and apart from the others."""
    names = set()
    end, last = 0, ""
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        what = f"tensor {_shown(tensor.name)}"
        if tensor.name in names:
            raise BrokenFile(f"{what} stands there twice.")
        names.add(tensor.name)
        if tensor.offset % alignment:
            raise BrokenFile(f"{what} is not aligned to {alignment} bytes.")
        if tensor.offset < end:
            raise BrokenFile(f"{what} overlaps tensor {_shown(last)}.")
        end, last = tensor.offset + tensor.size_bytes, tensor.name
        if end > data_bytes:
            raise BrokenFile(
                f"The file is cut short or lies: {what} ends {end - data_bytes} bytes past its end."
            )


def _check_model(header: Header) -> None:
    kind = header.metadata.get("general.type", "model")
    if kind != "model":
        raise BrokenFile(f"The file holds a part that goes with a model ({kind}), not a model.")
    architecture = header.metadata.get("general.architecture")
    if not isinstance(architecture, str) or not re.fullmatch(r"[a-z0-9_-]{1,64}", architecture):
        raise BrokenFile("general.architecture is missing or not a name.")
    parts = header.metadata.get("split.count", 0)
    if isinstance(parts, int) and parts > 1:
        raise BrokenFile(f"The file is one of {parts} parts; merge them into one file first.")
    if not header.tensors:
        raise BrokenFile("The file has no tensors: a vocabulary or a template, not a model.")
    hidden = _measure(header, "embedding_length", 1 << 20)
    _measure(header, "block_count", 1 << 12)
    _measure(header, "context_length", 1 << 31)
    _check_heads(header)
    for tensor in header.tensors:
        if tensor.name == "token_embd.weight" and tensor.dims[0] != hidden:
            raise BrokenFile(f"token_embd.weight has rows of {tensor.dims[0]}, not of {hidden}.")


def _measure(header: Header, name: str, limit: int) -> int:
    key = f"{header.metadata['general.architecture']}.{name}"
    value = header.metadata.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BrokenFile(f"{key} is missing or not a whole number.")
    if not 1 <= value <= limit:
        raise BrokenFile(f"{key} is {value}; it must lie between 1 and {limit}.")
    return value


def _check_heads(header: Header) -> None:
    """Head counts are one number or one per layer; models without attention have none."""
    for name in ("attention.head_count", "attention.head_count_kv"):
        key = f"{header.metadata['general.architecture']}.{name}"
        value = header.metadata.get(key, 0)
        counts = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(count, int) and 0 <= count <= 1 << 16 for count in counts):
            raise BrokenFile(f"{key} is not a number of heads.")


def _shown(name: str) -> str:
    """A name from a stranger's file, made fit for a message."""
    return repr(name if len(name) <= 80 else name[:77] + "…")
