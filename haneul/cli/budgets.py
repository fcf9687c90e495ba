"""`haneul budgets`: what a key, a user, a tenant or an app may use."""

from __future__ import annotations

from typing import Any

import click
import msgspec
from sqlalchemy import Connection

from haneul.base.errors import BadRequest, NotFound
from haneul.base.units import now_us, parse_money, show_money
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.show import print_json, print_table
from haneul.services import budgets as service
from haneul.services import tenants as tenants_service
from haneul.services.periods import PERIODS, day_of, starts
from haneul.store import budgets as queries
from haneul.store import keys as key_queries
from haneul.store import spending
from haneul.store.budgets import BudgetRow
from haneul.store.spending import KINDS


@command("set", example="haneul budgets set tenant acme --month 500 --concurrency 32")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.option("--tenant", metavar="ID", help="Whose key, user or app it is; without: default.")
@click.option("--total", metavar="AMOUNT", help="All it may ever spend, in the currency.")
@click.option("--day", metavar="AMOUNT", help="All it may spend in a UTC day.")
@click.option("--week", metavar="AMOUNT", help="The same from Monday to Sunday.")
@click.option("--month", metavar="AMOUNT", help="The same in a calendar month.")
@click.option("--rpm", type=click.IntRange(min=1), help="Requests per minute.")
@click.option("--tpm", type=click.IntRange(min=1), help="Tokens per minute.")
@click.option("--concurrency", type=click.IntRange(min=1), help="Requests running at once.")
@json_option
def set_(kind: str, name: str, tenant: str | None, as_json: bool, **amounts: Any) -> None:
    """Sets limits of one owner; a request must keep all that hold for it.

    A running cloud follows within a second. What was used before counts.
    """
    wanted = [_wanted(option, amount) for option, amount in amounts.items() if amount is not None]
    if not wanted:
        raise BadRequest("Say at least one limit, such as --month 500.")
    rows = database(config()).run(lambda c: _set(c, kind, name, tenant or "default", wanted))
    if as_json:
        print_json(rows)
    for row in [] if as_json else rows:
        click.echo(f"Set {row.id}.")


@command("ls", example="haneul budgets ls --tenant acme")
@click.option("--tenant", metavar="ID", help="Only those of this tenant.")
@json_option
def ls(tenant: str | None, as_json: bool) -> None:
    """Lists the limits that hold and what the budgets among them have spent."""
    settings = config()
    store = database(settings)
    facts = store.run(lambda c: [facts_of(c, row) for row in queries.of_tenant(c, tenant)])
    if as_json:
        print_json(facts)
        return
    print_table(
        ("ID", "TENANT", "OWNER", "LIMIT", ">AMOUNT", ">SPENT"),
        [_row(fact, settings.currency) for fact in facts],
        empty="There are no budgets beside the keys' own: haneul budgets set KIND NAME --month 50",
    )


@command("rm", example="haneul budgets rm bdg_01m808n85gfqaq17xmmc8d5w24")
@click.argument("budget")
@json_option
def rm(budget: str, as_json: bool) -> None:
    """Ends a limit; a running cloud follows within a second."""
    row = database(config()).run(lambda c: service.end_limit(c, budget, actor=actor()))
    print_json({"ended": row.id}) if as_json else click.echo(f"Ended {row.id}.")


def _wanted(option: str, amount: Any) -> tuple[str, str, int]:
    """Measure, period and amount of an option."""
    if option in PERIODS:
        return "money", option, parse_money(amount)
    return {"rpm": "requests", "tpm": "tokens"}.get(option, option), "", amount


def _set(
    connection: Connection, kind: str, name: str, tenant: str, wanted: list[tuple[str, str, int]]
) -> list[BudgetRow]:
    tenant_id, owner_id = _owner(connection, kind, name, tenant)
    return [
        service.set_limit(
            connection,
            tenant_id=tenant_id,
            kind=kind,
            owner_id=owner_id,
            measure=measure,
            period=period,
            amount=amount,
            actor=actor(),
        )
        for measure, period, amount in wanted
    ]


def _owner(connection: Connection, kind: str, name: str, tenant: str) -> tuple[str, str]:
    """The tenant and the id of an owner. Raises NotFound, BadRequest."""
    if kind == "tenant":
        return name, tenants_service.find(connection, name).id
    tenants_service.find(connection, tenant)
    if kind == "user":
        return tenant, tenants_service.find_user(connection, tenant, name).id
    if kind == "app":
        return tenant, service.check_app(name)
    key = key_queries.named(connection, name, tenant)
    if key is None:
        raise NotFound(f"There is no live key '{name}' in the tenant '{tenant}'.")
    return tenant, key.id


def facts_of(connection: Connection, row: BudgetRow) -> dict[str, Any]:
    """A limit, and for a budget what was spent of it in the period that runs."""
    facts = msgspec.structs.asdict(row)
    if row.measure != "money":
        return facts
    today = day_of(now_us())
    owner = f"{row.tenant_id}/{row.owner_id}" if row.owner_kind == "app" else row.owner_id
    since = starts(today)[PERIODS.index(row.period)]
    _, days = spending.history(connection, row.owner_kind, owner, since_day=since)
    return {**facts, "spent_nano": sum(nano for day, nano in days if day <= today)}


def _row(fact: dict[str, Any], currency: str) -> tuple[str, ...]:
    is_money = fact["measure"] == "money"
    amount = show_money(fact["amount"], currency) if is_money else f"{fact['amount']:,}"
    names = {"requests": "requests per minute", "tokens": "tokens per minute"}
    what = f"money, {fact['period']}" if is_money else names.get(fact["measure"], "at once")
    owner = f"{fact['owner_kind']} {fact['owner_id']}"
    spent = show_money(fact["spent_nano"], currency) if is_money else ""
    return (fact["id"], fact["tenant_id"], owner, what, amount, spent)


budgets = click.Group(
    "budgets", help="Limits by key, user, tenant and app.", commands=[set_, ls, rm]
)
