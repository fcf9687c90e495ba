"""Whether a GGUF file is a whole model: the measures every engine allocates by, and its parts."""

from __future__ import annotations

import re

from haneul.base.errors import BrokenFile
from haneul.base.first_bytes import shown
from haneul.base.gguf_header import Header


def check_model(header: Header) -> None:
    """Raises BrokenFile with what keeps an engine from being given the file."""
    kind = header.metadata.get("general.type", "model")
    if kind != "model":
        raise BrokenFile(f"The file holds a part that goes with a model ({kind}), not a model.")
    architecture = header.metadata.get("general.architecture")
    if not isinstance(architecture, str) or not re.fullmatch(r"[a-z0-9_-]{1,64}", architecture):
        raise BrokenFile("general.architecture is missing or not a name.")
    parts = header.metadata.get("split.count", 0)
    if header.parts == 1 and isinstance(parts, int) and parts > 1:
        raise BrokenFile(
            f"The file is one of {parts} parts: take them all together, as their folder."
        )
    if not header.tensors:
        raise BrokenFile("The file has no tensors: a vocabulary or a template, not a model.")
    hidden = _measure(header, "embedding_length", 1 << 20)
    _measure(header, "block_count", 1 << 12)
    _measure(header, "context_length", 1 << 31)
    _check_heads(header)
    for tensor in header.tensors:
        if tensor.name == "token_embd.weight" and tensor.dims[0] != hidden:
            raise BrokenFile(f"token_embd.weight has rows of {tensor.dims[0]}, not of {hidden}.")
    if header.parts == 1:
        check_order(header)


def check_order(header: Header) -> None:
    """Raises BrokenFile unless the tensors lie one behind the other, as llama.cpp demands."""
    end = 0
    for tensor in header.tensors:
        if tensor.offset != end:
            raise BrokenFile(
                f"tensor {shown(tensor.name)} begins at byte {tensor.offset} of the data; the one "
                f"before it ends at {end}."
            )
        end += -(-tensor.size_bytes // header.alignment) * header.alignment


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
