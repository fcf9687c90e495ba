"""Writes tiny safetensors files: valid ones, and ones that lie where a test wants them to."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from haneul.base.safetensors import DTYPES


def safetensors_bytes(
    tensors: Mapping[str, tuple[str, Sequence[int]]],
    *,
    metadata: Mapping[str, str] | None = None,
    fill: bytes = b"\1",
    **facts: Mapping[str, Any],
) -> bytes:
    """A whole file: each tensor's dtype and shape by its name, one behind the other.

    `facts` by a tensor's name override what an honest writer would say of it.
    """
    stated: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    end = 0
    for name, (dtype, shape) in tensors.items():
        size = math.prod(shape) * DTYPES[dtype] // 8
        honest: dict[str, Any] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [end, end + size],
        }
        stated[name] = honest | dict(facts.get(name, {}))
        end += size
    return with_header(stated, (fill * (end // len(fill) + 1))[:end])


def with_header(stated: Any, body: bytes = b"") -> bytes:
    """A file with this header, be it JSON's text or what becomes it, padded as writers do."""
    text = stated if isinstance(stated, bytes) else json.dumps(stated, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body
