"""Routing where it is hard: prompts of a kind the fit never saw; a promise, kept or broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.routing_data import load
from haneul.auto.familiar import CAUTION, Watch
from haneul.auto.feedback import Feedback
from haneul.auto.guarantee import last_shown, losses_at
from haneul.auto.outcomes import Outcomes
from haneul.auto.policy import Policy, arms_played, choose, estimates, fit, price_for

Row = dict[str, Any]
Doubles = np.ndarray[Any, Any]
MIXED = ["phi-3-mini", "llama-3.1-8b", "llama-3.1-70b", "gemini-1.5-flash", "gemini-1.5-pro"]
TIERS = ["llama-3.1-8b", "gemini-1.5-flash", "gemini-1.5-pro"]
LEFT_OUT = ("zeroeval_gsm", "zeroeval_crux", "mmlu_pro/law", "mmlu_pro/math", "mmlu_pro/biology")
FEEDBACKS = 200
ROUNDS = 300


def unseen(folder: Path) -> list[Row]:
    """Accuracy on tasks left out of the fit against the best fixed model, in points, and cost.

    The stream is in the order of the data; the first `FEEDBACKS` prompts are learned from, with the
    outcome of the chosen model alone, and the others are judged without and with that.
    """
    outcomes = load(folder, ["mmlupro", "ze_gsm", "ze_crux"], models=MIXED)
    return [_left_out(outcomes, prefix) for prefix in LEFT_OUT if _here(outcomes, prefix).any()]


def _here(outcomes: Outcomes, prefix: str) -> Doubles:
    return np.array([task.startswith(prefix) for task in outcomes.tasks])


def _left_out(outcomes: Outcomes, prefix: str) -> Row:
    here = _here(outcomes, prefix)
    policy = fit(outcomes.rows(np.flatnonzero(~here)), are_pairs_tried=False)
    stream = outcomes.rows(np.random.default_rng(0).permutation(np.flatnonzero(here)))
    good, costs, alike = estimates(policy, stream.prompts, stream.tokens_in)
    price = price_for(policy, 1.0)
    plain = np.argmax(good - price * costs, axis=1)
    watch = Watch()
    foreign = np.array([one < watch.caution(one) for one in alike])
    guarded = np.where(foreign, policy.best, plain)
    taught = _taught(policy, stream, good, costs, foreign, price)
    rest = slice(FEEDBACKS, None)
    fields = {
        "unguarded": _against(policy, stream, plain, slice(None)),
        "no labels": _against(policy, stream, guarded, slice(None)),
        f"after {FEEDBACKS}": _against(policy, stream, taught, rest),
    }
    row: Row = {"way": prefix, "prompts": len(stream.prompts), "foreign": foreign.mean()}
    for name, (points, cost) in fields.items():
        row |= {f"{name} points": round(points, 2), f"{name} cost": round(cost, 3)}
    return row


def _taught(
    policy: Policy, stream: Outcomes, good: Doubles, costs: Doubles, foreign: Doubles, price: float
) -> Doubles:
    rng = np.random.default_rng(1)
    arms = good.shape[1]
    feedback = Feedback(tasks=1, arms=arms, best=policy.best)
    chosen = np.empty(len(good), int)
    for at in range(len(good)):
        kind = None if foreign[at] else 0
        if at < FEEDBACKS:
            chosen[at] = np.argmax(feedback.drawn(kind, good[at], rng) - price * costs[at])
            feedback.learn(
                kind,
                int(chosen[at]),
                expected=float(good[at, chosen[at]]),
                value=float(stream.good[at, chosen[at]]),
            )
        else:
            chosen[at] = np.argmax(feedback.corrected(kind, good[at]) - price * costs[at])
    return chosen


def _against(policy: Policy, stream: Outcomes, arms: Doubles, part: slice) -> tuple[float, float]:
    rows = np.arange(len(arms))
    truth, paid = stream.good[rows, arms][part], stream.cost_usd[rows, arms][part]
    best = stream.good[part, policy.best].mean(), stream.cost_usd[part, policy.best].mean()
    return 100 * float(truth.mean() - best[0]), float(paid.mean() / best[1])


def guarantee(folder: Path) -> list[Row]:
    """How often a shown bound was broken, and the cost under it.

    Fitted on 60 % of the prompts. The others stand for all traffic: each round draws a log of it
    with replacement, shows a bound on that, and asks all of it what the loss in truth is.
    """
    outcomes = load(folder, ["mmlupro"], models=TIERS)
    order = np.random.default_rng(0).permutation(len(outcomes.prompts))
    cut = int(0.6 * len(order))
    policy = fit(outcomes.rows(order[:cut]))
    log = outcomes.rows(order[cut:])
    prices = policy.sweep.prices.tolist()
    losses = np.stack(losses_at(policy, log, prices))
    costs = _paid(policy, log, prices)
    always = float(log.cost_usd[:, policy.best].mean())
    return [
        _shown(losses, costs / always, count=count, alpha=alpha)
        for count in (500, 1500)
        for alpha in (0.01, 0.02, 0.05)
    ]


def _paid(policy: Policy, log: Outcomes, prices: list[float]) -> Doubles:
    good, costs, alike = estimates(policy, log.prompts, log.tokens_in)
    rows, foreign = np.arange(len(good)), alike < CAUTION
    _, paid = arms_played(log, policy.pairs)
    return np.stack(
        [
            paid[rows, choose(policy, good, costs, price=price, is_foreign=foreign)]
            for price in prices
        ]
    )


def _shown(losses: Doubles, costs: Doubles, *, count: int, alpha: float) -> Row:
    rng = np.random.default_rng(2)
    broken = 0
    spent, lost = [], []
    for _ in range(ROUNDS):
        tested = rng.integers(0, losses.shape[1], count)
        at = last_shown([one[tested] for one in losses], alpha=alpha, delta=0.05)
        spent.append(1.0 if at is None else float(costs[at].mean()))
        lost.append(0.0 if at is None else float(losses[at].mean()))
        broken += lost[-1] > alpha
    return {
        "way": f"n {count}, alpha {alpha}",
        "broken": broken / ROUNDS,
        "loss": round(float(np.mean(lost)), 4),
        "cost": round(float(np.mean(spent)), 3),
    }
