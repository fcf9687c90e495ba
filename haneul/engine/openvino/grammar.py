"""A Constraint as xgrammar's structural tag, which is JSON and knows schemas and regexes."""

from __future__ import annotations

import json
from typing import Any

from haneul.engine.worker.job import Branch, Constraint


def structural_tag(constraint: Constraint) -> str:
    """The whole answer's form. Source: xgrammar, structural tags."""
    if constraint.is_repeated:
        form: dict[str, Any] = {
            "type": "tags_with_separator",
            "tags": [_tag(branch) for branch in constraint.branches],
            "separator": constraint.separator,
            "at_least_one": True,
            "stop_after_first": False,
        }
    else:
        form = _one_of([_sequence(branch) for branch in constraint.branches])
    return json.dumps({"type": "structural_tag", "format": form})


def _one_of(forms: list[dict[str, Any]]) -> dict[str, Any]:
    return forms[0] if len(forms) == 1 else {"type": "or", "elements": forms}


def _tag(branch: Branch) -> dict[str, Any]:
    return {
        "type": "tag",
        "begin": branch.head,
        "content": _content(branch) or _text(""),
        "end": branch.tail,
    }


def _sequence(branch: Branch) -> dict[str, Any]:
    parts = [_text(branch.head), _content(branch), _text(branch.tail)]
    kept = [part for part in parts if part and part.get("value") != ""]
    if not kept:
        return _text("")
    return kept[0] if len(kept) == 1 else {"type": "sequence", "elements": kept}


def _content(branch: Branch) -> dict[str, Any] | None:
    if branch.schema is not None:
        return {"type": "json_schema", "json_schema": branch.schema}
    if branch.regex is not None:
        return {"type": "regex", "pattern": branch.regex}
    return None


def _text(text: str) -> dict[str, Any]:
    return {"type": "const_string", "value": text}
