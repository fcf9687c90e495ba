"""Every address with its methods, and what becomes of each field of their requests."""

from __future__ import annotations

from haneul.openapi import anthropic, ollama, openai, own, ranking
from haneul.openapi.operation import Operation

FAMILIES: dict[str, tuple[Operation, ...]] = {
    "OpenAI": openai.OPERATIONS,
    "Order": ranking.OPERATIONS,
    "Anthropic": anthropic.OPERATIONS,
    "Ollama": ollama.OPERATIONS,
    "haneul": own.OPERATIONS,
}
OPERATIONS: tuple[Operation, ...] = tuple(
    operation for operations in FAMILIES.values() for operation in operations
)
FIELDS: dict[type, dict[str, str]] = {
    **openai.FIELDS,
    **ranking.FIELDS,
    **anthropic.FIELDS,
    **ollama.FIELDS,
    **own.FIELDS,
}


def fields_of(kind: type) -> dict[str, str]:
    """What becomes of each field of a request, with what it has from the structs it extends."""
    told: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        told |= FIELDS.get(each, {})
    return told
