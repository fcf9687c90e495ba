"""From how many streams on the kernel for several answers is the better one of a pair."""

from __future__ import annotations

from collections.abc import Mapping

COUNTS = (2, 3, 4, 6)  # streams that both kernels may be measured with
FIRST = 3


def next_count(alone: Mapping[int, float], many: Mapping[int, float], *, most: int) -> int | None:
    """The number of streams to measure next; None when it is clear from where on `many` is quicker.

    A bisection: a kernel for several that is quicker at some number is so above it.
    """
    open_counts = [count for count in COUNTS if count < most]
    for count in sorted(alone.keys() & many.keys()):
        is_quicker = many[count] > alone[count]
        open_counts = [one for one in open_counts if (one < count if is_quicker else one > count)]
    if not open_counts:
        return None
    return FIRST if FIRST in open_counts else open_counts[(len(open_counts) - 1) // 2]


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
