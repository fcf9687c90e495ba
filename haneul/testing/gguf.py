"""Writes tiny GGUF files: valid ones, and ones that lie exactly where a test wants them to."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from haneul.base.gguf_types import TENSOR_TYPES

NUMBERS = {number: form.name for number, form in TENSOR_TYPES.items()}


class Weights(NamedTuple):
    """One tensor to write; offset and type override what an honest writer would put."""

    name: str
    dims: tuple[int, ...]
    type: str = "F32"
    offset: int | None = None


TINY: Mapping[str, Any] = {
    "general.architecture": "llama",
    "general.file_type": 0,
    "llama.block_count": 1,
    "llama.context_length": 64,
    "llama.embedding_length": 32,
    "llama.feed_forward_length": 64,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.tokens": ["a", "b", "c", "d"],
}
TINY_WEIGHTS = (
    Weights("token_embd.weight", (32, 4)),
    Weights("blk.0.attn_q.weight", (32, 32), "Q8_0"),
    Weights("blk.0.ffn_up.weight", (32, 64), "Q4_0"),
)


def gguf_bytes(
    metadata: Mapping[str, Any] = TINY,
    weights: Sequence[Weights] = TINY_WEIGHTS,
    *,
    version: int = 3,
    fill: bytes = b"\1",
) -> bytes:
    """A whole file. Integers become u32 (u64 when large), floats f32; a list has one type."""
    alignment = int(metadata.get("general.alignment", 32))
    head = b"GGUF" + struct.pack("<IQQ", version, len(weights), len(metadata))
    head += b"".join(_text(key) + _value(value) for key, value in metadata.items())
    end = 0
    for entry in weights:
        kind = next(number for number, name in NUMBERS.items() if name == entry.type)
        offset = end if entry.offset is None else entry.offset
        head += _text(entry.name) + struct.pack("<I", len(entry.dims))
        head += struct.pack(f"<{len(entry.dims)}QIQ", *entry.dims, kind, offset)
        end = max(end, _aligned(offset + _size(entry.dims, kind), alignment))
    body = (fill * (end // len(fill) + 1))[:end]
    return head.ljust(_aligned(len(head), alignment), b"\0") + body


def _aligned(count: int, alignment: int) -> int:
    return -(-count // alignment) * alignment


def _size(dims: tuple[int, ...], kind: int) -> int:
    form = TENSOR_TYPES[kind]
    return math.prod(dims) // form.block_weights * form.block_bytes


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Any) -> bytes:
    kind, raw = _typed(value)
    if not isinstance(value, list):
        return struct.pack("<I", kind) + raw
    kinds = {_typed(element)[0] for element in value} or {4}
    raw = b"".join(_typed(element)[1] for element in value)
    return struct.pack("<IIQ", 9, kinds.pop(), len(value)) + raw


def _typed(value: Any) -> tuple[int, bytes]:
    match value:
        case bool():
            return 7, struct.pack("<?", value)
        case int() if value < 1 << 32:
            return 4, struct.pack("<I", value)
        case int():
            return 10, struct.pack("<Q", value)
        case float():
            return 6, struct.pack("<f", value)
        case str():
            return 8, _text(value)
        case _:
            return 9, b""
