"""Text of strangers made fit for a terminal, where some characters are commands."""

from __future__ import annotations

import re

# Control characters, and those that turn the direction of what follows them.
COMMANDS = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_COMMAND = re.compile(f"[{COMMANDS}]")


def visible(text: str, *, kept: str = "") -> str:
    r"""The text with every control character as it is escaped, such as \x1b; but those of kept."""
    return _COMMAND.sub(lambda found: found[0] if found[0] in kept else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
