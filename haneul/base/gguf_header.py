"""What the header of a GGUF file says, once it was read and proven."""

from __future__ import annotations

from msgspec import Struct


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
    parts: int = 1  # files that hold the tensors; of several, see gguf_parts
