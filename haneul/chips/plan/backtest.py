"""How wrong forecasts are on rows they were not fitted to: groups left out, one after the other.

What is scored was either fitted to, then its group is left out, or it was not, then nothing is.
For each group the constants are refitted without it (to first order: one Gauss-Newton step from
the fit of all rows, which is where a refit begins) and the corrections are fitted anew without it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import combinations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from haneul.chips.plan.calibration import Calibration
from haneul.chips.plan.fitting import (
    Measured,
    Refused,
    logarithms,
    measure,
    move,
    slopes,
)
from haneul.chips.plan.residual import Array, Residual, deviations, kernel, solve
from haneul.chips.plan.rows import Row, Unread
from haneul.chips.plan.step import Efficiency

EIGHTY = 1.2816
APART = 0.10  # by which two chips must differ for their order to count


class Scored(Struct, frozen=True, kw_only=True):
    """One row and the forecast made without its group; logarithms of measured over forecast."""

    id: str
    tier: str
    chip: str
    model: str
    kind: str
    source: str
    metric: str
    measured: float
    forecast: float
    low: float
    high: float
    ttft_measured: float | None
    ttft_forecast: float | None

    @property
    def error(self) -> float:
        """How far the forecast is off, as a share of what was measured."""
        return abs(self.forecast / self.measured - 1)

    @property
    def ttft_error(self) -> float | None:
        """The same of TTFT; None where none was published."""
        if self.ttft_measured is None or self.ttft_forecast is None:
            return None
        return abs(self.ttft_forecast / self.ttft_measured - 1)

    @property
    def is_covered(self) -> bool:
        """Whether the interval holds what was measured."""
        return self.low <= self.measured <= self.high


class Table(Struct, frozen=True, kw_only=True):
    """The errors of a set of rows, as shares; None where there was nothing to count."""

    name: str
    rows: int
    median: float | None
    p90: float | None
    within_20: float | None
    within_2x: float | None
    ttft_median: float | None
    covered: float | None


class Report(Struct, frozen=True, kw_only=True):
    """What `haneul plan backtest` says."""

    whole: Table
    by_chip: tuple[Table, ...]
    by_model: tuple[Table, ...]
    by_kind: tuple[Table, ...]
    unseen_chips: tuple[Table, ...]
    pairs: int
    pairs_right: int
    answered: float  # of the rows; a refusal for an unpublished figure is an answer
    refused: tuple[Refused, ...]
    unread: tuple[Unread, ...]
    scored: tuple[Scored, ...]


class LeftOut(Struct, frozen=True, kw_only=True):
    """Errors of every row with its group left out, and the deviations that were forecast."""

    speed: Array
    speed_deviation: Array
    ttft: Array
    ttft_deviation: Array


def leave_out(
    found: Sequence[Measured], calibration: Calibration, key: Callable[[Row], Hashable]
) -> LeftOut:
    """What is left of each row's error by a calibration that has not seen its group."""
    rows = [each.row for each in found]
    speed = np.array([each.speed for each in found])
    ttft = np.array([each.ttft for each in found])
    gradient = slopes(rows, calibration.efficiency, speed)
    away = logarithms(calibration.efficiency) - logarithms(Efficiency())
    groups = [key(row) for row in rows]
    asked = tuple(each.traits for each in found)
    covariances = [
        None if known is None else kernel(asked, asked, known.parts)
        for known in (calibration.speed, calibration.ttft)
    ]
    out = LeftOut(
        speed=speed.copy(),
        speed_deviation=np.ones(len(rows)),
        ttft=ttft.copy(),
        ttft_deviation=np.ones(len(rows)),
    )
    for group in dict.fromkeys(groups):
        inside = np.array([each == group for each in groups])
        step = move(speed[~inside], gradient[~inside], away)
        shifted = speed + np.nan_to_num(gradient) @ step
        into = (out.speed, out.speed_deviation)
        _without(inside, shifted, covariances[0], calibration.speed, into)
        into = (out.ttft, out.ttft_deviation)
        _without(inside, ttft, covariances[1], calibration.ttft, into)
    return out


def _without(
    inside: NDArray[np.bool_],
    errors: Array,
    covariance: Array | None,
    known: Residual | None,
    into: tuple[Array, Array],
) -> None:
    """Writes what a correction fitted outside the group leaves of the errors inside."""
    left, deviation = into
    left[inside] = errors[inside]
    outside = ~(inside | np.isnan(errors))
    if known is None or covariance is None or not outside.any():
        return
    learnt = covariance[np.ix_(outside, outside)]
    weights, extra = solve(learnt, errors[outside], noise=known.noise)
    across = covariance[np.ix_(inside, outside)]
    left[inside] = errors[inside] - across @ weights
    deviation[inside] = deviations(across, learnt, extra, parts=known.parts, noise=known.noise)


def widening(left: Array, deviation: Array) -> float:
    """The factor that makes an 80 % interval hold 80 % of these rows."""
    known = ~np.isnan(left)
    if not known.any():
        return 1.0
    return float(np.quantile(np.abs(left[known]) / deviation[known], 0.8) / EIGHTY)


def backtest(
    rows: Sequence[Row], unread: Sequence[Unread], calibration: Calibration, *, known: Sequence[Row]
) -> Report:
    """The error tables of rows.

    known are the rows the calibration was fitted to: those of rows that are among them are
    forecast without their (chip, model) group, all others without any of rows.
    """
    asked = {row.id for row in rows}
    public = {row.id for row in known}
    others = [row for row in known if row.id not in asked]
    refused = measure(rows, calibration.efficiency)[1]
    found = [
        each
        for each in measure([*rows, *others], calibration.efficiency)[0]
        if not np.isnan(each.speed)
    ]
    left = leave_out(found, calibration, lambda row: row.group if row.id in public else "new")
    told = _scored(found, left)
    kept = [index for index, each in enumerate(found) if each.row.id in asked]
    scored = [told[index] for index in kept]
    right, pairs = ranking(scored, [found[index] for index in kept])
    unseen: list[Scored] = []
    if asked <= public:
        unseen = _scored(found, leave_out(found, calibration, lambda row: row.deployment.chip.id))
    is_said = sum(1 for each in refused if each.is_unknown)
    whole = len(rows) + len(unread)
    return Report(
        whole=table("all", scored),
        by_chip=tables(scored, lambda each: each.chip),
        by_model=tables(scored, lambda each: each.model),
        by_kind=tables(scored, lambda each: each.kind),
        unseen_chips=tables([each for each in unseen if each.id in asked], lambda each: each.chip),
        pairs=pairs,
        pairs_right=right,
        answered=(len(scored) + is_said) / whole if whole else 0.0,
        refused=tuple(refused),
        unread=tuple(unread),
        scored=tuple(scored),
    )


def _scored(found: Sequence[Measured], left: LeftOut) -> list[Scored]:
    out = []
    z = np.abs(left.speed) / left.speed_deviation
    groups = [each.row.group for each in found]
    for index, each in enumerate(found):
        others = np.array([group != groups[index] for group in groups])
        widen = np.quantile(z[others], 0.8) / EIGHTY if others.any() else 1.0
        factor = float(np.exp(EIGHTY * widen * left.speed_deviation[index]))
        metric, measured, sign = metric_of(each.row)
        forecast = measured * float(np.exp(-sign * left.speed[index]))
        ttft = each.row.ttft_s
        out.append(
            Scored(
                id=each.row.id,
                tier=each.row.tier,
                chip=each.row.deployment.chip.name,
                model=each.row.deployment.model.name,
                kind=each.traits.kind,
                source=each.row.source,
                metric=metric,
                measured=measured,
                forecast=forecast,
                low=forecast / factor,
                high=forecast * factor,
                ttft_measured=ttft,
                ttft_forecast=None if ttft is None else ttft * float(np.exp(-left.ttft[index])),
            )
        )
    return out


def metric_of(row: Row) -> tuple[str, float, int]:
    """What a row is scored by, its value, and 1 where more is faster, -1 where less is."""
    if row.tokens_per_s:
        return "tok/s", row.tokens_per_s, 1
    if row.tpot_s:
        return "TPOT s", row.tpot_s, -1
    return "TTFT s", row.ttft_s or 0.0, -1


def table(name: str, scored: Sequence[Scored]) -> Table:
    """The errors of these rows."""
    errors = np.array([each.error for each in scored])
    ratios = np.array([abs(np.log(each.forecast / each.measured)) for each in scored])
    ttft = [each.ttft_error for each in scored if each.ttft_error is not None]
    return Table(
        name=name,
        rows=len(scored),
        median=float(np.median(errors)) if len(errors) else None,
        p90=float(np.quantile(errors, 0.9)) if len(errors) else None,
        within_20=float(np.mean(errors <= 0.2)) if len(errors) else None,
        within_2x=float(np.mean(ratios <= np.log(2))) if len(errors) else None,
        ttft_median=float(np.median(ttft)) if ttft else None,
        covered=float(np.mean([each.is_covered for each in scored])) if scored else None,
    )


def tables(scored: Sequence[Scored], key: Callable[[Scored], str]) -> tuple[Table, ...]:
    """One table for each value of the key, the one with most rows first."""
    groups: dict[str, list[Scored]] = {}
    for each in scored:
        groups.setdefault(key(each), []).append(each)
    return tuple(
        table(name, members)
        for name, members in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    )


def ranking(scored: Sequence[Scored], found: Sequence[Measured]) -> tuple[int, int]:
    """Of pairs of chips with one model and load, how many are forecast in the measured order."""
    alike: dict[Hashable, list[tuple[str, float, float]]] = {}
    for score, each in zip(scored, found, strict=True):
        row = each.row
        if not row.tokens_per_s:
            continue
        chips = row.deployment.count
        key = (row.deployment.model.name, each.traits.kind, row.load.isl, row.load.osl)
        alike.setdefault(key, []).append(
            (row.deployment.chip.id, score.measured / chips, score.forecast / chips)
        )
    pairs = [
        (one, two)
        for members in alike.values()
        for one, two in combinations(members, 2)
        if one[0] != two[0] and abs(np.log(one[1] / two[1])) > np.log1p(APART)
    ]
    right = sum(1 for one, two in pairs if (one[1] > two[1]) == (one[2] > two[2]))
    return right, len(pairs)
