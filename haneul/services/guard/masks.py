"""Placeholders for personal data, one for each different piece, and the way back.

`[EMAIL_1]`: plain letters that models repeat as they are, and that mean the same inside JSON. A
placeholder that stands in the request already is never given out, so that the way back is exact.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from haneul.services.guard.finding import KINDS, Finder

PLACEHOLDER = re.compile(rf"\[(?:{'|'.join(KINDS)})_[1-9][0-9]{{0,5}}\]")
PLACEHOLDER_MAX = 16  # characters
# Files in a text: there is nothing to read in them, and their letters look like anything.
_FILE = re.compile(r"data:[\w.+-]+/[\w.+-]+[^,]{0,100};base64,[A-Za-z0-9+/=\s]*")


class Masks:
    """The placeholders of one request."""

    def __init__(self, finder: Finder, body: bytes) -> None:
        self.values: dict[str, str] = {}  # by placeholder
        self.counts: Counter[str] = Counter()  # of different pieces, by kind
        self._finder = finder
        self._names: dict[tuple[str, str], str] = {}
        self._numbers: Counter[str] = Counter()
        self._used = set(PLACEHOLDER.findall(body.decode(errors="replace")))

    def mask(self, value: Any) -> Any:
        """The same with each piece of personal data in any text of it replaced."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self.mask(one) for one in value]
        if isinstance(value, dict):
            return {name: self.mask(one) for name, one in value.items()}
        return value

    def _text(self, text: str) -> str:
        if _FILE.fullmatch(text):
            return text
        parts, at = [], 0
        for found in self._finder.find(text):
            parts += [text[at : found.begin], self._name(found.kind, text[found.begin : found.end])]
            at = found.end
        return "".join([*parts, text[at:]]) if parts else text

    def _name(self, kind: str, value: str) -> str:
        if (known := self._names.get((kind, value))) is not None:
            return known
        while True:
            self._numbers[kind] += 1
            name = f"[{kind}_{self._numbers[kind]}]"
            if name not in self._used:
                break
        self._names[kind, value] = name
        self.values[name] = value
        self.counts[kind] += 1
        return name


def restore(text: str, values: Mapping[str, str]) -> str:
    """The text with every placeholder that was given out replaced by what it stands for."""
    return PLACEHOLDER.sub(lambda found: values.get(found[0], found[0]), text)


class Restorer:
    """Restores a text that comes in pieces, wherever a placeholder is cut."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._held = ""

    def add(self, piece: str) -> str:
        """What is certain now: at most a placeholder's length is held back."""
        text = self._held + piece
        at = text.rfind("[", max(0, len(text) - PLACEHOLDER_MAX))
        is_open = at >= 0 and any(name.startswith(text[at:]) for name in self._values)
        self._held = text[at:] if is_open and text[at:] not in self._values else ""
        return restore(text[: len(text) - len(self._held)], self._values)

    @property
    def is_holding(self) -> bool:
        """Whether what came may yet become a placeholder."""
        return bool(self._held)

    def end(self) -> str:
        """What was held back, and became no placeholder."""
        held, self._held = self._held, ""
        return held
