"""The known names nearest to one that nobody knows: "did you mean …"."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

SHOWN = 3
COMPARED_MAX = 64  # names whose distance is counted; the others differ in more letters
NAME_MAX = 100


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """At most three known names, the nearest first; none that is far.

    By Levenshtein's distance, of the whole name or of what follows its engine, capitals alike.
    """
    asked = name[:NAME_MAX].lower()
    allowed = max(1, len(asked) // 3)
    letters = set(asked)
    likely = (
        (len(letters ^ set(part)), part, each)
        for each in set(known)
        for part in {each.lower(), each.lower().rpartition("/")[2]}
        if abs(len(part) - len(asked)) <= allowed
    )
    found: dict[str, int] = {}
    for _, part, each in heapq.nsmallest(COMPARED_MAX, likely):
        far = distance(asked, part)
        if far <= allowed:
            found[each] = min(far, found.get(each, far))
    near = sorted(found, key=lambda each: (found[each], len(each), each))
    return [each for each in near if each.partition("/")[2] not in found][:SHOWN]


def distance(one: str, other: str) -> int:
    """Letters to put in, take out or change until one is the other."""
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, 1):
        before, row[0] = row[0], number
        for place, other_letter in enumerate(other, 1):
            change = before + (letter != other_letter)
            before = row[place]
            row[place] = min(change, before + 1, row[place - 1] + 1)
    return row[-1]
