"""How like the prompts of the fit a prompt is, and whether the traffic has turned to others.

Three signs, none of which needs a label: the share of the prompt's terms the fit had seen, how
much of it lies in the projection, and how near the nearest cell is. Their sum is told as a rank
among the fit's own prompts, 0..1: half of these are above 0.5.
"""

from __future__ import annotations

from collections import deque

import msgspec
import numpy as np
from numpy.typing import NDArray

from haneul.auto.space import Space

CAUTION = 0.001  # prompts of a lower rank are foreign
CAUTION_SHIFTED = 0.9  # while the traffic has turned
LOW_RANK = 0.1  # a tenth of like traffic lies below
SHIFT_SHARE = 0.22  # of recent prompts below: like traffic reaches it once in a thousand windows
WINDOW = 100
MARGIN = 0.5  # below the least alike prompt of the fit, of its distance to the middle one
RANKS = 101
_RANKS = np.linspace(0.0, 1.0, RANKS)

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


class Familiar(msgspec.Struct, frozen=True):
    """Mean and scale of the three signs, and the sums at each hundredth of the fit's prompts."""

    mean: Doubles
    scale: Doubles
    sums: Doubles


def fit_familiar(space: Space, vectors: Floats, known: Floats, nearest: Floats) -> Familiar:
    """What is usual among the prompts of the fit."""
    signs = _signs(space, vectors, known, nearest)
    mean, scale = signs.mean(0), np.maximum(signs.std(0), 1e-6)
    sums = np.quantile(((signs - mean) / scale).sum(1), _RANKS)
    # The fit knows every term of its own prompts; others of their kind lie a little lower.
    sums[0] -= MARGIN * (sums[RANKS // 2] - sums[0])
    return Familiar(mean.astype(float), scale.astype(float), sums.astype(float))


def likeness(
    familiar: Familiar, space: Space, vectors: Floats, known: Floats, nearest: Floats
) -> Doubles:
    """The rank of each prompt among those of the fit, 0 (unlike all of them) to 1."""
    signs = _signs(space, vectors, known, nearest)
    sums = ((signs - familiar.mean) / familiar.scale).sum(1)
    ranks: Doubles = np.interp(sums, familiar.sums, _RANKS)
    return ranks


def _signs(space: Space, vectors: Floats, known: Floats, nearest: Floats) -> Floats:
    topic = vectors[:, : space.vectors.shape[1]]
    energy = np.sqrt((topic * topic).sum(1))
    return np.stack((known, energy, nearest), axis=1)


class Watch:
    """Follows the likeness of a stream of prompts and says how cautious to be with the next."""

    def __init__(self, *, window: int = WINDOW) -> None:
        self._recent: deque[bool] = deque(maxlen=window)

    def caution(self, likeness: float) -> float:
        """The rank below which a prompt is foreign now, this one counted."""
        self._recent.append(likeness < LOW_RANK)
        low, seen = sum(self._recent), len(self._recent)
        # Ten prompts that the fit is taken to have seen, so that the first few decide nothing.
        has_turned = (low + 10 * LOW_RANK) / (seen + 10) > SHIFT_SHARE
        return CAUTION_SHIFTED if has_turned else CAUTION
