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
from haneul.services.media.asked import AUDIO, CHARACTER, IMAGE
from haneul.services.prices import set_price
from haneul.services.targets import EMBEDDED
from haneul.store import prices as queries
from haneul.store.prices import PriceRow

UNIT_NANO_MAX = 1 << 62  # as both databases keep it


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
@click.option("--in", "input_", metavar="AMOUNT", help="Per million prompt tokens.")
@click.option("--cached", metavar="AMOUNT", help="Of them from a cache; without: as the others.")
@click.option("--out", metavar="AMOUNT", help="Per million answer tokens.")
@click.option("--reasoning", metavar="AMOUNT", help="Of them reasoning; without: as the others.")
@click.option("--second", metavar="AMOUNT", help="Per second of a sound that is heard.")
@click.option("--image", metavar="AMOUNT", help="Per picture that is drawn.")
@click.option("--characters", metavar="AMOUNT", help="Per million characters that are said.")
@click.option("--from", "from_", metavar="TIME", help="UTC, such as 2027-01-01; without: now.")
@json_option
def set_(
    model: str,
    engine: str,
    input_: str | None,
    cached: str | None,
    out: str | None,
    reasoning: str | None,
    second: str | None,
    image: str | None,
    characters: str | None,
    from_: str | None,
    as_json: bool,
) -> None:
    """Sets a price from now or a later moment on; what was billed before stays as it was.

    A price that was set goes before what was computed from measuring.
    """
    unit, unit_nano = _unit(second, image, characters)
    if unit is None and (input_ is None or out is None):
        raise BadRequest("A price needs --in and --out, or --second, --image or --characters.")
    settings = config()
    store = database(settings)
    before = store.run(queries.in_force, model, engine)
    now = now_us()
    row = PriceRow(
        id=new_id("prc"),
        model=model,
        engine=engine,
        currency=settings.currency,
        input_nano=parse_money(input_ or "0"),
        cached_nano=parse_money(cached or input_ or "0"),
        output_nano=parse_money(out or "0"),
        reasoning_nano=None if reasoning is None else parse_money(reasoning),
        hour_nano=before.hour_nano if before else 0,
        unit=unit,
        unit_nano=unit_nano,
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
        ("MODEL", "ENGINE", "STATE", "FROM", ">IN", ">CACHED", ">OUT", ">REASONING", "UNIT", "ID"),
        [_row(row, state) for row, state in shown],
        empty="There are no prices yet.",
    )


def _unit(
    second: str | None, image: str | None, characters: str | None
) -> tuple[str | None, int | None]:
    """What is paid beside tokens, and nano-units for a million of it. Raises BadRequest."""
    given = [
        (unit, parse_money(amount) * units)
        for unit, amount, units in (
            (AUDIO, second, 1),  # a second is a million microseconds
            (IMAGE, image, MILLION),
            (CHARACTER, characters, 1),
        )
        if amount is not None
    ]
    if len(given) > 1:
        raise BadRequest("A model is paid by seconds, pictures or characters: say one of them.")
    if given and given[0][1] > UNIT_NANO_MAX:
        raise BadRequest("That is more than a price can be.")
    return given[0] if given else (None, None)


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
        _per_unit(row),
        row.id,
    )


def _per_unit(row: PriceRow) -> str:
    if row.unit is None or row.unit_nano is None:
        return "none"
    shown = {AUDIO: (1, "second"), IMAGE: (MILLION, "image"), CHARACTER: (1, "1M characters")}
    units, name = shown.get(row.unit, (1, f"1M {row.unit}"))
    return f"{show_money(row.unit_nano // units, row.currency)} / {name}"


prices = click.Group("prices", help="Prices of models: set, list.", commands=[set_, ls])
