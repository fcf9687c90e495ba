"""Reads one argument that stands between tags, as JSON of the kind that its schema asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from haneul.engine.speech.format import Tags
from haneul.engine.speech.said import Saying
from haneul.engine.speech.tape import Tape, Waiting

Schemas = Mapping[str, Mapping[str, Any]]  # function -> parameter -> its schema
_PYTHON = {"True": "true", "False": "false", "None": "null"}  # as some templates show them


def schemas_of(tools: list[dict[str, Any]]) -> Schemas:
    """The parameters of each function."""
    found: dict[str, Mapping[str, Any]] = {}
    for tool in tools:
        properties = (tool["function"].get("parameters") or {}).get("properties")
        found[tool["function"]["name"]] = properties if isinstance(properties, dict) else {}
    return found


def read_value(tape: Tape, saying: Saying, tags: Tags, schema: Any) -> Waiting[bool]:
    """Tells the value as it comes where it is text, else whole. False when its end is missing."""
    end = tags.value.end
    if tags.is_padded and (yield from tape.begins(("\n",))):
        tape.drop(1)
    if _kinds(schema) == {"string"}:
        text = _Text(saying, is_padded=tags.is_padded)
        if not (yield from tape.flow((end,), text.add)):
            return False
        saying.arguments('"')
    else:
        place = yield from tape.find((end,), 0)
        if place < 0:
            return False
        saying.arguments(_value(tape.text[:place], _kinds(schema), is_padded=tags.is_padded))
        tape.drop(place)
    tape.drop(len(end))
    return True


class _Text:
    """Writes text as a JSON string, without the line break that pads its end."""

    def __init__(self, saying: Saying, *, is_padded: bool) -> None:
        self._saying = saying
        self._is_padded = is_padded
        self._break = ""
        saying.arguments('"')

    def add(self, piece: str) -> None:
        piece = self._break + piece
        self._break = "\n" if self._is_padded and piece.endswith("\n") else ""
        piece = piece[: len(piece) - len(self._break)]
        self._saying.arguments(json.dumps(piece, ensure_ascii=False)[1:-1])


def _kinds(schema: Any) -> set[str]:
    """The JSON types that a schema allows; empty when it does not say."""
    if not isinstance(schema, dict):
        return set()
    kinds = schema.get("type")
    if kinds is None and isinstance(schema.get("enum"), list):
        is_text = all(isinstance(item, str) for item in schema["enum"])
        return {"string"} if is_text else set()
    if isinstance(kinds, list):
        return {kind for kind in kinds if isinstance(kind, str)}
    return {kinds} if isinstance(kinds, str) else set()


def _value(text: str, kinds: set[str], *, is_padded: bool) -> str:
    """JSON for the text: the value that it spells, or the text itself where it spells none."""
    bare = text.strip()
    if kinds & {"boolean", "null"}:
        bare = _PYTHON.get(bare, bare)
    try:
        value = json.loads(bare, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        value = ""
    if isinstance(value, str) or ("string" in kinds and _kind(value) not in kinds):
        plain = text.removesuffix("\n") if is_padded else text
        return json.dumps(plain, ensure_ascii=False)
    return bare


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    kinds = {float: "number", type(None): "null", dict: "object", list: "array"}
    return kinds.get(type(value), "string")


def _no_constant(name: str) -> Any:
    raise ValueError(name)
