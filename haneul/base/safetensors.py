"""Reads the header of a safetensors file and believes nothing it says.

Eight bytes of length, that many bytes of JSON, then the tensors' bytes without a gap: a hole could
hide anything, two tensors over one another would be written twice by whoever converts them. What is
taken here is what the reference library takes, with bounds on the count of what is kept.

Source of the layout: the safetensors repository's README and safetensors/src/tensor.rs (0.8).
"""

from __future__ import annotations

import os
from typing import Any

from msgspec import Struct

from haneul.base import strict_json
from haneul.base.errors import BrokenFile
from haneul.base.first_bytes import (
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

HEADER_MAX_BYTES = 32 << 20  # the reference library takes 100 MB; no known file has 16
VALUES_MAX = 1 << 20  # about 130,000 tensors of two dimensions
DIMENSIONS_MAX = 32
NAME_MAX_BYTES = 1024
INT64_MAX = (1 << 63) - 1
BOUNDS = Bounds(head_bytes=HEADER_MAX_BYTES + 8, text_bytes=0, texts_bytes=0)

# Bits of one element.
DTYPES = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "C64": 64,
}


class Tensor(Struct, frozen=True):
    """One tensor: slowest dimension first; the offset counts from Header.data_offset, in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


class Header(Struct, frozen=True, kw_only=True):
    """What a safetensors file says of itself, all of it checked against the file's real length."""

    metadata: dict[str, str]
    tensors: tuple[Tensor, ...]  # as they lie in the file
    data_offset: int
    file_bytes: int


def read_header(path: str | os.PathLike[str]) -> Header:
    """The header, with every offset and size proven. Raises BrokenFile with the reason."""
    with opened(path) as (file, size):
        return _read(Cursor(file, size, BOUNDS))


def read_first(data: bytes, *, file_bytes: int | None) -> Header | More:
    """The header of a file of which only the first bytes are here, or how many more it needs.

    Proven as by read_header; where nobody knows the file's length (None), Header.file_bytes is what
    its tensors claim. Raises BrokenFile with the reason.
    """
    if file_bytes is not None:
        data = data[:file_bytes]
    try:
        return _read(Cursor.over(data, file_bytes, BOUNDS))
    except Short as short:
        return wanted(short, len(data), file_bytes, BOUNDS)


def _read(cursor: Cursor) -> Header:
    if not cursor.size:
        raise BrokenFile("The file is empty.")
    length = cursor.number(U64, "the length of the header")
    if length > HEADER_MAX_BYTES:
        raise BrokenFile(
            f"The header claims {length} bytes, at most {HEADER_MAX_BYTES} are taken: "
            "too long, or not a safetensors file."
        )
    raw = cursor.take(length, "the header")
    if not raw.startswith(b"{"):
        raise BrokenFile("This is not a safetensors file: its header does not begin with '{'.")
    stated = strict_json.read(raw, "The header", values_max=VALUES_MAX)
    metadata = _metadata(stated.pop("__metadata__", {}))
    tensors = sorted(
        (_tensor(name, facts) for name, facts in stated.items()),
        key=lambda tensor: (tensor.offset, tensor.size_bytes),
    )
    end = _check_layout(tensors, cursor.left if cursor.size != UNKNOWN_BYTES else None)
    return Header(
        metadata=metadata,
        tensors=tuple(tensors),
        data_offset=cursor.position,
        file_bytes=cursor.position + end,
    )


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise BrokenFile("__metadata__ is not a list of texts by their names.")
    return value


def _tensor(name: str, facts: Any) -> Tensor:
    what = f"tensor {shown(name)}"
    if len(name.encode()) > NAME_MAX_BYTES:
        raise BrokenFile(f"{what} has a name of more than {NAME_MAX_BYTES} bytes.")
    if not isinstance(facts, dict) or facts.keys() != {"dtype", "shape", "data_offsets"}:
        raise BrokenFile(f"{what} is not described by dtype, shape and data_offsets alone.")
    bits = DTYPES.get(facts["dtype"]) if isinstance(facts["dtype"], str) else None
    if bits is None:
        raise BrokenFile(f"{what} has the unknown dtype {shown(str(facts['dtype'])[:100])}.")
    shape = _counts(facts["shape"], f"the shape of {what}")
    offsets = _counts(facts["data_offsets"], f"the place of {what}")
    if len(shape) > DIMENSIONS_MAX:
        raise BrokenFile(f"{what} has {len(shape)} dimensions; {DIMENSIONS_MAX} are taken.")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise BrokenFile(f"{what} does not lie between two offsets, the smaller first.")
    size = _size_bytes(shape, bits, what)
    if offsets[1] - offsets[0] != size:
        raise BrokenFile(f"{what} takes {offsets[1] - offsets[0]} bytes; its shape needs {size}.")
    return Tensor(name, facts["dtype"], shape, offsets[0], size)


def _counts(value: Any, what: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(each) is int for each in value):
        raise BrokenFile(f"{what} is not a list of whole numbers.")
    if not all(0 <= each <= INT64_MAX for each in value):
        raise BrokenFile(f"{what} has a number below 0 or beyond 2^63.")
    return tuple(value)


def _size_bytes(shape: tuple[int, ...], bits: int, what: str) -> int:
    """Bytes of the elements. A zero among them does not excuse an overflow before it."""
    count = 1
    for dimension in shape:
        count *= dimension
        if count > INT64_MAX:
            raise BrokenFile(f"{what}: its size overflows 64 bits.")
    if count * bits % 8:
        raise BrokenFile(f"{what} does not end at a whole byte.")
    if count * bits > INT64_MAX:
        raise BrokenFile(f"{what}: its size overflows 64 bits.")
    return count * bits // 8


def _check_layout(tensors: list[Tensor], data_bytes: int | None) -> int:
    """Where the last ends: every tensor begins where the one before it ended, up to the end."""
    end, last = 0, ""
    for tensor in tensors:
        what = f"tensor {shown(tensor.name)}"
        if tensor.offset < end:
            raise BrokenFile(f"{what} overlaps tensor {shown(last)}.")
        if tensor.offset > end:
            raise BrokenFile(f"{tensor.offset - end} bytes before {what} belong to no tensor.")
        end, last = tensor.offset + tensor.size_bytes, tensor.name
    if data_bytes is None or data_bytes == end:
        return end
    if data_bytes < end:
        raise BrokenFile(
            f"The file is cut short or lies: tensor {shown(last)} ends {end - data_bytes} bytes "
            "past its end."
        )
    raise BrokenFile(f"The last {data_bytes - end} bytes of the file belong to no tensor.")
