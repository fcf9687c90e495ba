"""Reads the header of a GGUF file (versions 2 and 3) and believes nothing it says.

A model file comes from a stranger, and engines have crashed or leaked their memory on lying counts
and sizes (CVE-2026-7482, CVE-2026-27940). So every count is bounded by the bytes that are there
before anything is allocated, what is kept of texts and numbers is bounded as a whole, and every
tensor must lie inside the real file. Only the header is read, here or from a file's first bytes.

Source of the layout: ggml's docs/gguf.md.
"""

from __future__ import annotations

import math
import os
import struct

from haneul.base.errors import BrokenFile
from haneul.base.first_bytes import (
    U32,
    U64,
    UNKNOWN_BYTES,
    Bounds,
    Cursor,
    More,
    Short,
    opened,
    shown,
    wanted,
)
from haneul.base.gguf_header import Array, Header, Tensor, Value
from haneul.base.gguf_model import check_model
from haneul.base.gguf_types import ARRAY, SCALARS, STRING, TENSOR_TYPES

__all__ = ["Array", "Header", "Tensor", "Value", "check_file", "read_first", "read_header"]

METADATA_MAX = 1 << 16
TENSORS_MAX = 1 << 17
DIMENSIONS_MAX = 4
NAME_MAX_BYTES = 63  # of a tensor; engines keep 64 with the closing zero
KEY_MAX_BYTES = 65_535
STRING_MAX_BYTES = 16 << 20
STRINGS_MAX = 1 << 22  # in all arrays; the largest vocabulary known has 2^18 entries
HEADER_MAX_BYTES = 256 << 20
ALIGNMENT = "general.alignment"
ALIGNMENT_TYPE = 4  # u32
ALIGNMENT_MAX = 1 << 20
KEPT_ELEMENTS = 4096  # a longer array is counted, not kept: nobody here reads a vocabulary
NUMBERS_MAX = 1 << 20  # in all arrays that are kept
INT64_MAX = (1 << 63) - 1
BOUNDS = Bounds(
    head_bytes=HEADER_MAX_BYTES, text_bytes=STRING_MAX_BYTES, texts_bytes=4 * STRING_MAX_BYTES
)

_INFO_MIN_BYTES = 8 + 4 + 4 + 8  # of one tensor: empty name, no dimensions
_PAIR_MIN_BYTES = 8 + 4 + 1  # of one metadata pair


def read_header(path: str | os.PathLike[str]) -> Header:
    """The header, with every count, offset and size proven. Raises BrokenFile with the reason."""
    with opened(path) as (file, size):
        return _Reader(Cursor(file, size, BOUNDS)).read()


def read_first(data: bytes, *, file_bytes: int | None) -> Header | More:
    """The header of a file of which only the first bytes are here, or how many more it needs.

    Proven as by read_header; where nobody knows the file's length (None), Header.file_bytes is what
    its tensors claim. Raises BrokenFile with the reason.
    """
    if file_bytes is not None:
        data = data[:file_bytes]
    try:
        return _Reader(Cursor.over(data, file_bytes, BOUNDS)).read()
    except Short as short:
        return wanted(short, len(data), file_bytes, BOUNDS)


def check_file(path: str | os.PathLike[str]) -> Header:
    """The header of a file that an engine may be given: a whole model of a named architecture.

    Beyond read_header, the measures that every engine allocates by must be there and be sensible.
    Raises BrokenFile with the reason.
    """
    header = read_header(path)
    check_model(header)
    return header


class _Reader:
    """One reading: the cursor, and what may still be kept of arrays."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.strings_left, self.numbers_left = STRINGS_MAX, NUMBERS_MAX

    def read(self) -> Header:
        cursor = self.cursor
        version = _read_version(cursor)
        tensor_count = cursor.number(U64, "the tensor count")
        pair_count = cursor.number(U64, "the metadata count")
        _check_count(tensor_count, TENSORS_MAX, _INFO_MIN_BYTES, cursor, "tensors")
        _check_count(pair_count, METADATA_MAX, _PAIR_MIN_BYTES, cursor, "metadata pairs")
        metadata: dict[str, Value] = {}
        for _ in range(pair_count):
            key = cursor.text(KEY_MAX_BYTES, "a metadata key")
            if key in metadata:
                raise BrokenFile(f"The metadata key {shown(key)} stands there twice.")
            what = f"the value of {shown(key)}"
            kind = cursor.number(U32, what)
            if key == ALIGNMENT and kind != ALIGNMENT_TYPE:
                raise BrokenFile(f"{ALIGNMENT} has the type {kind}; engines take {ALIGNMENT_TYPE}.")
            metadata[key] = self.value(kind, what)
        alignment = _alignment(metadata)
        tensors = tuple(_read_tensor(cursor) for _ in range(tensor_count))
        data_offset = -(-cursor.position // alignment) * alignment
        end = _check_layout(tensors, alignment, cursor.size - data_offset)
        is_known = cursor.size != UNKNOWN_BYTES
        return Header(
            version=version,
            metadata=metadata,
            tensors=tensors,
            alignment=alignment,
            data_offset=data_offset,
            file_bytes=cursor.size if is_known else data_offset + end,
        )

    def value(self, kind: int, what: str) -> Value:
        if kind == STRING:
            return self.cursor.text(STRING_MAX_BYTES, what)
        if kind == ARRAY:
            return self.array(what)
        return self.cursor.number(_scalar(kind, what), what)

    def array(self, what: str) -> Value:
        cursor = self.cursor
        kind = cursor.number(U32, what)
        count = cursor.number(U64, what)
        if kind == ARRAY:
            raise BrokenFile(f"{what} is an array of arrays, which no engine reads.")
        if kind == STRING:
            _check_count(count, self.strings_left, 8, cursor, f"strings as {what}")
            self.strings_left -= count
            cursor.skip_texts(count, what)
            return Array(kind, count)
        layout = _scalar(kind, what)
        _check_count(count, HEADER_MAX_BYTES, layout.size, cursor, f"numbers as {what}")
        if count > KEPT_ELEMENTS:
            cursor.skip(count * layout.size, what)
            return Array(kind, count)
        self.numbers_left -= count
        if self.numbers_left < 0:
            raise BrokenFile(f"The file's arrays hold more than {NUMBERS_MAX} numbers.")
        raw = cursor.take(count * layout.size, what)
        return tuple(value for (value,) in layout.iter_unpack(raw))


def _read_version(cursor: Cursor) -> int:
    if not cursor.size:
        raise BrokenFile("The file is empty.")
    if cursor.size < 4:
        raise BrokenFile(f"The file has only {cursor.size} bytes.")
    if cursor.take(4, "the magic number") != b"GGUF":
        raise BrokenFile("This is not a GGUF file: it does not begin with 'GGUF'.")
    version = cursor.number(U32, "the version")
    if version & 0xFFFF == 0:
        raise BrokenFile("This is a big-endian GGUF file; only little-endian ones are read.")
    if version not in (2, 3):
        raise BrokenFile(f"GGUF version {version} is not read; versions 2 and 3 are.")
    return version


def _check_count(count: int, limit: int, least_bytes: int, cursor: Cursor, what: str) -> None:
    if count > limit:
        raise BrokenFile(f"The file claims {count} {what}; at most {limit} are taken.")
    if count * least_bytes > cursor.left:
        raise BrokenFile(f"The file claims {count} {what}, more than its bytes can hold.")


def _scalar(kind: int, what: str) -> struct.Struct:
    layout = SCALARS.get(kind)
    if layout is None:
        raise BrokenFile(f"{what} has the unknown type {kind}.")
    return layout


def _alignment(metadata: dict[str, Value]) -> int:
    value = metadata.get(ALIGNMENT, 32)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number or not 1 <= value <= ALIGNMENT_MAX or value & (value - 1):  # type: ignore[operator]
        raise BrokenFile(f"{ALIGNMENT} is {value!r}, not a power of two up to 2^20.")
    assert isinstance(value, int)
    return value


def _read_tensor(cursor: Cursor) -> Tensor:
    name = cursor.text(NAME_MAX_BYTES, "a tensor name")
    what = f"tensor {shown(name)}"
    rank = cursor.number(U32, what)
    if not 1 <= rank <= DIMENSIONS_MAX:
        raise BrokenFile(f"{what} has {rank} dimensions; 1 to {DIMENSIONS_MAX} are taken.")
    dims = tuple(cursor.number(U64, what) for _ in range(rank))
    kind = cursor.number(U32, what)
    if kind not in TENSOR_TYPES:
        raise BrokenFile(f"{what} has the unknown type {kind}.")
    offset = cursor.number(U64, what)
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


def _check_layout(tensors: tuple[Tensor, ...], alignment: int, data_bytes: int) -> int:
    """Where the last ends: every tensor aligned, inside the file, named once, apart from others."""
    names = set()
    end, last = 0, ""
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        what = f"tensor {shown(tensor.name)}"
        if tensor.name in names:
            raise BrokenFile(f"{what} stands there twice.")
        names.add(tensor.name)
        if tensor.offset % alignment:
            raise BrokenFile(f"{what} is not aligned to {alignment} bytes.")
        if tensor.offset < end:
            raise BrokenFile(f"{what} overlaps tensor {shown(last)}.")
        end, last = tensor.offset + tensor.size_bytes, tensor.name
        if end > data_bytes:
            raise BrokenFile(
                f"The file is cut short or lies: {what} ends {end - data_bytes} bytes past its end."
            )
    return end
