"""Fitting the constants of the physics to measurements, so that a few wild rows do not lead it.

Gauss-Newton on logarithms: every constant stays positive and leans towards its a priori value;
rows that are further off than most count less (Huber).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from haneul.base.errors import BadRequest, HaneulError
from haneul.chips.plan.fit_memory import memory, refuse_unless_it_fits
from haneul.chips.plan.residual import Array, Traits, traits
from haneul.chips.plan.rows import Row
from haneul.chips.plan.serve import Rates, rates
from haneul.chips.plan.step import Efficiency

ITERATIONS = 8
NUDGE = 0.05  # of a logarithm, for a slope
STEP_MOST = 0.5  # of a logarithm, for one iteration
LEAN = 0.5  # how strongly constants lean on what they were: a prior as wide as a typical error
SPREAD_LEAST = 0.1
TYPICAL = 1.4826  # from a median distance to a standard deviation
ROWS_LEAST = 8  # that a fit needs

NAMES = Efficiency.__struct_fields__


class Measured(Struct, frozen=True, kw_only=True):
    """A row, what physics says of it, and the logarithms of measured over forecast; nan: none."""

    row: Row
    rates: Rates
    traits: Traits
    speed: float
    ttft: float


class Refused(Struct, frozen=True, kw_only=True):
    """A row that was refused, and why."""

    id: str
    tier: str
    reason: str
    is_unknown: bool  # a figure of the chip is unpublished: saying so is right


def row_rates(row: Row, efficiency: Efficiency) -> Rates:
    """What the loop says of a published row, at the batch of the row. Raises as predict does."""
    found = memory(row.deployment, row.load)
    refuse_unless_it_fits(row.deployment, found)
    most = min(found.most_users, row.batch_most)
    wanted = row.load.requests or row.load.batch or most
    best = rates(row.deployment, row.load, efficiency, batch=max(1, min(wanted, most)))
    if row.load.tpot_s is None or row.load.batch or row.load.requests:
        return best
    low, high = 1, most
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        best = rates(row.deployment, row.load, efficiency, batch=middle)
        low, high = (middle, high) if best.tpot_s <= row.load.tpot_s else (low, middle)
    return best


def measure(rows: Sequence[Row], efficiency: Efficiency) -> tuple[list[Measured], list[Refused]]:
    """Every row beside what physics says of it."""
    found, refused = [], []
    for row in rows:
        try:
            told = row_rates(row, efficiency)
        except HaneulError as cause:
            reason = str(cause)
            refused.append(
                Refused(id=row.id, tier=row.tier, reason=reason, is_unknown="is unknown" in reason)
            )
            continue
        found.append(
            Measured(
                row=row,
                rates=told,
                traits=traits(row.deployment, row.load, batch=told.batch),
                speed=speed_error(row, told),
                ttft=ttft_error(row, told),
            )
        )
    return found, refused


def speed_error(row: Row, told: Rates) -> float:
    """The logarithm of measured speed over forecast: of throughput, else of TPOT, else of TTFT."""
    if row.tokens_per_s:
        return float(np.log(row.tokens_per_s / told.tokens_per_s))
    if row.tpot_s and told.tpot_s:
        return float(np.log(told.tpot_s / row.tpot_s))
    return float(np.log(told.ttft_s / row.ttft_s)) if row.ttft_s else float("nan")


def ttft_error(row: Row, told: Rates) -> float:
    """The logarithm of measured TTFT over forecast; nan where none was published."""
    return float(np.log(row.ttft_s / told.ttft_s)) if row.ttft_s else float("nan")


def errors_at(rows: Sequence[Row], efficiency: Efficiency) -> Array:
    """The error of speed of every row, nan where it is refused."""
    out = np.full(len(rows), np.nan)
    for index, row in enumerate(rows):
        try:
            out[index] = speed_error(row, row_rates(row, efficiency))
        except HaneulError:
            continue
    return out


def logarithms(efficiency: Efficiency) -> Array:
    """The constants as logarithms, in the order of NAMES."""
    return np.log([getattr(efficiency, name) for name in NAMES])


def from_logarithms(values: Array) -> Efficiency:
    """The constants of their logarithms."""
    return Efficiency(**{name: float(np.exp(v)) for name, v in zip(NAMES, values, strict=True)})


def slopes(rows: Sequence[Row], efficiency: Efficiency, errors: Array) -> Array:
    """How the error of each row moves with the logarithm of each constant."""
    at = logarithms(efficiency)
    out = np.zeros((len(rows), len(at)))
    for column in range(len(at)):
        nudged = at.copy()
        nudged[column] += NUDGE
        out[:, column] = (errors_at(rows, from_logarithms(nudged)) - errors) / NUDGE
    return out


def move(errors: Array, gradient: Array, away: Array) -> Array:
    """The step that constants take; away is how far they are from where they lean to."""
    known = ~(np.isnan(errors) | np.isnan(gradient).any(axis=1))
    left, steep = errors[known], gradient[known]
    spread = max(SPREAD_LEAST, TYPICAL * float(np.median(np.abs(left))))
    weight = np.minimum(1.0, spread / np.maximum(np.abs(left), 1e-9))
    lean = np.eye(len(away)) * (spread / LEAN) ** 2 * 8
    bent = steep.T @ (steep * weight[:, None]) + lean
    pull = steep.T @ (left * weight) + lean @ away
    return np.asarray(-np.linalg.solve(bent, pull), np.float64)


def fit_efficiency(rows: Sequence[Row], *, start: Efficiency | None = None) -> Efficiency:
    """The constants that fit the rows. Raises BadRequest with fewer than eight usable rows."""
    prior = logarithms(Efficiency())
    at = prior if start is None else logarithms(start)
    for _ in range(ITERATIONS):
        efficiency = from_logarithms(at)
        errors = errors_at(rows, efficiency)
        if np.count_nonzero(~np.isnan(errors)) < ROWS_LEAST:
            raise BadRequest(f"A fit needs {ROWS_LEAST} rows that can be forecast.")
        step = move(errors, slopes(rows, efficiency, errors), at - prior)
        at = at + np.clip(step, -STEP_MOST, STEP_MOST)
    return from_logarithms(at)
