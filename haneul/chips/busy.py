"""How busy the processors are: a measurement taken beside other work measures that too."""

from __future__ import annotations

import time
from pathlib import Path

SAMPLE_S = 0.3
STAT = Path("/proc/stat")


def busy_share(seconds: float = SAMPLE_S, stat: Path = STAT) -> float | None:
    """The share of all processor time that was used over so long; blocks. None where unknown."""
    before = read_times(_text(stat))
    time.sleep(seconds)
    after = read_times(_text(stat))
    if before is None or after is None or after[1] <= before[1]:
        return None
    return (after[0] - before[0]) / (after[1] - before[1])


def read_times(text: str) -> tuple[int, int] | None:
    """Busy and total ticks of the line 'cpu' of /proc/stat; None where there is none."""
    words = text.partition("\n")[0].split()
    if len(words) < 6 or words[0] != "cpu" or not all(word.isdigit() for word in words[1:9]):
        return None
    ticks = [int(word) for word in words[1:9]]
    idle = ticks[3] + ticks[4]
    return sum(ticks) - idle, sum(ticks)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
