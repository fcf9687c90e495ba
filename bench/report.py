"""Numbers for people: tables in plain text, medians with their ranges."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """The middle of several measurements and how far they went."""

    median: float
    low: float
    high: float

    def show(self, digits: int = 0) -> str:
        """'52 (49–58)'; '52' where there is no range, 'none' where there is no figure."""
        if math.isnan(self.median):
            return "none"
        if self.low == self.high:
            return f"{self.median:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}–{self.high:,.{digits}f})"


def spread(values: Sequence[float]) -> Spread:
    """The median and the range of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under their heads; a head that begins with '>' stands right."""
    names = [head.lstrip(">") for head in heads]
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    lines = []
    for cells in [names, *rows]:
        shown = [
            cell.rjust(width) if head.startswith(">") else cell.ljust(width)
            for cell, width, head in zip(cells, widths, heads, strict=True)
        ]
        lines.append("  ".join(shown).rstrip())
    return "\n".join(lines)
