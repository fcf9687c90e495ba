"""`haneul usage` and `haneul trace`: what was used, by whom, for how much, and how one answer came
about."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from haneul.base.errors import NotFound
from haneul.base.units import HOUR_US, MILLION, now_us, show_duration, show_money, show_time
from haneul.cli.command import command, config, database, json_option
from haneul.cli.show import print_json, print_table
from haneul.services.choice import REASONS
from haneul.services.keys import LOCAL_ID
from haneul.store import keys as key_queries
from haneul.store import ledger as queries
from haneul.store import prices as price_queries
from haneul.store.ledger import ChipHourRow, RequestRow, UsageRow
from haneul.store.prices import PriceRow

USAGE_COLUMNS = (
    *("KEY", "MODEL", "ENGINE", ">REQUESTS", ">NOT DONE", ">PROMPT", ">CACHED", ">ANSWER"),
    *(">COST BY TOKEN", ">COST BY HOUR"),
)


@command("usage", example="haneul usage --days 7 --key research")
@click.option("--days", type=click.IntRange(1, 3660), default=30, show_default=True)
@click.option("--key", "key_name", metavar="NAME", help="Only this key, by name or id.")
@click.option("--tenant", metavar="ID", help="Only this tenant.")
@json_option
def usage(days: int, key_name: str | None, tenant: str | None, as_json: bool) -> None:
    """Sums the ledger by key and model, on both bases: per token used, per hour owned."""
    settings = config()
    store = database(settings)
    until_us = now_us() + 1
    since_us = until_us - days * 24 * HOUR_US
    names = {row.id: row.name for row in store.run(key_queries.every)} | {LOCAL_ID: "this machine"}
    key_id = _key_id(names, key_name) if key_name else None
    rows = store.run(
        lambda connection: queries.usage(
            connection, since_us=since_us, until_us=until_us, key_id=key_id, tenant_id=tenant
        )
    )
    hours = store.run(
        lambda connection: queries.chip_hours(connection, since_us=since_us, until_us=until_us)
    )
    if as_json:
        print_json({"days": days, "usage": rows, "owned": _owned(hours, rows, settings.currency)})
        return
    print_table(
        USAGE_COLUMNS,
        [_usage_row(row, names) for row in rows],
        empty=f"Nothing was used in the last {days} days.",
    )
    if key_id is None and tenant is None and hours:
        _print_owned(_owned(hours, rows, settings.currency))


@command("trace", example="haneul trace req_01m808n85gfqaq17xmmc8d5w24")
@click.argument("request_id")
@json_option
def trace(request_id: str, as_json: bool) -> None:
    """Shows how one answer came about: app, route, model, engine, chip, tokens, time, money."""
    store = database(config())
    row = store.run(queries.find, request_id)
    if row is None:
        raise NotFound(f"there is no record of {request_id}; it may still be running")
    price = store.run(price_queries.get, row.price_id) if row.price_id else None
    names = {key.id: key.name for key in store.run(key_queries.every)} | {LOCAL_ID: "this machine"}
    if as_json:
        print_json({**msgspec.structs.asdict(row), "price": price, "key": names.get(row.key_id)})
        return
    for name, value in trace_lines(row, price, names.get(row.key_id, row.key_id)):
        click.echo(f"{name:<14} {value}")


def trace_lines(row: RequestRow, price: PriceRow | None, key: str) -> list[tuple[str, str]]:
    """The chain of one request, a name and a value a line."""
    ttft = (
        "no token" if row.first_token_us is None else _between(row.received_us, row.first_token_us)
    )
    return [
        ("request", row.id),
        ("answer", row.upstream_id or "none"),
        ("key", key),
        ("tenant", row.tenant_id),
        ("user", row.user_id or "none"),
        ("app", row.app or "none (called directly)"),
        ("route", row.route + (", streamed" if row.is_stream else "")),
        ("model", row.model or "unknown"),
        ("version", f"sha256:{row.digest}" if row.digest else "unknown (remote)"),
        ("engine", f"{row.engine or 'none'} {row.engine_version or ''}".strip()),
        ("chip", row.chip or "unknown"),
        ("chosen", _chosen(row)),
        ("tried", _tried(row)),
        ("state", _state(row)),
        ("tokens", _tokens(row)),
        *_ruled(row),
        ("arrived", show_time(row.received_us)),
        ("first token", ttft),
        ("whole answer", _between(row.received_us, row.finished_us)),
        ("speed", _speed(row)),
        ("price", _price(price)),
        ("cost", show_money(row.cost_nano, row.currency) + " per token used"),
        ("", show_money(row.hour_nano, row.currency) + f" per hour owned ({_busy(row)})"),
    ]


def _ruled(row: RequestRow) -> list[tuple[str, str]]:
    """What rules did to it, and what was counted beside tokens, where anything was."""
    facts = [
        ("thoughts", row.thinking_max, "tokens at most"),
        ("masked", row.masked, "pieces of personal data"),
        ("units", row.units, row.unit or ""),
    ]
    return [(name, f"{value} {text}") for name, value, text in facts if value is not None]


def _state(row: RequestRow) -> str:
    return f"{row.state} ({row.status}{', ' + row.error_code if row.error_code else ''})"


def _chosen(row: RequestRow) -> str:
    """Why this engine, and what the next one would have cost more."""
    if row.routed is None:
        return "unknown"
    reason = REASONS.get(row.routed, row.routed)
    if row.saved_nano is None:
        return reason
    saved = show_money(abs(row.saved_nano), row.currency)
    more = "more" if row.saved_nano >= 0 else "less"
    return f"{reason}; the next would have cost {saved} {more}"


def _tried(row: RequestRow) -> str:
    """The engines that gave no answer before, and why."""
    if row.tried is None:
        return "no other engine"
    parts = [each.rpartition("=") for each in row.tried.split(" ")]
    return ", ".join(f"{engine} ({why})" for engine, _, why in parts)


def _tokens(row: RequestRow) -> str:
    counted = {"engine": "counted by the engine", "counted": "counted by haneul", "none": "none"}
    return (
        f"{row.prompt_tokens} prompt ({row.cached_tokens} from cache), {row.completion_tokens} "
        f"answer ({row.reasoning_tokens} reasoning); {counted[row.metering]}"
    )


def _speed(row: RequestRow) -> str:
    if row.first_token_us is None or row.completion_tokens < 2:
        return "unknown"
    seconds = (row.finished_us - row.first_token_us) / MILLION
    return f"{(row.completion_tokens - 1) / max(seconds, 1e-6):.1f} tokens/s after the first"


def _busy(row: RequestRow) -> str:
    return f"{show_duration(row.busy_us / MILLION)} of the chip"


def _price(price: PriceRow | None) -> str:
    if price is None:
        return "none"
    amounts = [price.input_nano, price.cached_nano, price.output_nano]
    kinds = "prompt / cached / answer"
    if price.reasoning_nano is not None:
        amounts.append(price.reasoning_nano)
        kinds += " / reasoning"
    shown = " / ".join(show_money(nano, price.currency, digits=4) for nano in amounts)
    return f"{shown} per million {kinds} tokens ({price.id})"


def _between(start_us: int, end_us: int) -> str:
    return show_duration((end_us - start_us) / MILLION)


def _key_id(names: dict[str, str], wanted: str) -> str:
    for key_id, name in names.items():
        if wanted in (key_id, name):
            return key_id
    raise NotFound(f"there is no key '{wanted}'")


def _usage_row(row: UsageRow, names: dict[str, str]) -> tuple[str, ...]:
    return (
        names.get(row.key_id, row.key_id),
        row.model or "none",
        row.engine or "none",
        f"{row.requests:,}",
        f"{row.failed:,}",
        f"{row.prompt_tokens:,}",
        f"{row.cached_tokens:,}",
        f"{row.completion_tokens:,}",
        show_money(row.cost_nano, row.currency),
        show_money(row.hour_nano, row.currency),
    )


def _owned(hours: list[ChipHourRow], rows: list[UsageRow], currency: str) -> dict[str, Any]:
    """What owning the chips cost while the cloud ran, and the share that requests used."""
    cost_nano = sum(hour.cost_nano for hour in hours)
    used_nano = sum(row.hour_nano for row in rows)
    return {
        "currency": currency,
        "hours": sum(hour.to_us - hour.from_us for hour in hours) / HOUR_US,
        "cost_nano": cost_nano,
        "busy_nano": used_nano,
        "billed_nano": sum(row.cost_nano for row in rows),
        "busy_share": used_nano / cost_nano if cost_nano else None,
    }


def _print_owned(owned: dict[str, Any]) -> None:
    currency = owned["currency"]
    share = "unknown" if owned["busy_share"] is None else f"{owned['busy_share']:.1%}"
    click.echo(
        f"\nOwning the chips for {owned['hours']:.2f} h cost "
        f"{show_money(owned['cost_nano'], currency)}; requests kept them busy for {share} of it "
        f"and were billed {show_money(owned['billed_nano'], currency)}."
    )
