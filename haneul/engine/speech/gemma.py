"""Gemma 4's own notation of arguments: {key:value}, text between <|"|>, read as JSON."""

from __future__ import annotations

import json
import re
from typing import Any

from haneul.engine.speech.format import GEMMA_QUOTE

DEPTH_MAX = 32
_WORD = re.compile(r"[^,\[\]{}:<]+")


def as_json(text: str) -> str:
    """The object as JSON. Raises ValueError."""
    value, at = _value(text, 0, 0)
    if not isinstance(value, dict) or text[at:].strip():
        raise ValueError("no object")
    return json.dumps(value, ensure_ascii=False)


def _value(text: str, at: int, depth: int) -> tuple[Any, int]:
    """The value that begins there, and the place behind it."""
    if depth > DEPTH_MAX:
        raise ValueError("too deep")
    if text.startswith("{", at):
        return _object(text, at + 1, depth)
    if text.startswith("[", at):
        return _list(text, at + 1, depth)
    if text.startswith(GEMMA_QUOTE, at):
        return _quoted(text, at)
    word = _WORD.match(text, at)
    if not word:
        raise ValueError("no value")
    return json.loads(word[0]), word.end()


def _quoted(text: str, at: int) -> tuple[str, int]:
    begin = at + len(GEMMA_QUOTE)
    end = text.index(GEMMA_QUOTE, begin)
    return text[begin:end], end + len(GEMMA_QUOTE)


def _object(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    while not text.startswith("}", at):
        if text.startswith(GEMMA_QUOTE, at):
            key, at = _quoted(text, at)
        else:
            word = _WORD.match(text, at)
            if not word:
                raise ValueError("no key")
            key, at = word[0].strip(), word.end()
        if not text.startswith(":", at):
            raise ValueError("no value")
        found[key], at = _value(text, at + 1, depth + 1)
        at = _after_comma(text, at, "}")
    return found, at + 1


def _list(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    while not text.startswith("]", at):
        value, at = _value(text, at, depth + 1)
        found.append(value)
        at = _after_comma(text, at, "]")
    return found, at + 1


def _after_comma(text: str, at: int, end: str) -> int:
    if text.startswith(",", at):
        return at + 1
    if not text.startswith(end, at):
        raise ValueError("no end")
    return at
