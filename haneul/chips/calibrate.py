"""How a machine's own measurements correct its next forecasts.

The ratio measured ÷ forecast has two causes: this machine (clock, neighbours, build), alike for
all models, and the model (its formats and sizes). The first is learned: the geometric mean of the
ratios, drawn towards 1 while few were seen, as if each forecast's own interval had been one more
look. What the models still differ by sets the new interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from haneul.chips.estimate import Estimate

EIGHTY = 1.2816  # standard deviations on each side that hold 80 % of a normal distribution
MODEL_SCATTER = 0.17  # of the logarithm, between models on one machine; the fit in speed.py
SCATTER_WEIGHT = 4  # readings that this first belief about the scatter counts for


class Correction(Struct, frozen=True):
    """factor multiplies a forecast; spread is the factor of its 80 % interval to each side."""

    factor: float
    spread: float
    count: int


def calibrate(pairs: Sequence[tuple[Estimate, float]]) -> Correction | None:
    """What past forecasts and what was then measured say of the next; None without any pair.

    Forecasts must be uncorrected ones, and both numbers above zero (ValueError otherwise).
    """
    if not pairs:
        return None
    ratios = [_log_ratio(estimate, measured) for estimate, measured in pairs]
    count, mean = len(ratios), sum(ratios) / len(ratios)
    scatter = SCATTER_WEIGHT * MODEL_SCATTER**2 + sum((ratio - mean) ** 2 for ratio in ratios)
    within = scatter / (SCATTER_WEIGHT + count - 1)
    between = max(sum(_variance(estimate) for estimate, _ in pairs) / count, 1e-6)
    learned = between / (between + within / count)
    left = between * (1 - learned)
    return Correction(
        factor=math.exp(learned * mean),
        spread=math.exp(EIGHTY * math.sqrt(left + within)),
        count=count,
    )


def refine(estimate: Estimate, correction: Correction | None) -> Estimate:
    """The forecast moved and, where that is narrower, its interval replaced; never widened."""
    if correction is None or estimate.mid == 0:
        return estimate
    mid = estimate.mid * correction.factor
    down = min(correction.spread, estimate.mid / estimate.low) if estimate.low else math.inf
    up = min(correction.spread, estimate.high / estimate.mid)
    times = "measurement" if correction.count == 1 else "measurements"
    source = f"{estimate.source}; corrected ×{correction.factor:.2f} by {correction.count} {times}"
    return replace(estimate, low=mid / down, mid=mid, high=mid * up, source=source)


def _log_ratio(estimate: Estimate, measured: float) -> float:
    if not (estimate.mid > 0 and 0 < measured < math.inf):
        raise ValueError("calibration needs forecasts and measurements above zero")
    return math.log(measured / estimate.mid)


def _variance(estimate: Estimate) -> float:
    """What the forecast's own interval says of its error, as a variance of the logarithm."""
    if not estimate.low > 0:
        return 1.0
    return (math.log(estimate.high / estimate.low) / (2 * EIGHTY)) ** 2
