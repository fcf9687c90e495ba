"""`haneul models pulls`: what others took from here."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from haneul.base.units import MILLION, show_bytes
from haneul.cli.command import command, config, database, json_option
from haneul.cli.show import print_json, print_table
from haneul.services.keys import LOCAL_ID
from haneul.store import keys as key_queries
from haneul.store import shelf
from haneul.store.shelf import PullRow
from haneul.store.spending import DAY_US


@command("pulls", example="haneul models pulls qwen3:0.6b")
@click.argument("model", required=False)
@json_option
def pulls(model: str | None, as_json: bool) -> None:
    """Shows who took MODEL, or anything, from the hub of this cloud, by day.

    A pull is a file of weights that was sent from its first byte; the bytes are of all files.
    """
    store = database(config())
    rows = store.run(shelf.pulls_of, model) if model else store.run(shelf.every_pull)
    names = {row.id: row.name for row in store.run(key_queries.every)} | {LOCAL_ID: "this machine"}
    if as_json:
        print_json(rows)
        return
    print_table(
        ("DAY", "MODEL", "KEY", ">PULLS", ">BYTES"),
        [_row(row, names) for row in rows],
        empty="Nobody took anything yet.",
    )


def _row(row: PullRow, names: dict[str, str]) -> tuple[str, ...]:
    day = datetime.fromtimestamp(row.day * DAY_US / MILLION, UTC).strftime("%Y-%m-%d")
    key = names.get(row.key_id, row.key_id)
    return (day, row.model, key, f"{row.pulls:,}", show_bytes(row.bytes))
