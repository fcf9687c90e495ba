"""`haneul chips`: what hardware is here, what an hour of it costs, how good the forecasts were."""

from __future__ import annotations

from pathlib import Path

import click

from haneul.base.units import show_bytes, show_money
from haneul.chips.backtest import score, show_score
from haneul.chips.chip import Chip
from haneul.chips.cost import HourCost, hour_cost
from haneul.chips.detect import Survey, survey
from haneul.chips.estimate import Estimate, show
from haneul.chips.fleet import load as load_fleet
from haneul.chips.plan.chipfiles import load_chips
from haneul.chips.plan.here import planned
from haneul.chips.plan.terms import PlanChip
from haneul.cli.command import command, config, database, json_option
from haneul.cli.late import Commands
from haneul.cli.show import print_json, print_table
from haneul.services.appraisal import outcomes


@command("chips", example="haneul chips --json")
@json_option
def look(as_json: bool) -> None:
    """Shows the chips, their cost by the hour, and each forecast against what then happened."""
    if click.get_current_context().invoked_subcommand is not None:
        return
    settings = config()
    own = settings.home / "fleet.toml"
    named = Path(settings.fleet).expanduser() if settings.fleet else own if own.exists() else None
    fleet = load_fleet(named)
    found = survey()
    files = load_chips()
    plans = {chip.id: planned(files, chip) for chip in found.chips}
    hours = {chip.id: hour_cost(fleet, chip) for chip in found.chips}
    known = database(settings).run(outcomes) if settings.home.exists() else []
    scores = score(known)
    if as_json:
        print_json(
            {
                "chips": found.chips,
                "not_asked": found.troubles,
                "planned_as": {ident: plan.id if plan else None for ident, plan in plans.items()},
                "hours": hours,
                "forecasts": known,
                "scores": scores,
            }
        )
        return
    _tell(found, hours, plans)
    click.echo()
    print_table(
        ("FORECAST OF", ">SAID", ">MEASURED"),
        [(each.kind, show(each.forecast), f"{each.measured:.3g} tok/s") for each in known],
        empty="No forecast was followed by a measurement yet: haneul up",
    )
    for each in scores:
        click.echo(show_score(each))


def _tell(
    found: Survey, hours: dict[str, HourCost | None], plans: dict[str, PlanChip | None]
) -> None:
    for chip in found.chips:
        plan, hour = plans[chip.id], hours[chip.id]
        click.echo(f"{chip.id}: {chip.count} × {chip.name}, {chip.cores or 'unknown'} cores")
        lines = [
            ("memory", _with_source(chip, "memory_bytes", _bytes(chip.memory_bytes))),
            ("bandwidth", _with_source(chip, "bandwidth", _estimate(chip.bandwidth))),
            ("an hour", show_money(hour.total_nano, hour.currency) if hour else "unknown"),
            *([("because", hour.source)] if hour else []),
        ]
        if chip.kind == "cpu":
            lines.insert(0, ("cores", chip.sources.get("cores", "unknown")))
            sets = " ".join(chip.instruction_sets) or "none that an engine asks for"
            lines.insert(1, ("can", sets))
        else:
            lines.insert(2, ("compute", _with_source(chip, "compute", _estimate(chip.compute))))
            no_file = "no chip file knows it: haneul plan says nothing of it"
            lines.append(("planned as", plan.name if plan else no_file))
        for name, text in lines:
            click.echo(f"  {name:<10} {text}")
    for trouble in found.troubles:
        click.echo(f"{trouble.tool} did not answer, its chips are unknown: {trouble.why}")


def _bytes(count: int | None) -> str:
    return "unknown" if count is None else show_bytes(count)


def _estimate(estimate: Estimate | None) -> str:
    return "unknown" if estimate is None else show(estimate)


def _with_source(chip: Chip, figure: str, text: str) -> str:
    source = chip.sources.get(figure)
    return f"{text}, {source}" if source else text


chips = click.Group(
    "chips",
    help=look.help,
    callback=look.callback,
    params=look.params,
    invoke_without_command=True,
    commands=Commands({"matrix": "chips_matrix"}),
)
