"""Pairs: a cheap model answers, a second cheap one checks, a dear one answers where they differ.

A pair is an arm like a single model. Its answer is the cheap model's where both agree, else the
dear one's; its cost is both cheap ones' and, where they differ, the dear one's too. Longer chains
do not pay (arXiv 2605.06350), so there are none.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from haneul.auto.outcomes import Outcomes

PAIRS_MAX = 4
DEARER_MIN = 3.0  # the dear model over both cheap ones; below it asking thrice cannot pay
GAIN_MIN = 0.0002  # of utility, in shares of good answers

Doubles = NDArray[np.float64]
_PRICES = np.geomspace(0.01, 3.0, 12)  # of the best model's mean cost, in good answers


class Pair(msgspec.Struct, frozen=True):
    """Numbers of models: who answers, who checks, who answers where they differ."""

    cheap: int
    check: int
    dear: int


def agreement(outcomes: Outcomes, cheap: int, check: int) -> Doubles:
    """1 where both gave the same answer and there was one, else 0."""
    assert outcomes.answers is not None
    given = outcomes.answers[:, cheap]
    same = (given == outcomes.answers[:, check]) & (given >= 0)
    return np.where(same, 1.0, 0.0)


def played(outcomes: Outcomes, pair: Pair) -> tuple[Doubles, Doubles, Doubles]:
    """What the pair would have made of each prompt: good, USD, whether the cheap ones agreed."""
    same = agreement(outcomes, pair.cheap, pair.check)
    good, cost = outcomes.good, outcomes.cost_usd
    result = np.where(same > 0, good[:, pair.cheap], good[:, pair.dear])
    paid = cost[:, pair.cheap] + cost[:, pair.check] + (1 - same) * cost[:, pair.dear]
    return result, paid, same


def worthwhile(outcomes: Outcomes) -> list[Pair]:
    """The few pairs that beat every single model and each other at some price of a good answer."""
    if outcomes.answers is None:
        return []
    mean_cost, quality = outcomes.cost_usd.mean(0), outcomes.good.mean(0)
    prices = _PRICES / max(float(mean_cost[outcomes.best]), 1e-12)  # it may be free
    bar = (quality[:, None] - mean_cost[:, None] * prices).max(0)
    values = {
        pair: good.mean() - paid.mean() * prices
        for pair in _candidates(mean_cost, quality)
        for good, paid, _ in (played(outcomes, pair),)
    }
    chosen: list[Pair] = []
    while values and len(chosen) < PAIRS_MAX:
        gains = {pair: np.maximum(value - bar, 0).mean() for pair, value in values.items()}
        pair = max(gains, key=lambda one: gains[one])
        if gains[pair] < GAIN_MIN:
            break
        chosen.append(pair)
        bar = np.maximum(bar, values.pop(pair))
    return chosen


def _candidates(mean_cost: Doubles, quality: Doubles) -> list[Pair]:
    models = range(len(mean_cost))
    return [
        Pair(cheap, check, dear)
        for dear in np.argsort(-quality)[:3].tolist()
        for cheap in models
        for check in models
        if len({cheap, check, dear}) == 3
        and quality[cheap] >= quality[check]
        and mean_cost[dear] >= DEARER_MIN * (mean_cost[cheap] + mean_cost[check])
    ]
