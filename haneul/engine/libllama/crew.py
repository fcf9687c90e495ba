"""How many threads compute the next step: as many as other programs leave processors for.

The library's threads meet after every operation, some hundred times a step. Where one of them has
to wait for a processor, all wait, each time for a slice of the system's scheduler: beside one busy
program a step of 40 ms has taken 2 s. One thread fewer costs its share and waits for nobody.

So between steps this looks at what others use of the processors that this process may use.
Anything else than Linux does not say; then the number stays as it was set.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

LOOK_S = 0.25  # between two looks: the system counts in hundredths of a second
STALE_S = 2.0  # after so long without a step the past says nothing about now
LEAVE = 0.5  # of a processor that others must use for a thread to leave
RETURN = 0.3  # of a processor that others may use when a thread returns
STAT = Path("/proc/stat")


class Crew:
    """`most` threads, or fewer while others are busy."""

    def __init__(
        self,
        most: int,
        *,
        processors: int,
        used_s: Callable[[], float | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threads = self.most = most
        self._processors = processors
        self._used_s = used_s
        self._clock = clock
        self._at_s, self._before_s = clock(), used_s()

    def look(self) -> int:
        """The threads for the next step."""
        now_s = self._clock()
        if self.most == 1 or now_s - self._at_s < LOOK_S:
            return self.threads
        used_s = self._used_s()
        if used_s is not None and self._before_s is not None and now_s - self._at_s < STALE_S:
            others = (used_s - self._before_s) / (now_s - self._at_s)
            self.threads = self._fitting(others)
        self._at_s, self._before_s = now_s, used_s
        return self.threads

    def _fitting(self, others: float) -> int:
        """As many as have room beside the others; one returns later than it leaves."""
        least = int(self._processors - others + LEAVE)
        most = int(self._processors - others + RETURN)
        return max(1, min(self.most, max(min(self.threads, least), most)))


def others_used_s() -> float | None:
    """Seconds that this process's processors have worked for others, since some moment."""
    if sys.platform != "linux":
        return None
    busy_s = processors_used_s(STAT, os.sched_getaffinity(0))
    return None if busy_s is None else busy_s - time.process_time()


def processors_used_s(stat: Path, processors: set[int]) -> float | None:
    """Seconds that these have worked, for anybody; None where it cannot be read.

    Source: proc(5), the lines cpuN: user nice system idle iowait irq softirq …, in ticks.
    """
    names = {f"cpu{number}" for number in processors}
    ticks = 0
    try:
        for line in stat.read_text().splitlines():
            name, *fields = line.split()
            if name in names:
                user, nice, system, _, _, irq, softirq = map(int, fields[:7])
                ticks += user + nice + system + irq + softirq
    except (OSError, ValueError):
        return None
    return ticks / os.sysconf("SC_CLK_TCK")
