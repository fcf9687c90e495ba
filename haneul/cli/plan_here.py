"""`haneul plan backtest --here` and `calibrate --here`: this installation's forecasts, scored."""

from __future__ import annotations

import asyncio

import click
from msgspec import Struct

from haneul.base.errors import CommandError
from haneul.base.units import show_bytes, show_time
from haneul.chips.backtest import Outcome, Score, score, show_score
from haneul.chips.cost import hour_cost
from haneul.chips.estimate import Estimate, exactly, holds, show
from haneul.cli.command import actor, config, database
from haneul.cli.local import is_running
from haneul.cli.show import print_json, print_table
from haneul.services.appraisal import learned
from haneul.services.outlook import this_machine
from haneul.services.scored import measured
from haneul.services.scored.deployments import Here
from haneul.services.scored.measured import Day, Row
from haneul.services.scored.probing import Probed, Prober
from haneul.services.scored.recalibrate import Figure, Recalibrated, recalibrate
from haneul.services.steady import keep

DECISIONS = {
    "taken": "taken",
    "kept": "kept: the new one does worse",
    "none": "none: uncorrected does better",
}


class Scored(Struct, frozen=True, kw_only=True):
    """One row and how far off its forecast was, as a share of what was measured."""

    row: Row
    error: float
    inside: bool


class Backtest(Struct, frozen=True, kw_only=True):
    """What `--json` gives."""

    rows: list[Scored]
    scores: list[Score]
    left_out: dict[str, dict[str, int]]
    days: list[Day]


def backtest_here(*, as_json: bool) -> None:
    """Prints each engine's forecasts beside what it did."""
    settings = config()
    found = _scored() if settings.home.exists() else None
    if found is None or not found.rows:
        raise CommandError(
            "nothing was served here yet, so there is no forecast to score: haneul up MODEL"
        )
    if as_json:
        print_json(found)
        return
    columns = ("MODEL", "FORMAT", "CHIP", "FIGURE", ">STREAMS", ">SAID", ">MEASURED", ">ERROR")
    print_table(
        (*columns, "INSIDE", ">N", "FROM", "CALIBRATION", "LAST"),
        [_line(each) for each in found.rows],
        empty="No rows.",
    )
    click.echo()
    for each in found.scores:
        click.echo(show_score(each))
    inside = sum(each.inside for each in found.rows)
    click.echo(f"The interval, meant for 80 %, holds {inside} of {len(found.rows)} figures.")
    for figure, reasons in found.left_out.items():
        told = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        click.echo(f"  requests that say nothing of {figure}: {told}")


def _scored() -> Backtest:
    store = database(config())
    rows = [_score(row) for row in store.run(measured.measured_here)]
    return Backtest(
        rows=rows,
        scores=score(Outcome(each.row.kind, each.row.forecast, each.row.measured) for each in rows),
        left_out=store.run(measured.left_out),
        days=store.run(measured.days),
    )


def _score(row: Row) -> Scored:
    return Scored(
        row=row,
        error=row.forecast.mid / row.measured - 1,
        inside=holds(row.forecast, row.measured),
    )


def _line(each: Scored) -> tuple[str, ...]:
    row = each.row
    return (
        row.model,
        row.quantisation,
        row.chip,
        row.kind,
        str(row.streams),
        show(row.forecast),
        _value(row.measured, row.forecast),
        f"{each.error:+.0%}".replace("%", " %"),
        "yes" if each.inside else "no",
        str(row.count),
        row.source,
        row.calibration or "none",
        show_time(row.last_us),
    )


def _value(value: float, like: Estimate) -> str:
    return show_bytes(value) if like.unit == "B" else show(exactly(value, like.unit, source=""))


def calibrate_here(*, measures: bool, is_busy: bool, as_json: bool) -> None:
    """Refits this machine's corrections and says what that changed."""
    settings = config()
    if not settings.home.exists():
        raise CommandError(f"there is no cloud at {settings.home} yet: haneul up MODEL")
    if measures and is_running(settings.home):
        raise CommandError(
            "a cloud runs on this home: it measures each model by itself at a quiet moment"
        )
    store, machine = database(settings), this_machine(settings)
    chip = store.run(keep, machine.chip)
    probed: list[Probed] = []
    if measures:
        hour = hour_cost(machine.fleet, chip)
        if hour is None:
            raise CommandError(f"the fleet file has no price for the chip {chip.id}")
        here = Here(chip, store.run(learned, chip, settings), machine.fleet, hour)
        probed = asyncio.run(Prober(settings, store, here, is_quiet_needed=not is_busy).run())
    found = store.run(recalibrate, chip, settings, actor())
    if as_json:
        print_json({"measured": probed, "result": found})
        return
    _tell(probed, found)


def _tell(probed: list[Probed], found: Recalibrated) -> None:
    for each in probed:
        click.echo(f"{each.model}: {each.said}")
    columns = ("KERNEL", "FIGURE", ">MEASURED", ">MODELS", ">PLAIN", ">BEFORE", ">AFTER")
    print_table(
        (*columns, ">HELD OUT", "LEFT OUT", ">FACTOR", "DECISION"),
        [_figure(each) for each in found.figures],
        empty="Nothing was measured.",
    )
    if found.is_new:
        click.echo(f"Forecasts on {found.chip} use it from now on: {found.calibration}")
        click.echo("A running cloud takes it over when it starts next.")
    else:
        click.echo(f"Nothing changed: {found.calibration} holds.")


def _figure(each: Figure) -> tuple[str, ...]:
    held_out = "-" if each.held_out is None else _share(each.held_out)
    return (
        each.kernel,
        each.kind,
        str(each.count),
        str(each.models),
        _share(each.uncorrected),
        _share(each.before),
        _share(each.after),
        held_out,
        f"one {each.left_out} at a time" if each.held_out is not None else each.left_out,
        f"×{each.factor_before:.2f} → ×{each.factor:.2f}",
        DECISIONS[each.decision],
    )


def _share(value: float) -> str:
    return f"{value:.1%}".replace("%", " %")
