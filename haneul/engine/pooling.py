"""What a model file says of making one vector, or one score, of a whole text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEAN, CLS, LAST, RANK = "mean", "cls", "last", "rank"
_BY_NUMBER = {1: MEAN, 2: CLS, 3: LAST, 4: RANK}  # enum llama_pooling_type of llama.h


def pooling_of(metadata: Mapping[str, Any]) -> str:
    """How the file wants its vectors pooled; empty: it says nothing of it."""
    number = metadata.get(f"{metadata.get('general.architecture')}.pooling_type")
    return _BY_NUMBER.get(number, "") if isinstance(number, int) else ""


def only_pools(metadata: Mapping[str, Any]) -> bool:
    """Whether the model makes vectors or scores and no text: it has no use for a next token."""
    architecture = str(metadata.get("general.architecture"))
    is_encoder = "bert" in architecture or "embed" in architecture
    return is_encoder or metadata.get(f"{architecture}.attention.causal") is False
