"""Fits this machine's corrections to what was measured on it, and keeps them where that helps.

A correction is judged on what it has not seen: fitted without a model, it forecasts that model.
What holds now stays where the new one would not do better, figure by figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from haneul import __version__
from haneul.base.config import Config
from haneul.base.errors import CommandError
from haneul.base.ids import new_id
from haneul.base.units import now_us
from haneul.chips.calibrate import Correction, calibrate, refine
from haneul.chips.chip import Chip
from haneul.services.appraisal import learned
from haneul.services.observed import Observed, observed
from haneul.store import audit
from haneul.store import deployments as queries
from haneul.store.audit import Who
from haneul.store.deployments import CalibrationRow

TAKEN, KEPT, NONE = "taken", "kept", "none"
WORSE_MOST = 1e-9  # errors that differ by less are the same
Pick = Callable[[Observed], str]


class Figure(Struct, frozen=True, kw_only=True):
    """One kind of figure with one kernel: errors are medians of |forecast ÷ measured - 1|."""

    kernel: str
    kind: str  # decode of one stream, capacity of all slots, prefill
    count: int  # measurements
    models: int
    uncorrected: float
    before: float  # as forecasts were corrected until now
    after: float  # as they will be
    worst_after: float
    held_out: float | None  # of the new correction, each model (or file) left out; None: only one
    left_out: str  # "model", "file" or "nothing": what was left out at a time
    decision: str  # taken, kept (the one before does better), none (uncorrected does better)
    factor: float  # that forecasts are multiplied by from now on
    factor_before: float


class Recalibrated(Struct, frozen=True, kw_only=True):
    """What changed; calibration is None where all stays as it was."""

    chip: str
    calibration: str | None
    figures: tuple[Figure, ...]
    is_new: bool


def recalibrate(connection: Connection, chip: Chip, config: Config, actor: Who) -> Recalibrated:
    """Refits from all that was measured and keeps what holds from then on.

    Raises CommandError where no model that is here was measured on this chip.
    """
    seen = observed(connection, chip, config)
    if not seen:
        raise CommandError(
            "nothing was measured on this machine yet: serve a model with haneul up, "
            "or measure those that are here with haneul plan calibrate --here --measure"
        )
    now = learned(connection, chip, config)
    groups: dict[tuple[str, str], list[Observed]] = {}
    for each in seen:
        groups.setdefault((each.kernel, each.kind), []).append(each)
    kept: dict[str, dict[str, Correction]] = {
        kernel: dict(known) for kernel, known in now.by_kernel.items()
    }
    figures = []
    for (kernel, kind), group in sorted(groups.items()):
        old = kept.get(kernel, {}).get(kind)
        figure, correction = _figure(group, old, is_frozen=now.calibration is not None)
        figures.append(figure)
        kept.setdefault(kernel, {}).pop(kind, None)
        if correction is not None:
            kept[kernel][kind] = correction
    is_new = now.calibration is None or kept != now.by_kernel
    found = Recalibrated(
        chip=chip.id,
        calibration=new_id("cal") if is_new else now.calibration,
        figures=tuple(figures),
        is_new=is_new,
    )
    if is_new:
        _keep(connection, found, kept, actor=actor, before=now.calibration)
    return found


def _keep(
    connection: Connection,
    found: Recalibrated,
    kept: dict[str, dict[str, Correction]],
    *,
    actor: Who,
    before: str | None,
) -> None:
    assert found.calibration is not None
    row = CalibrationRow(
        id=found.calibration,
        chip=found.chip,
        haneul=__version__,
        learned=msgspec.json.encode(kept).decode(),
        report=msgspec.json.encode(found.figures).decode(),
        created_us=now_us(),
    )
    queries.add_calibration(connection, row)
    factors = {f"{each.kernel} {each.kind}": round(each.factor, 4) for each in found.figures}
    audit.note(
        connection,
        actor,
        "calibration.add",
        row.id,
        before={"calibration": before},
        after={"chip": found.chip, **factors},
    )


def _figure(
    group: Sequence[Observed], old: Correction | None, *, is_frozen: bool
) -> tuple[Figure, Correction | None]:
    """How one kind of figure is corrected from now on, and what says so.

    A correction that was fitted to these very measurements is judged as the new one is, with
    what it forecasts left out; one that was kept before is judged as it stands.
    """
    fresh = _fitted(group)
    part, left = _parts(group)
    held_out = _held_out(group, part) if left != "nothing" else None
    new = held_out if held_out is not None else _error(group, fresh)
    rivals = {NONE: _error(group, None)}
    if is_frozen:
        rivals[KEPT] = _error(group, old)
    best = min(rivals, key=lambda name: rivals[name])
    decision = TAKEN if new <= rivals[best] + WORSE_MOST else best
    chosen = {TAKEN: fresh, KEPT: old, NONE: None}[decision]
    return (
        Figure(
            kernel=group[0].kernel,
            kind=group[0].kind,
            count=len(group),
            models=len({each.model for each in group}),
            uncorrected=rivals[NONE],
            before=_error(group, old),
            after=_error(group, chosen),
            worst_after=max(_errors(group, chosen)),
            held_out=held_out,
            left_out=left,
            decision=decision,
            factor=chosen.factor if chosen else 1.0,
            factor_before=old.factor if old else 1.0,
        ),
        chosen,
    )


def _parts(group: Sequence[Observed]) -> tuple[Pick, str]:
    """By what the measurements fall into two parts or more: by model, else by file."""
    picks: tuple[tuple[Pick, str], ...] = (
        (lambda each: each.model, "model"),
        (lambda each: each.digest, "file"),
    )
    for pick, name in picks:
        if len({pick(each) for each in group}) > 1:
            return pick, name
    return picks[0][0], "nothing"


def _held_out(group: Sequence[Observed], part: Pick) -> float:
    errors = []
    for name in {part(each) for each in group}:
        correction = _fitted([each for each in group if part(each) != name])
        errors += _errors([each for each in group if part(each) == name], correction)
    return median(errors)


def _fitted(group: Sequence[Observed]) -> Correction | None:
    return calibrate([(each.forecast, each.measured) for each in group])


def _error(group: Sequence[Observed], correction: Correction | None) -> float:
    return median(_errors(group, correction))


def _errors(group: Sequence[Observed], correction: Correction | None) -> list[float]:
    said = ((refine(each.forecast, correction).mid, each.measured) for each in group)
    return [abs(forecast / measured - 1) for forecast, measured in said]
