"""Every address with its methods, and what becomes of each field of their requests."""

from __future__ import annotations

import re
from functools import lru_cache

from haneul.openapi import anthropic, hub, mcp, media, ollama, openai, own, ranking
from haneul.openapi.operation import Operation

FAMILIES: dict[str, tuple[Operation, ...]] = {
    "OpenAI": openai.OPERATIONS,
    "Order": ranking.OPERATIONS,
    "Media": media.OPERATIONS,
    "Anthropic": anthropic.OPERATIONS,
    "Ollama": ollama.OPERATIONS,
    "MCP": mcp.OPERATIONS,
    "Hub": hub.OPERATIONS,
    "haneul": own.OPERATIONS,
}
OPERATIONS: tuple[Operation, ...] = tuple(
    operation for operations in FAMILIES.values() for operation in operations
)
FIELDS: dict[type, dict[str, str]] = {
    **openai.FIELDS,
    **ranking.FIELDS,
    **media.FIELDS,
    **anthropic.FIELDS,
    **ollama.FIELDS,
    **mcp.FIELDS,
    **hub.FIELDS,
    **own.FIELDS,
}


def methods_at(path: str) -> list[str]:
    """The methods that a path takes, HEAD with GET; none where nothing is described."""
    fitting = [each for each in OPERATIONS if _pattern(each.address).fullmatch(path)]
    nearest = max((each.address for each in fitting), key=len, default="")
    methods = {each.method for each in fitting if each.address == nearest}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


@lru_cache(maxsize=256)
def _pattern(address: str) -> re.Pattern[str]:
    """What stands last may hold slashes, as names of models do."""
    last = re.sub(r"\\{\w+\\}$", ".+", re.escape(address))
    return re.compile(re.sub(r"\\{\w+\\}", "[^/]+", last))


def fields_of(kind: type) -> dict[str, str]:
    """What becomes of each field of a request, with what it has from the structs it extends."""
    told: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        told |= FIELDS.get(each, {})
    return told
