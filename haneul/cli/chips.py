"""`haneul chips`: what hardware is here, what an hour of it costs, how good the forecasts were."""

from __future__ import annotations

from pathlib import Path

import click

from haneul.base.units import show_bytes, show_money
from haneul.chips.backtest import score, show_score
from haneul.chips.cost import hour_cost
from haneul.chips.detect import detect
from haneul.chips.estimate import show
from haneul.chips.fleet import load as load_fleet
from haneul.cli.command import command, config, database, json_option
from haneul.cli.show import print_json, print_table
from haneul.services.appraisal import outcomes


@command("chips", example="haneul chips --json")
@json_option
def chips(as_json: bool) -> None:
    """Shows the chips, their cost by the hour, and each forecast against what then happened."""
    settings = config()
    own = settings.home / "fleet.toml"
    named = Path(settings.fleet).expanduser() if settings.fleet else own if own.exists() else None
    fleet = load_fleet(named)
    found = detect()
    hours = {chip.id: hour_cost(fleet, chip) for chip in found}
    known = database(settings).run(outcomes) if settings.home.exists() else []
    scores = score(known)
    if as_json:
        print_json({"chips": found, "hours": hours, "forecasts": known, "scores": scores})
        return
    for chip in found:
        hour = hours[chip.id]
        click.echo(f"{chip.id}: {chip.count} × {chip.name}, {chip.cores or 'unknown'} cores")
        memory = show_bytes(chip.memory_bytes) if chip.memory_bytes else "unknown"
        click.echo(f"  memory     {memory}")
        click.echo(f"  bandwidth  {show(chip.bandwidth) if chip.bandwidth else 'unknown'}")
        cost = show_money(hour.total_nano, hour.currency) if hour else "unknown"
        click.echo(f"  an hour    {cost}")
        if hour is not None:
            click.echo(f"  because    {hour.source}")
    click.echo()
    print_table(
        ("FORECAST OF", ">SAID", ">MEASURED"),
        [(each.kind, show(each.forecast), f"{each.measured:.3g} tok/s") for each in known],
        empty="No forecast was followed by a measurement yet: haneul up",
    )
    for each in scores:
        click.echo(show_score(each))
