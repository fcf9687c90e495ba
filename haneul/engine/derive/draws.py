"""Intervals from drawing again what was measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from haneul.base.deriving import Interval

DRAWS = 1000
COVERED = (0.025, 0.975)  # 95 %


def interval(draws: NDArray[np.float64], mid: float) -> Interval:
    """The middle 95 of 100 draws, around a number that was measured."""
    low, high = (float(edge) for edge in np.quantile(draws, COVERED))
    return Interval(min(low, mid), mid, max(high, mid))
