"""Writes every suite: `python -m bench.suites`."""

from __future__ import annotations

from bench.suites import arithmetic, classification, code, everyday, extraction, summaries
from bench.suites.made import Made
from haneul.quality.suite import SHIPPED


def made() -> list[Made]:
    """All suites that come with haneul."""
    parts = (arithmetic, classification, code, everyday, extraction, summaries)
    return [part.make() for part in parts]


if __name__ == "__main__":
    for each in made():
        each.write(SHIPPED)
        print(f"{each.name}: {len(each.cases)} cases")
