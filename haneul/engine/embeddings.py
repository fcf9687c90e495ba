"""Answers POST /v1/embeddings."""

from __future__ import annotations

import base64
import struct
from typing import Any

from haneul.engine.kernel import Vectors


def embeddings(vectors: Vectors, *, model: str, is_base64: bool) -> dict[str, Any]:
    """OpenAI's list of embeddings; base64 is of little-endian 32-bit floats."""
    rows = [
        {"object": "embedding", "index": index, "embedding": _packed(row) if is_base64 else row}
        for index, row in enumerate(vectors.rows)
    ]
    tokens = vectors.prompt_tokens
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": rows, "model": model, "usage": usage}


def _packed(row: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode()
