"""`haneul engines`: other engines in the same name space, next door or at a paid provider."""

from __future__ import annotations

import asyncio

import aiohttp
import click
import msgspec
from sqlalchemy import Connection

from haneul.base.errors import BadRequest, CommandError, NotFound
from haneul.base.ids import new_id
from haneul.base.units import now_us, parse_money, show_money
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.show import print_json, print_table
from haneul.services.remote import read_key_file
from haneul.services.thinking import FIELDS, NONE
from haneul.store import audit
from haneul.store import engines as queries
from haneul.store import prices as price_queries
from haneul.store.engines import EngineRow
from haneul.store.prices import PriceRow

LISTING_S = 10.0
LISTING_MAX_BYTES = 4 << 20


class _Model(msgspec.Struct, frozen=True):
    id: str


class _Models(msgspec.Struct, frozen=True):
    data: list[_Model]


@command(
    "add",
    example="haneul engines add vllm http://127.0.0.1:8000 --price-in 0.10 --price-out 0.40",
)
@click.argument("name")
@click.argument("url")
@click.option("--key-file", metavar="FILE", help="Holds the provider's API key; stays where it is.")
@click.option("--model", "models", multiple=True, help="A model it serves; without: it is asked.")
@click.option("--price-in", required=True, metavar="AMOUNT", help="Per million prompt tokens.")
@click.option("--price-cached", metavar="AMOUNT", help="Per million cached prompt tokens.")
@click.option("--price-out", required=True, metavar="AMOUNT", help="Per million answer tokens.")
@click.option(
    "--own-slots",
    type=click.IntRange(min=1),
    help="Own hardware that gives so many answers at once.",
)
@click.option(
    "--shares-prefixes",
    is_flag=True,
    help="Prompts that begin alike wait for the first to be read.",
)
@click.option(
    "--thinking-field",
    type=click.Choice([*FIELDS, NONE]),
    help="Under which it takes a limit of thoughts, or that its models have none.",
)
@json_option
def add(
    name: str,
    url: str,
    key_file: str | None,
    models: tuple[str, ...],
    price_in: str,
    price_cached: str | None,
    price_out: str,
    own_slots: int | None,
    shares_prefixes: bool,
    thinking_field: str | None,
    as_json: bool,
) -> None:
    """Adds any URL that speaks the OpenAI protocol; its models read NAME/MODEL."""
    settings = config()
    if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise BadRequest("An engine's name has letters, digits, '-' and '_'.")
    base = url.rstrip("/").removesuffix("/v1")
    headers = read_key_file(key_file)
    served = list(models) or asyncio.run(_list_models(base, headers))
    row = EngineRow(
        name=name,
        url=base,
        key_file=key_file,
        models=msgspec.json.encode(served).decode(),
        created_us=now_us(),
        own_slots=own_slots,
        shares_prefixes=int(shares_prefixes),
        thinking_field=thinking_field,
    )
    price = PriceRow(
        id=new_id("prc"),
        model=price_queries.ANY_MODEL,
        engine=name,
        currency=settings.currency,
        input_nano=parse_money(price_in),
        cached_nano=parse_money(price_cached if price_cached is not None else price_in),
        output_nano=parse_money(price_out),
        basis='{"source":"given with the engine"}',
        created_us=(now := now_us()),
        from_us=now,
    )
    database(settings).run(_put, row, price)
    if as_json:
        print_json({"name": name, "url": base, "models": served, "price": price})
    else:
        click.echo(f"Added {name}: " + ", ".join(f"{name}/{model}" for model in served[:8]))


@command("ls", example="haneul engines ls")
@json_option
def ls(as_json: bool) -> None:
    """Lists the engines beside the embedded ones."""
    store = database(config())
    rows = store.run(queries.every)
    prices = {
        row.name: store.run(price_queries.in_force, price_queries.ANY_MODEL, row.name)
        for row in rows
    }
    if as_json:
        print_json(
            [
                {
                    **msgspec.structs.asdict(row),
                    "models": msgspec.json.decode(row.models),
                    "price": prices[row.name],
                }
                for row in rows
            ]
        )
        return
    print_table(
        ("NAME", "URL", ">PRICE IN", ">PRICE OUT", "MODELS"),
        [
            (
                row.name,
                row.url,
                _amount(prices[row.name], "input_nano"),
                _amount(prices[row.name], "output_nano"),
                ", ".join(msgspec.json.decode(row.models, type=list[str])[:6]),
            )
            for row in rows
        ],
        empty="No engines beside the embedded ones: haneul engines add NAME URL …",
    )


@command("rm", example="haneul engines rm vllm")
@click.argument("name")
@json_option
def rm(name: str, as_json: bool) -> None:
    """Takes an engine out; its key file and its provider are not touched."""
    database(config()).run(_remove, name)
    if as_json:
        print_json({"removed": name})
    else:
        click.echo(f"Removed {name}.")


def _put(connection: Connection, row: EngineRow, price: PriceRow) -> None:
    before = {known.name: known for known in queries.every(connection)}.get(row.name)
    price_before = price_queries.in_force(connection, price.model, price.engine)
    queries.put(connection, row)
    price_queries.add(connection, price)
    audit.note(connection, actor(), "engine.add", row.name, row.url, before=before, after=row)
    audit.note(connection, actor(), "price.set", price.id, before=price_before, after=price)


def _remove(connection: Connection, name: str) -> None:
    before = {row.name: row for row in queries.every(connection)}.get(name)
    if before is None or not queries.remove(connection, name, now_us()):
        raise NotFound(f"there is no engine '{name}'")
    audit.note(connection, actor(), "engine.remove", name, before=before)


def _amount(price: PriceRow | None, field: str) -> str:
    if price is None:
        return "unknown"
    return show_money(getattr(price, field), price.currency, digits=4) + " / 1M"


async def _list_models(base: str, headers: dict[str, str]) -> list[str]:
    """What the engine says it serves. Raises CommandError."""
    timeout = aiohttp.ClientTimeout(total=LISTING_S)
    try:
        async with (
            aiohttp.ClientSession(trust_env=True, timeout=timeout, headers=headers) as web,
            web.get(f"{base}/v1/models", allow_redirects=False) as answer,
        ):
            data = await answer.content.read(LISTING_MAX_BYTES)
            if answer.status != 200:
                raise CommandError(
                    f"{base}/v1/models answered with status {answer.status}: give the key with "
                    "--key-file, or the models with --model"
                )
        return [model.id for model in msgspec.json.decode(data, type=_Models).data]
    except (aiohttp.ClientError, TimeoutError, ValueError) as cause:
        raise CommandError(
            f"{base}/v1/models cannot be read ({type(cause).__name__}); if the engine starts "
            "later, name its models with --model"
        ) from cause


engines = click.Group(
    "engines", help="Other engines in the same name space.", commands=[add, ls, rm]
)
