"""How good for how much: the measures of a way to choose among models.

A curve is a list of operating points (USD a request, share of good answers) in the order of its
knob. Between neighbours a coin decides, which is a policy too, so the curve is straight there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


def cost_to_reach(points: Doubles, quality: float) -> float:
    """The least USD a request at which the curve has that quality; infinite where it never has."""
    cost, reached = points[:, 0], points[:, 1]
    least = float(cost[reached >= quality - 1e-12].min(initial=np.inf))
    for low in range(len(points) - 1):
        left, right = reached[low], reached[low + 1]
        if (left - quality) * (right - quality) < 0:
            share = (quality - left) / (right - left)
            least = min(least, float(cost[low] + share * (cost[low + 1] - cost[low])))
    return least


def hull(points: Doubles) -> Doubles:
    """The best mixes by coin: the concave hull, cheapest first."""
    kept: list[tuple[float, float]] = []
    pairs = [(float(cost), float(quality)) for cost, quality in points]
    for cost, quality in sorted(pairs, key=lambda one: (one[0], -one[1])):
        if kept and quality <= kept[-1][1]:
            continue
        while len(kept) >= 2 and _is_below(kept[-2], kept[-1], (cost, quality)):
            kept.pop()
        kept.append((cost, quality))
    return np.array(kept)


def _is_below(left: tuple[float, float], at: tuple[float, float], to: tuple[float, float]) -> bool:
    return (at[1] - left[1]) * (to[0] - left[0]) <= (to[1] - left[1]) * (at[0] - left[0])


def mean_quality(points: Doubles, *, low_usd: float, high_usd: float) -> float:
    """AIQ: the mean of the quality to be had for a cost, over the logarithm of the cost."""
    ordered = points[np.argsort(points[:, 0], kind="stable")]
    best = np.maximum.accumulate(ordered[:, 1])
    grid = np.linspace(np.log(low_usd), np.log(high_usd), 400)
    return float(np.interp(grid, np.log(np.maximum(ordered[:, 0], 1e-12)), best).mean())


def recovered(points: Doubles, *, weak: float, strong: float) -> tuple[float, float, float]:
    """RouteLLM's measures of two models: APGR, and CPT50 and CPT80 as shares of strong calls.

    `points` are (share of calls to the strong model, quality); APGR is the mean of the share of
    the gap recovered over all shares of strong calls.
    """
    ordered = points[np.argsort(points[:, 0], kind="stable")]
    gap = (ordered[:, 1] - weak) / (strong - weak)
    mean = float(np.interp(np.linspace(0, 1, 401), ordered[:, 0], gap).mean())
    gaps = np.stack((ordered[:, 0], gap), axis=1)
    return mean, cost_to_reach(gaps, 0.5), cost_to_reach(gaps, 0.8)
