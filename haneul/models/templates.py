"""The chat template of a model: where it stands, and what a new revision changes in it.

A template decides what a model is told with every request, so a change of it is shown to whoever
pulls. It is only read here, never rendered.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable

from haneul.base.gguf_header import Header

KEY = "tokenizer.chat_template"
FILE = "chat_template.jinja"
CONFIGURATION = "tokenizer_config.json"
LINES_MAX = 200  # of a difference


def of_header(header: Header) -> str:
    """The template that a GGUF file carries; "" for none."""
    said = header.metadata.get(KEY)
    return said if isinstance(said, str) else ""


def of_files(read: Callable[[str], bytes | None]) -> str:
    """The template of a repository of safetensors; "" for none. read gives a file, or None.

    It has a file of its own, or stands in the tokenizer's configuration, there perhaps as several
    with names, of which the default one counts.
    """
    own = read(FILE)
    if own is not None:
        return own.decode(errors="replace")
    try:
        document = json.loads(read(CONFIGURATION) or b"{}")
    except (ValueError, RecursionError):
        return ""
    said = document.get("chat_template") if isinstance(document, dict) else None
    if isinstance(said, list):
        named = [entry for entry in said if isinstance(entry, dict)]
        said = {entry.get("name"): entry.get("template") for entry in named}.get("default")
    return said if isinstance(said, str) else ""


def sha256(template: str) -> str:
    """How a revision's facts name it; "" for none."""
    return hashlib.sha256(template.encode(errors="replace")).hexdigest() if template else ""


def difference(before: str, after: str) -> tuple[str, ...]:
    """The changed lines with their neighbours, as diff writes them; () for none."""
    if before == after:
        return ()
    lines = list(
        difflib.unified_diff(
            before.splitlines(), after.splitlines(), "template before", "template now", lineterm=""
        )
    )
    rest = len(lines) - LINES_MAX
    return tuple(lines if rest <= 0 else [*lines[:LINES_MAX], f"({rest} more lines)"])
