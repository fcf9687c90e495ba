"""From how many streams on the kernel for several answers is the better one of a pair."""

from __future__ import annotations

from collections.abc import Mapping

COUNTS = (2, 3, 4, 6)  # streams that both kernels are measured with


def crossing(alone: Mapping[int, float], many: Mapping[int, float], *, most: int) -> int:
    """The least number of streams from which on `many` was quicker at each number measured.

    Both give tokens per second by streams. Where `many` never was, `most`: it is the better one at
    that number by the search's own rounds.
    """
    found = most
    for count in sorted(alone.keys() & many.keys(), reverse=True):
        if many[count] <= alone[count]:
            break
        found = count
    return found
