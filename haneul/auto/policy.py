"""A policy: everything that decides which model, or which pair, answers a prompt.

`fit` makes one from outcomes, `decide` asks it for one prompt: the arm of the highest chance of a
good answer less lambda times its expected cost. Lambda is solved from a target, a share of the best
fixed model's quality, on predictions for prompts the fit had not seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from haneul.auto.estimate import Estimate, fit_estimate, predict
from haneul.auto.familiar import CAUTION, Familiar, fit_familiar, likeness
from haneul.auto.features import read
from haneul.auto.outcomes import Outcomes
from haneul.auto.pairs import Pair, agreement, played, worthwhile
from haneul.auto.space import BUCKETS, Space, embed, embed_all, fit_space
from haneul.base.errors import BadRequest

PRICES = 72
SAFE_TARGET = 0.9  # who asks for less wants it cheap: no fallback then

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]
Numbers = NDArray[Any]
_WORTH_PRICES = np.geomspace(0.02, 2.0, 10)  # of the best model's mean cost, in good answers


class Sweep(msgspec.Struct, frozen=True):
    """What the arms chosen at each lambda came to on prompts the fit had not seen."""

    prices: Doubles  # lambda: good answers per USD, from 0 (money is no matter) upward
    quality: Doubles  # share of good answers, never rising
    cost_usd: Doubles  # a request


class Guarantee(msgspec.Struct, frozen=True):
    """Quality at most `alpha` below the best fixed model's, with confidence 1 - `delta`.

    Holds for traffic like the `prompts` it was tested on, on `date`, up to `price` (lambda).
    """

    prompts: int
    alpha: float
    delta: float
    date: str
    price: float


class Policy(msgspec.Struct, frozen=True):
    """K arms: M single models, then pairs."""

    models: list[str]
    tasks: list[str]
    pairs: list[Pair]
    usd_per_token_in: Doubles  # M
    usd_per_token_out: Doubles  # M
    best: int  # the best fixed model
    best_quality: float  # its share of good answers in the fit
    space: Space
    estimate: Estimate  # columns: K arms, then the chance that each pair agrees
    familiar: Familiar
    sweep: Sweep
    safe_price: float = math.inf  # up to which a foreign prompt goes to the best fixed model
    guarantee: Guarantee | None = None


class Choice(msgspec.Struct, frozen=True):
    """One decision: who is asked, how likely the answer is good, what it will cost."""

    model: str
    check: str | None  # asked too, where a pair was chosen
    dear: str | None  # asked where both differ
    good: float  # chance, 0..1
    cost_usd: float  # expected
    saved_usd: float  # expected, against the best fixed model
    is_familiar: bool  # else the best fixed model was taken


def fit(outcomes: Outcomes, *, are_pairs_tried: bool = True, seed: int = 0) -> Policy:
    """The policy of these outcomes, without a guarantee. Raises BadRequest: too few of them."""
    if len(outcomes.prompts) < 40 or not outcomes.models:
        raise BadRequest("A policy needs 40 prompts with outcomes, better 1000.")
    space = fit_space(outcomes.prompts, seed=seed)
    vectors, known = embed_all(space, outcomes.prompts)
    names = sorted(set(outcomes.tasks))
    tasks = np.array([names.index(task) for task in outcomes.tasks])
    pairs = worthwhile(outcomes) if are_pairs_tried else []
    truth, paid = arms_played(outcomes, pairs)
    estimate, unseen, tokens = fit_estimate(
        vectors,
        tasks,
        _targets(outcomes, pairs),
        outcomes.tokens_out,
        task_count=len(names),
        worth=lambda good, words: _worth(outcomes, pairs, good, words, truth, paid),
        seed=seed,
    )
    policy = Policy(
        models=list(outcomes.models),
        tasks=names,
        pairs=pairs,
        usd_per_token_in=outcomes.usd_per_token_in,
        usd_per_token_out=outcomes.usd_per_token_out,
        best=outcomes.best,
        best_quality=float(outcomes.good.mean(0)[outcomes.best]),
        space=space,
        estimate=estimate,
        familiar=fit_familiar(space, vectors, known, predict(estimate, vectors).nearest),
        sweep=Sweep(np.zeros(1), np.zeros(1), np.zeros(1)),
    )
    costs = _arm_costs(outcomes, pairs, outcomes.tokens_in, tokens, unseen)
    swept = _sweep(outcomes, unseen[:, : costs.shape[1]], costs, truth, paid)
    policy = msgspec.structs.replace(policy, sweep=swept)
    return msgspec.structs.replace(policy, safe_price=price_for(policy, SAFE_TARGET))


def price_for(policy: Policy, target: float) -> float:
    """The lambda that keeps `target` (0..1) of the best fixed model's quality, by the sweep."""
    if not 0.0 < target <= 1.5:
        raise BadRequest("The target is a share of the best model's quality, as 0.98.")
    sweep = policy.sweep
    kept = np.flatnonzero(sweep.quality >= target * policy.best_quality - 1e-12)
    return float(sweep.prices[kept[-1]]) if len(kept) else 0.0


def estimates(
    policy: Policy, prompts: Sequence[str], tokens_in: Doubles
) -> tuple[Doubles, Doubles, Doubles]:
    """Chances of a good answer and expected USD of each arm (n x K); each prompt's likeness."""
    vectors, known = embed_all(policy.space, prompts)
    seen = predict(policy.estimate, vectors)
    costs = _arm_costs(policy, policy.pairs, tokens_in, seen.tokens, seen.good)
    alike = likeness(policy.familiar, policy.space, vectors, known, seen.nearest)
    return seen.good[:, : costs.shape[1]].astype(float), costs, alike


def decide(
    policy: Policy,
    prompt: str,
    *,
    tokens_in: float,
    price: float,
    allowed: NDArray[np.bool_] | None = None,
    caution: float = CAUTION,
) -> Choice:
    """Who answers this prompt at that lambda; `allowed` (K arms) leaves some out.

    A prompt less like those of the fit than the share `caution` of them goes to the best fixed
    model, as far as that is allowed.
    """
    vector, known = embed(policy.space, read(prompt, buckets=BUCKETS))
    vectors = vector[None, :]
    seen = predict(policy.estimate, vectors)
    costs = _arm_costs(policy, policy.pairs, np.array([tokens_in]), seen.tokens, seen.good)[0]
    good = seen.good[0, : len(costs)]
    share = np.array([known], np.float32)
    alike = likeness(policy.familiar, policy.space, vectors, share, seen.nearest)
    is_familiar = bool(alike[0] >= caution) or price > policy.safe_price
    worth = good - price * costs
    if allowed is not None:
        if not allowed.any():
            raise BadRequest("No model is left to choose from.")
        worth = np.where(allowed, worth, -np.inf)
    arm = int(np.argmax(worth))
    if not is_familiar and (allowed is None or allowed[policy.best]):
        arm = policy.best
    return _choice(policy, arm, good, costs, is_familiar=is_familiar)


def choose(
    policy: Policy, good: Doubles, costs: Doubles, *, price: float, is_foreign: NDArray[np.bool_]
) -> Integers:
    """The arms of many prompts at once, as `decide` takes them."""
    arms = np.argmax(good - price * costs, axis=1)
    return arms if price > policy.safe_price else np.where(is_foreign, policy.best, arms)


class _Prices(Protocol):
    @property
    def usd_per_token_in(self) -> Doubles: ...
    @property
    def usd_per_token_out(self) -> Doubles: ...


def _arm_costs(
    prices: _Prices, pairs: Sequence[Pair], tokens_in: Doubles, tokens: Numbers, good: Numbers
) -> Doubles:
    """Expected USD of each arm, n x K: a pair pays the dear model as often as the cheap differ."""
    single = tokens_in[:, None] * prices.usd_per_token_in + tokens * prices.usd_per_token_out
    if not pairs:
        return single
    agree = good[:, single.shape[1] + len(pairs) :]
    paid = [
        single[:, pair.cheap] + single[:, pair.check] + (1 - agree[:, at]) * single[:, pair.dear]
        for at, pair in enumerate(pairs)
    ]
    return np.concatenate((single, np.stack(paid, axis=1)), axis=1)


def arms_played(outcomes: Outcomes, pairs: Sequence[Pair]) -> tuple[Doubles, Doubles]:
    """What each arm in truth made of each prompt, n x K: good, USD."""
    runs = [played(outcomes, pair) for pair in pairs]
    good = [outcomes.good, *(one[0][:, None] for one in runs)]
    paid = [outcomes.cost_usd, *(one[1][:, None] for one in runs)]
    return np.concatenate(good, axis=1), np.concatenate(paid, axis=1)


def _targets(outcomes: Outcomes, pairs: Sequence[Pair]) -> Doubles:
    good, _ = arms_played(outcomes, pairs)
    same = [agreement(outcomes, pair.cheap, pair.check)[:, None] for pair in pairs]
    return np.concatenate((good, *same), axis=1)


def _worth(
    outcomes: Outcomes,
    pairs: Sequence[Pair],
    good: Doubles,
    tokens: Doubles,
    truth: Doubles,
    paid: Doubles,
) -> Doubles:
    """What each prompt comes to over a range of prices of a good answer, in good answers."""
    costs = _arm_costs(outcomes, pairs, outcomes.tokens_in, tokens, good)
    good, rows = good[:, : costs.shape[1]], np.arange(len(good))
    total = np.zeros(len(good))
    for price in _WORTH_PRICES / max(float(outcomes.cost_usd.mean(0)[outcomes.best]), 1e-12):
        arms = np.argmax(good - price * costs, axis=1)
        total += truth[rows, arms] - price * paid[rows, arms]
    return total


def _sweep(
    outcomes: Outcomes, good: Doubles, costs: Doubles, truth: Doubles, paid: Doubles
) -> Sweep:
    scale = max(float(outcomes.cost_usd.mean(0)[outcomes.best]), 1e-12)
    prices = np.concatenate(([0.0], np.geomspace(1e-3, 1e3, PRICES - 1))) / scale
    rows = np.arange(len(good))
    points = [np.argmax(good - price * costs, axis=1) for price in prices]
    quality = np.array([truth[rows, arms].mean() for arms in points])
    cost = np.array([paid[rows, arms].mean() for arms in points])
    return Sweep(prices, falling(quality), cost)


def falling(values: Doubles) -> Doubles:
    """The nearest sequence that never rises (least squares: pool adjacent violators)."""
    sums: list[tuple[float, int]] = []
    for value in values.tolist():
        sums.append((value, 1))
        while len(sums) > 1 and sums[-2][0] * sums[-1][1] < sums[-1][0] * sums[-2][1]:
            total, count = sums.pop()
            sums[-1] = (sums[-1][0] + total, sums[-1][1] + count)
    return np.concatenate([np.full(count, total / count) for total, count in sums])


def _choice(policy: Policy, arm: int, good: Floats, costs: Doubles, *, is_familiar: bool) -> Choice:
    pair = policy.pairs[arm - len(policy.models)] if arm >= len(policy.models) else None
    cost = float(costs[arm])
    assert math.isfinite(cost)
    return Choice(
        model=policy.models[pair.cheap if pair else arm],
        check=policy.models[pair.check] if pair else None,
        dear=policy.models[pair.dear] if pair else None,
        good=float(good[arm]),
        cost_usd=cost,
        saved_usd=float(costs[policy.best]) - cost,
        is_familiar=is_familiar,
    )
