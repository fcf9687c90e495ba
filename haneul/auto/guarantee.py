"""Learn, then test: the cheapest knob whose loss of quality is shown to stay within alpha.

A log the fit has not seen says, prompt by prompt, how much worse the policy answers than the best
fixed model (-1..1). The knobs are tested in a fixed sequence, safest first, and testing stops at
the first that is not shown: so no knob costs a share of delta, and the last shown one holds with
confidence 1 - delta (Angelopoulos, Bates, Candès, Jordan and Lei 2021). The test is a betting
martingale on the mean (Waudby-Smith and Ramdas 2023): exact for every sample size, no normality.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from haneul.auto.familiar import CAUTION
from haneul.auto.outcomes import Outcomes
from haneul.auto.policy import Guarantee, Policy, arms_played, choose, estimates
from haneul.base.errors import BadRequest

STAKE_MAX = 0.9  # of what is owned; all of it could be lost in one round
START_VARIANCE, START_ROUNDS = 0.1, 20.0

Doubles = NDArray[np.float64]


def evidence_against(losses: Doubles, alpha: float, *, delta: float = 0.05) -> float:
    """A p-value of "the mean loss exceeds `alpha`", for losses in -1..1 in the order they came.

    Each stake is set by the number of rounds and the variance of those before it alone, so the
    capital is a supermartingale where the mean loss is alpha or more, and by Ville's inequality
    seldom ever reaches 1 / p. The stakes are those that show most often at `delta`.
    """
    gains = alpha - np.clip(losses, -1.0, 1.0)
    rounds = np.arange(len(gains)) + START_ROUNDS
    squares = np.concatenate(([0.0], np.cumsum(gains**2)[:-1]))
    variance = (squares + START_VARIANCE * START_ROUNDS) / rounds
    wanted = np.sqrt(2.0 * math.log(1.0 / delta) / (variance * max(len(gains), 1)))
    stake = np.minimum(wanted, STAKE_MAX / (1.0 + alpha))
    capital = np.cumsum(np.log1p(stake * gains))
    return float(min(1.0, np.exp(-capital.max(initial=0.0))))


def last_shown(losses: Sequence[Doubles], *, alpha: float, delta: float) -> int | None:
    """The last of a sequence, safest first, up to which every loss is shown to be within alpha."""
    shown = None
    for at, one in enumerate(losses):
        if evidence_against(one, alpha, delta=delta) > delta:
            break
        shown = at
    return shown


def losses_at(policy: Policy, outcomes: Outcomes, prices: Sequence[float]) -> list[Doubles]:
    """How much worse than the best fixed model each prompt came out, at each lambda.

    Raises BadRequest where the log is of other models, or of the same in another order.
    """
    if list(outcomes.models) != list(policy.models):
        raise BadRequest("The log is of other models than the policy's, or in another order.")
    truth, _ = arms_played(outcomes, policy.pairs)
    good, costs, alike = estimates(policy, outcomes.prompts, outcomes.tokens_in)
    rows = np.arange(len(truth))
    losses = []
    for price in prices:
        arms = choose(policy, good, costs, price=price, is_foreign=alike < CAUTION)
        losses.append(truth[:, policy.best] - truth[rows, arms])
    return losses


def certify(
    policy: Policy,
    outcomes: Outcomes,
    *,
    alpha: float,
    delta: float = 0.05,
    date: str | None = None,
) -> Policy:
    """The policy with its guarantee; without one where nothing could be shown.

    `outcomes` must be a log of traffic as it comes that the fit has not seen.
    """
    prices = policy.sweep.prices.tolist()
    at = last_shown(losses_at(policy, outcomes, prices), alpha=alpha, delta=delta)
    found = None
    if at is not None:
        found = Guarantee(
            prompts=len(outcomes.prompts),
            alpha=alpha,
            delta=delta,
            date=date or datetime.datetime.now(datetime.UTC).date().isoformat(),
            price=prices[at],
        )
    return msgspec.structs.replace(policy, guarantee=found)
