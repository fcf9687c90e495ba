"""`haneul plan calibrate`: constants, corrections and the width of intervals, from rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from haneul.chips.plan.backtest import leave_out, widening
from haneul.chips.plan.calibration import Calibration
from haneul.chips.plan.fitting import Measured, fit_efficiency, measure
from haneul.chips.plan.residual import Array, Part, Residual, fit
from haneul.chips.plan.rows import Row

# Which traits rows are compared by, and how far each reaches: chosen by leaving out (chip, model)
# groups of the published rows. Throughput: the same kernels err alike, and one deployment with
# itself. The first also says that rows of one deployment teach little about others.
DEPLOYMENT = (
    Part(shared=("chip", "model", "kind"), spread=0.3, reach=5.0),
    Part(shared=("chip", "model", "kind"), spread=0.2, reach=1.5),
)
SPEED = (
    Part(shared=("generation", "precision", "architecture", "kind"), spread=0.2, reach=3.0),
    *DEPLOYMENT,
)
# A first token waits for the engine's way of scheduling: how benchmarks begin differs by both.
TTFT = (
    Part(shared=("kind",), spread=0.3, reach=2.8),
    Part(shared=("kind", "engine"), spread=0.2, reach=0.0),
    Part(shared=("model", "kind"), spread=0.2, reach=1.5),
    Part(shared=("chip", "model", "kind"), spread=0.3, reach=1.5),
)
NOISE = 0.3


def calibrate(rows: Sequence[Row], *, dated: str) -> Calibration:
    """What these rows teach. Raises BadRequest if they are too few to fit anything."""
    efficiency = fit_efficiency(rows)
    found = [each for each in measure(rows, efficiency)[0] if not np.isnan(each.speed)]
    told = Calibration(
        efficiency=efficiency,
        speed=_residual(found, [each.speed for each in found], SPEED, NOISE),
        ttft=_residual(found, [each.ttft for each in found], TTFT, NOISE),
        rows=len(found),
        dated=dated,
    )
    left = leave_out(found, told, lambda row: row.group)
    return replace(
        told,
        speed=_widened(told.speed, left.speed, left.speed_deviation),
        ttft=_widened(told.ttft, left.ttft, left.ttft_deviation),
    )


def _residual(
    found: Sequence[Measured], errors: Sequence[float], parts: tuple[Part, ...], noise: float
) -> Residual | None:
    known = [(each.traits, error) for each, error in zip(found, errors, strict=True)]
    known = [(each, error) for each, error in known if not np.isnan(error)]
    if not known:
        return None
    return fit(
        tuple(each for each, _ in known),
        np.array([error for _, error in known]),
        parts=parts,
        noise=noise,
    )


def _widened(residual: Residual | None, left: Array, deviation: Array) -> Residual | None:
    return None if residual is None else replace(residual, widen=widening(left, deviation))
