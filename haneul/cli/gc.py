"""`haneul models gc`: room for other models."""

from __future__ import annotations

import click
import msgspec

from haneul.base.units import show_bytes
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.show import print_json, print_table
from haneul.models.folder import gc as garbage
from haneul.models.folder.gc import Collected, Rubbish
from haneul.store import audit

TOLD_MAX = 100  # names of files that the audit keeps


@command("gc", example="haneul models gc --dry-run")
@click.option("--dry-run", "is_dry", is_flag=True, help="Say what would go; remove nothing.")
@click.option("--downloads", "is_all", is_flag=True, help="Downloads broken off within a week too.")
@json_option
def gc(is_dry: bool, is_all: bool, as_json: bool) -> None:
    """Removes files that no model and no revision needs; nothing that is in use."""
    settings = config()
    store = database(settings)
    kept_s = 0.0 if is_all else garbage.BROKEN_OFF_S
    collected = garbage.collect(
        settings.home,
        lambda: store.run(garbage.referenced),
        is_dry=is_dry,
        broken_off_s=kept_s,
    )
    gone = [entry.name for entry in collected.found if not entry.spared]
    if gone and not is_dry:
        told = {"files": gone[:TOLD_MAX], "count": len(gone), "bytes": collected.freed_bytes}
        store.run(lambda c: audit.note(c, actor(), "model.gc", "files", after=told))
    if as_json:
        print_json(msgspec.to_builtins(collected))
    else:
        _show(collected)


def _show(collected: Collected) -> None:
    print_table(
        ("KIND", "NAME", ">SIZE", "STAYS"),
        [_row(entry) for entry in collected.found],
        empty="Everything here is needed.",
    )
    verb = "Would free" if collected.is_dry else "Freed"
    click.echo(f"{verb} {show_bytes(collected.freed_bytes)}.")


def _row(rubbish: Rubbish) -> tuple[str, ...]:
    name = rubbish.name if len(rubbish.name) <= 40 else f"{rubbish.name[:20]}…"
    return rubbish.kind, name, show_bytes(rubbish.bytes), rubbish.spared or "no: it goes"
