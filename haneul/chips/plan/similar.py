"""The published measurements nearest to a plan, with what this model says of each."""

from __future__ import annotations

import math
from collections.abc import Iterable

from msgspec import Struct

from haneul.base.errors import HaneulError
from haneul.chips.plan.calibration import Planner
from haneul.chips.plan.predict import predict
from haneul.chips.plan.rows import Row
from haneul.chips.plan.terms import Deployment, Load

NEAREST = 3
ANOTHER_CHIP, ANOTHER_MODEL, ANOTHER_KIND, ANOTHER_ENGINE = 3.0, 2.0, 4.0, 0.5  # doublings


class Near(Struct, frozen=True, kw_only=True):
    """A measurement beside its forecast; error is forecast over measured, less one."""

    id: str
    model: str
    chips: str
    isl: int
    osl: int
    what: str
    measured: float
    forecast: float
    error: float
    source: str


def nearest(
    rows: Iterable[Row],
    deployment: Deployment,
    load: Load,
    *,
    planner: Planner,
    most: int = NEAREST,
) -> list[Near]:
    """The rows most like the plan, nearest first; those the model cannot forecast are left out."""
    good = [row for row in rows if row.tier == "A" and (row.tokens_per_s or row.tpot_s)]
    found: list[Near] = []
    for row in sorted(good, key=lambda it: distance(it, deployment, load)):
        near = _near(row, planner)
        if near is not None:
            found.append(near)
        if len(found) == most:
            break
    return found


def distance(row: Row, deployment: Deployment, load: Load) -> float:
    """Doublings of length and count between them, and more for another chip, model or engine."""
    there = row.deployment
    apart = abs(math.log2(max(row.load.isl, 1) / max(load.isl, 1)))
    apart += abs(math.log2(max(row.load.osl, 1) / max(load.osl, 1)))
    apart += abs(math.log2(there.count / deployment.count))
    apart += ANOTHER_CHIP * (there.chip.id != deployment.chip.id)
    apart += ANOTHER_MODEL * (there.model.name != deployment.model.name)
    apart += ANOTHER_KIND * (there.model.kind != deployment.model.kind)
    apart += ANOTHER_KIND * (there.role != deployment.role)
    return apart + ANOTHER_ENGINE * (there.engine[:4] != deployment.engine[:4])


def _near(row: Row, planner: Planner) -> Near | None:
    there = row.deployment
    try:
        found = predict(there, row.load, planner=planner)
    except HaneulError:
        return None
    if row.tokens_per_s:
        what, measured, forecast = "tok/s", row.tokens_per_s, found.tokens_per_s.mid
    elif row.tpot_s:
        what, measured, forecast = "ms TPOT", row.tpot_s * 1e3, found.tpot.mid * 1e3
    else:
        return None
    return Near(
        id=row.id,
        model=there.model.name,
        chips=f"{there.count} x {there.chip.name}",
        isl=row.load.isl,
        osl=row.load.osl,
        what=what,
        measured=measured,
        forecast=forecast,
        error=forecast / measured - 1,
        source=row.source,
    )
