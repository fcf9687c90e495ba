"""`haneul prices`: what a million tokens of a model cost, from when on."""

from __future__ import annotations

import datetime
from typing import Any

import click

from haneul.base.errors import BadRequest
from haneul.base.ids import new_id
from haneul.base.units import MILLION, now_us, parse_money, show_money, show_time
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.show import print_json, print_table
from haneul.services.prices import set_price
from haneul.services.targets import EMBEDDED
from haneul.store import prices as queries
from haneul.store.prices import PriceRow


@command(
    "set",
    example="haneul prices set gpt-5 --engine openai --in 1.25 --cached 0.125 --out 10",
)
@click.argument("model")
@click.option(
    "--engine",
    default=EMBEDDED,
    show_default=True,
    help="The engine that serves it; of a remote engine the model '*' is every other model.",
)
@click.option("--in", "input_", required=True, metavar="AMOUNT", help="Per million prompt tokens.")
@click.option("--cached", metavar="AMOUNT", help="Of them from a cache; without: as the others.")
@click.option("--out", required=True, metavar="AMOUNT", help="Per million answer tokens.")
@click.option("--reasoning", metavar="AMOUNT", help="Of them reasoning; without: as the others.")
@click.option("--from", "from_", metavar="TIME", help="UTC, such as 2027-01-01; without: now.")
@json_option
def set_(
    model: str,
    engine: str,
    input_: str,
    cached: str | None,
    out: str,
    reasoning: str | None,
    from_: str | None,
    as_json: bool,
) -> None:
    """Sets a price from now or a later moment on; what was billed before stays as it was.

    A price that was set goes before what was computed from measuring.
    """
    settings = config()
    store = database(settings)
    before = store.run(queries.in_force, model, engine)
    now = now_us()
    row = PriceRow(
        id=new_id("prc"),
        model=model,
        engine=engine,
        currency=settings.currency,
        input_nano=parse_money(input_),
        cached_nano=parse_money(cached if cached is not None else input_),
        output_nano=parse_money(out),
        reasoning_nano=None if reasoning is None else parse_money(reasoning),
        hour_nano=before.hour_nano if before else 0,
        basis='{"source":"set by hand"}',
        created_us=now,
        from_us=now if from_ is None else _moment_us(from_),
    )
    store.run(lambda connection: set_price(connection, row, actor=actor()))
    if as_json:
        print_json(row)
    else:
        click.echo(f"Set {row.id}: {model} on {engine} from {show_time(row.from_us)}.")


@command("ls", example="haneul prices ls --model gpt-5 --json")
@click.option("--model", help="Only of this model.")
@click.option("--all", "is_all", is_flag=True, help="Also those that hold no more.")
@json_option
def ls(model: str | None, is_all: bool, as_json: bool) -> None:
    """Lists the prices that hold and those to come."""
    store = database(config())
    now = now_us()
    holds = {row.id for row in store.run(lambda c: queries.all_in_force(c, at_us=now))}
    facts = [
        (row, "later" if row.from_us > now else "holds" if row.id in holds else "past")
        for row in store.run(queries.history, model)
    ]
    shown = [(row, state) for row, state in facts if is_all or state != "past"]
    if as_json:
        print_json([{"state": state, "price": row} for row, state in shown])
        return
    print_table(
        ("MODEL", "ENGINE", "STATE", "FROM", ">IN", ">CACHED", ">OUT", ">REASONING", "ID"),
        [_row(row, state) for row, state in shown],
        empty="There are no prices yet.",
    )


def _moment_us(text: str) -> int:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as cause:
        raise BadRequest(
            f"'{text}' is not a time such as 2027-01-01 or 2027-01-01T06:00"
        ) from cause
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return round(moment.timestamp()) * MILLION


def _row(row: PriceRow, state: str) -> tuple[Any, ...]:
    def amount(nano: int | None) -> str:
        return "as out" if nano is None else show_money(nano, row.currency)

    return (
        row.model,
        row.engine,
        state,
        show_time(row.from_us) if row.from_us else "computed",
        *(amount(n) for n in (row.input_nano, row.cached_nano, row.output_nano)),
        amount(row.reasoning_nano),
        row.id,
    )


prices = click.Group("prices", help="Prices of models: set, list.", commands=[set_, ls])
