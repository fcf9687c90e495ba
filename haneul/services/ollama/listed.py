"""The models that are here as Ollama lists and shows them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from haneul.base.gguf import Array, Header
from haneul.base.units import MILLION
from haneul.models.hub import shape
from haneul.services.replica import READY
from haneul.services.targets import Target
from haneul.store.models import ModelRow

RANK = 4  # of a file's pooling types: a score instead of a vector
TEMPLATE = "tokenizer.chat_template"
UNITS = ((10**12, "T"), (10**9, "B"), (MILLION, "M"), (1000, "K"))


def tag(target: Target, row: ModelRow | None) -> dict[str, Any]:
    """One model of /api/tags. What a remote engine does not tell is left out."""
    told: dict[str, Any] = {
        "name": target.model,
        "model": target.model,
        "modified_at": _time(target.created_us),
    }
    if row is None:
        return {**told, "remote_host": target.engine, "remote_model": target.upstream_model}
    return {**told, "size": row.bytes, "digest": row.digest, "details": details(row)}


def running(target: Target, row: ModelRow) -> dict[str, Any] | None:
    """One model of /api/ps; None for one that is not loaded. It stays so until it is stopped."""
    if target.state != READY:
        return None
    return {
        "name": target.model,
        "model": target.model,
        "size": row.bytes,
        "size_vram": 0,  # the chip of embedded engines is the processor
        "digest": row.digest,
        "details": details(row),
        "context_length": target.context_tokens,
    }


def details(row: ModelRow) -> dict[str, Any]:
    """What a list says of a model file."""
    known = shape(row)
    return {
        "parent_model": "",
        "format": "gguf",
        "family": known.architecture,
        "families": [known.architecture],
        "parameter_size": _count(known.parameters),
        "quantization_level": known.quantisation,
    }


def show(row: ModelRow, header: Header, *, is_verbose: bool) -> dict[str, Any]:
    """What /api/show says of a model file. Long lists are told to whoever asks for all."""
    metadata = header.metadata
    return {
        "modified_at": _time(row.pulled_us),
        "license": row.licence or "",
        "template": str(metadata.get(TEMPLATE, "")),
        "parameters": "",  # none beside those of the file: see model_info
        "details": details(row),
        "model_info": {
            name: _value(value, is_verbose=is_verbose)
            for name, value in metadata.items()
            if name != TEMPLATE
        },
        "capabilities": capabilities(metadata),
    }


def capabilities(metadata: Mapping[str, Any]) -> list[str]:
    """What a model can do, by what its file says."""
    architecture = str(metadata.get("general.architecture"))
    pooling = metadata.get(f"{architecture}.pooling_type")
    if pooling is not None or "bert" in architecture:
        return ["rerank"] if pooling == RANK else ["embedding"]
    template = str(metadata.get(TEMPLATE, ""))
    can = ["completion"]
    can += ["tools"] if "tools" in template else []
    return can + (["thinking"] if "think" in template else [])


def _value(value: Any, *, is_verbose: bool) -> Any:
    """A value of the file; of a long list only its length is kept."""
    if isinstance(value, Array):
        return {"count": value.count} if is_verbose else None
    if isinstance(value, tuple) and not is_verbose:
        return None
    return value


def _count(number: int) -> str:
    for unit, letter in UNITS:
        if number >= unit:
            return f"{number / unit:.1f}{letter}"
    return str(number)


def _time(at_us: int) -> str:
    found = datetime.fromtimestamp(at_us / MILLION, UTC)
    return found.isoformat(timespec="microseconds").replace("+00:00", "Z")
