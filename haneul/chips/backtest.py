"""How good the forecasts were: each against what was then measured, scored by kind."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from msgspec import Struct

from haneul.chips.estimate import Estimate, holds


class Outcome(Struct, frozen=True):
    """One forecast and the truth that followed; kind is what was forecast, such as "decode"."""

    kind: str
    forecast: Estimate
    measured: float


class Score(Struct, frozen=True, kw_only=True):
    """Of one kind: errors are shares of the measured value, inside is a share of the count.

    bias is the median signed error: above zero the forecasts were too high.
    """

    kind: str
    count: int
    median_error: float
    worst_error: float
    bias: float
    inside: float


def score(outcomes: Iterable[Outcome]) -> list[Score]:
    """One score a kind, in order of kind; what was measured as zero or less does not count."""
    by_kind: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.measured > 0:
            by_kind.setdefault(outcome.kind, []).append(outcome)
    return [_score(kind, by_kind[kind]) for kind in sorted(by_kind)]


def _score(kind: str, outcomes: list[Outcome]) -> Score:
    errors = [outcome.forecast.mid / outcome.measured - 1 for outcome in outcomes]
    return Score(
        kind=kind,
        count=len(outcomes),
        median_error=statistics.median(map(abs, errors)),
        worst_error=max(map(abs, errors)),
        bias=statistics.median(errors),
        inside=sum(holds(outcome.forecast, outcome.measured) for outcome in outcomes)
        / len(outcomes),
    )


def show_score(result: Score) -> str:
    """'decode: 12 forecasts, median error 9 %, worst 30 %, bias +2 %, 83 % inside'."""
    plural = "s" * (result.count != 1)
    return (
        f"{result.kind}: {result.count} forecast{plural}, median error {result.median_error:.0%}, "
        f"worst {result.worst_error:.0%}, bias {result.bias:+.0%}, "
        f"{result.inside:.0%} inside the interval"
    ).replace("%", " %")
