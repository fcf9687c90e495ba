"""Other ways to choose a model, on the same prompts: what a policy is measured beside.

Each returns operating points (USD a request, share of good answers), cheapest last.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from haneul.auto.curve import hull
from haneul.auto.outcomes import Outcomes

Doubles = np.ndarray[Any, Any]
NEIGHBOURS = 64
TABLE_PRIOR = 5.0


def chosen_points(good: Doubles, costs: Doubles, judged: Outcomes, prices: Doubles) -> Doubles:
    """What argmax(good - price x cost) comes to, by price."""
    rows, paid = np.arange(len(good)), judged.cost_usd
    points = []
    for price in prices:
        arms = np.argmax(good - price * costs, axis=1)
        points.append((paid[rows, arms].mean(), judged.good[rows, arms].mean()))
    return np.array(points)


def random_mix(judged: Outcomes) -> Doubles:
    """The concave hull of the models, known from the judged prompts themselves."""
    return hull(np.stack((judged.cost_usd.mean(0), judged.good.mean(0)), axis=1))


def oracle(judged: Outcomes) -> Doubles:
    """The cheapest of the models that answer best, prompt by prompt."""
    best = judged.good >= judged.good.max(1, keepdims=True)
    cost = np.where(best, judged.cost_usd, np.inf).min(1)
    return np.array([[cost.mean(), judged.good.max(1).mean()]])


def task_table(fitted: Outcomes, judged: Outcomes) -> tuple[Doubles, Doubles]:
    """Quality and cost by the true task of each prompt, which a router would have to guess."""
    means, tokens = fitted.good.mean(0), fitted.tokens_out.mean(0)
    good = np.tile(means, (len(judged.prompts), 1))
    words = np.tile(tokens, (len(judged.prompts), 1))
    of, at = np.array(fitted.tasks), np.array(judged.tasks)
    for task in np.unique(at):
        here = of == task
        count = here.sum()
        if count:
            good[at == task] = (fitted.good[here].sum(0) + TABLE_PRIOR * means) / (
                count + TABLE_PRIOR
            )
            words[at == task] = fitted.tokens_out[here].mean(0)
    return good, judged.priced(words)


def nearest(
    fitted: Outcomes, judged: Outcomes, vectors: Doubles, asked: Doubles
) -> tuple[Doubles, Doubles]:
    """The means of the 64 nearest prompts in the policy's own space."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    good = np.empty((len(asked), fitted.good.shape[1]))
    words = np.empty_like(good)
    for begin in range(0, len(asked), 256):
        part = asked[begin : begin + 256] @ unit.T
        count = min(NEIGHBOURS, part.shape[1])
        near = np.argpartition(-part, count - 1, axis=1)[:, :count]
        good[begin : begin + 256] = fitted.good[near].mean(1)
        words[begin : begin + 256] = fitted.tokens_out[near].mean(1)
    return good, judged.priced(words)
