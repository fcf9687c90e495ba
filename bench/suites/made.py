"""A suite before it is written: settings as TOML, cases as lines of JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Made:
    """A suite's folder; the same every time it is made."""

    name: str
    settings: str
    cases: list[dict[str, Any]]
    more: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def files(self) -> dict[str, str]:
        """By name, as they are written."""
        lines = {"cases.jsonl": self.cases, **self.more}
        written = {name: _lines(rows) for name, rows in lines.items()}
        return {"suite.toml": self.settings.lstrip(), **written}

    def write(self, folder: Path) -> None:
        (folder / self.name).mkdir(parents=True, exist_ok=True)
        for name, text in self.files().items():
            (folder / self.name / name).write_text(text)


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
