"""How sure a figure is: intervals of shares and of costs, and tests between two models.

Cases of one template are alike, so they count as one observation where it matters: shares use the
number of independent cases that they amount to, drawing again takes whole templates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Z = 1.959963984540054  # of 95 %
DRAWS = 2000
DRAWN_AT_ONCE = 1 << 21  # numbers, so that memory is bounded however many templates there are
EXACT_CLUSTERS = 16  # up to so many, every assignment of signs is tried
SEED = 20_260_801  # of all that is drawn: the same results give the same intervals
Floats = NDArray[np.float64]


class Interval(Struct, frozen=True):
    """95 %: low, mid, high; a high of None has no bound."""

    low: float
    mid: float
    high: float | None


class Compared(Struct, frozen=True, kw_only=True):
    """Two models on the same cases."""

    first: str
    second: str
    cases: int
    only_first: int  # good of the first alone
    only_second: int
    p: float  # exact McNemar's, or by templates
    method: str
    adjusted_p: float = 1.0  # for all pairs that were compared (Holm)


def wilson(passed: float, cases: float) -> Interval | None:
    """Of a share; None without cases. Wilson 1927."""
    if cases <= 0:
        return None
    share = passed / cases
    middle = (share + Z * Z / (2 * cases)) / (1 + Z * Z / cases)
    half = Z * math.sqrt(share * (1 - share) / cases + Z * Z / (4 * cases * cases))
    half /= 1 + Z * Z / cases
    low, high = middle - half, middle + half
    return Interval(min(share, max(0.0, low)), share, max(share, min(1.0, high)))


def independent(good: Sequence[bool], clusters: Sequence[str]) -> float:
    """How many independent cases these amount to: fewer where templates decide, never more.

    Where all cases agree nothing shows how alike those of a template are: each counts as one.
    """
    count, share = len(good), sum(good) / max(len(good), 1)
    groups = _groups(clusters)
    if len(groups) in (0, 1) or share in (0.0, 1.0):
        return float(len(groups))
    if len(groups) == count:
        return float(count)
    values = np.asarray(good, dtype=float) - share
    between = sum(float(values[group].sum()) ** 2 for group in groups)
    between *= len(groups) / (len(groups) - 1)
    plain = count * share * (1 - share)
    return min(float(count), max(1.0, count * plain / between)) if between else float(count)


def share(good: Sequence[bool], clusters: Sequence[str]) -> Interval | None:
    """Of the good ones: Wilson's, with the number of independent cases."""
    if not good:
        return None
    cases = independent(good, clusters)
    return wilson(cases * sum(good) / len(good), cases)


def mean(values: Sequence[float], clusters: Sequence[str]) -> Interval | None:
    """Of a mean, by drawing templates again."""
    if not values:
        return None
    numbers = np.asarray(values, dtype=float)
    draws = _drawn(numbers, np.ones_like(numbers), clusters)
    return _middle(draws, float(numbers.mean()))


def ratio(
    above: Sequence[float], below: Sequence[float], clusters: Sequence[str]
) -> Interval | None:
    """Of a sum over a sum, by drawing templates again; None where there is nothing below.

    Without a bound above where more than one draw in forty has nothing below.
    """
    if not sum(below):
        return None
    draws = _drawn(np.asarray(above, dtype=float), np.asarray(below, dtype=float), clusters)
    return _middle(draws, sum(above) / sum(below))


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p of so many differences, were neither better."""
    total, less = only_first + only_second, min(only_first, only_second)
    if not total:
        return 1.0
    tail = sum(math.comb(total, count) for count in range(less + 1)) / 2**total
    return min(1.0, 2.0 * float(tail))


def by_clusters(differences: Sequence[int], clusters: Sequence[str]) -> float:
    """The two-sided p of a sum of differences, were each template's sign a coin's."""
    values = np.asarray(differences, dtype=float)
    sums = np.array([values[group].sum() for group in _groups(clusters)])
    sums = sums[sums != 0]
    if not len(sums):
        return 1.0
    seen = abs(float(sums.sum())) - 1e-9
    if len(sums) <= EXACT_CLUSTERS:
        masks = np.arange(1 << len(sums))[:, None] >> np.arange(len(sums)) & 1
        beyond = int(np.count_nonzero(np.abs((masks * 2 - 1) @ sums) >= seen))
        return beyond / len(masks)
    signs = np.random.default_rng(SEED).choice((-1.0, 1.0), size=(10 * DRAWS, len(sums)))
    beyond = int(np.count_nonzero(np.abs(signs @ sums) >= seen))
    return (beyond + 1) / (10 * DRAWS + 1)


def compare(
    first: tuple[str, Sequence[bool]], second: tuple[str, Sequence[bool]], clusters: Sequence[str]
) -> Compared:
    """Two models on the same cases, in one order."""
    differences = [int(one) - int(two) for one, two in zip(first[1], second[1], strict=True)]
    only = differences.count(1), differences.count(-1)
    is_clustered = len(set(clusters)) < len(clusters)
    return Compared(
        first=first[0],
        second=second[0],
        cases=len(differences),
        only_first=only[0],
        only_second=only[1],
        p=by_clusters(differences, clusters) if is_clustered else mcnemar(*only),
        method="signs of templates" if is_clustered else "exact McNemar",
    )


def holm(p: Sequence[float]) -> list[float]:
    """Each p for as many tests as there are (Holm 1979)."""
    adjusted, most = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda each: p[each])):
        most = max(most, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = most
    return adjusted


def _groups(clusters: Sequence[str]) -> list[NDArray[np.int64]]:
    _, which = np.unique(np.asarray(clusters), return_inverse=True)
    return [np.flatnonzero(which == number) for number in range(int(which.max(initial=-1)) + 1)]


def _drawn(above: Floats, below: Floats, clusters: Sequence[str]) -> Floats:
    """The ratio of sums in each draw of templates; infinite where there is nothing below."""
    groups = _groups(clusters)
    tops = np.array([above[group].sum() for group in groups])
    bottoms = np.array([below[group].sum() for group in groups])
    random = np.random.default_rng(SEED)
    step = max(1, DRAWN_AT_ONCE // len(groups))
    found = []
    for begin in range(0, DRAWS, step):
        taken = random.integers(len(groups), size=(min(step, DRAWS - begin), len(groups)))
        top, bottom = tops[taken].sum(axis=1), bottoms[taken].sum(axis=1)
        found.append(np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), np.inf))
    return np.concatenate(found)


def _middle(draws: Floats, mid: float) -> Interval:
    ordered = np.sort(draws)
    low, high = (float(ordered[round(share * (len(ordered) - 1))]) for share in (0.025, 0.975))
    return Interval(min(low, mid), mid, max(high, mid) if math.isfinite(high) else None)
