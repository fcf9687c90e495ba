"""`haneul keys`: who may use the cloud, for how much."""

from __future__ import annotations

import re
from typing import Any

import click

from haneul.base.errors import BadRequest
from haneul.base.units import MILLION, now_us, parse_money, show_money, show_time
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.rules import set_key
from haneul.cli.show import print_json, print_table
from haneul.cli.tenants import role_option, tenant_option
from haneul.services import keys as keys_service
from haneul.services import tenants
from haneul.services.keys import DEFAULT_SCOPES, SCOPES, Key, Terms
from haneul.store import keys as queries

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@command("create", example="haneul keys create research --budget 5 --rpm 60")
@click.argument("name")
@click.option("--budget", metavar="AMOUNT", help="All it may ever spend, in the currency.")
@click.option("--rpm", type=click.IntRange(min=1), help="Requests per minute.")
@click.option("--tpm", type=click.IntRange(min=1), help="Tokens per minute.")
@click.option("--expires", metavar="TIME", help="How long it lives, such as 12h, 30d or 8w.")
@click.option("--model", "models", multiple=True, help="A model it may use; repeat for more.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(sorted(SCOPES)),
    help=f"What it may do; without: what its role may, or {' and '.join(DEFAULT_SCOPES)}.",
)
@tenant_option
@click.option("--user", metavar="NAME", help="Who of the tenant it is for, by name or id.")
@role_option
@click.option("--app", metavar="NAME", help="The one app it is for.")
@json_option
def create(
    name: str,
    budget: str | None,
    rpm: int | None,
    tpm: int | None,
    expires: str | None,
    models: tuple[str, ...],
    scopes: tuple[str, ...],
    tenant: str,
    user: str | None,
    role: str | None,
    app: str | None,
    as_json: bool,
) -> None:
    """Makes a key and shows it, this once."""
    settings = config()
    store = database(settings)
    store.run(tenants.find, tenant)
    terms = Terms(
        scopes=scopes or None,
        models=models or None,
        budget_nano=None if budget is None else parse_money(budget),
        requests_per_minute=rpm,
        tokens_per_minute=tpm,
        expires_us=None if expires is None else now_us() + _seconds(expires) * MILLION,
        tenant_id=tenant,
        user_id=None if user is None else store.run(tenants.find_user, tenant, user).id,
        role=role,
        app=app,
    )
    pepper = keys_service.read_pepper(settings.home)
    made = store.run(
        lambda connection: keys_service.create(connection, pepper, name, terms, actor=actor())
    )
    if as_json:
        print_json({"key": made.secret, **_facts(made.key, settings.currency)})
        return
    click.echo(made.secret)
    click.echo("Keep it now: it is not shown again.", err=True)


@command("ls", example="haneul keys ls --json")
@click.option("--tenant", metavar="ID", help="Only those of this tenant.")
@json_option
def ls(tenant: str | None, as_json: bool) -> None:
    """Lists the keys, what they have spent and what they may."""
    settings = config()
    store = database(settings)
    rows = store.run(queries.every, tenant)
    spent = {row.id: store.run(queries.spent, row.id) for row in rows}
    facts = [
        {**_facts(keys_service.of_row(row), settings.currency), "spent_nano": spent[row.id]}
        for row in rows
    ]
    if as_json:
        print_json(facts)
        return
    print_table(
        ("NAME", "ID", "TENANT", "STATE", ">SPENT", ">BUDGET", ">RPM", ">TPM", "EXPIRES", "MODELS"),
        [_row(fact) for fact in facts],
        empty="There are no keys yet: haneul keys create NAME --budget 5",
    )


@command("revoke", example="haneul keys revoke research")
@click.argument("name")
@click.option("--tenant", metavar="ID", help="Whose it is, where several have one of that name.")
@json_option
def revoke(name: str, tenant: str | None, as_json: bool) -> None:
    """Ends a key, by name or id; a running cloud follows within a second."""
    settings = config()
    key = database(settings).run(
        lambda connection: keys_service.revoke(connection, name, actor=actor(), tenant_id=tenant)
    )
    if as_json:
        print_json({"revoked": key.id, "name": key.name})
    else:
        click.echo(f"Revoked '{key.name}' ({key.id}).")


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,5})([smhdw])", text)
    if found is None:
        raise BadRequest(f"'{text}' is not a time such as 12h, 30d or 8w.")
    return int(found[1]) * UNITS_S[found[2]]


def _facts(key: Key, currency: str) -> dict[str, Any]:
    state = "revoked" if key.revoked_us else "live" if key.is_live else "expired"
    return {
        "id": key.id,
        "name": key.name,
        "state": state,
        "tenant_id": key.tenant_id,
        "user_id": key.user_id,
        "app": key.app,
        "scopes": sorted(key.scopes),
        "models": sorted(key.models) if key.models is not None else None,
        "currency": currency,
        "budget_nano": key.budget_nano,
        "requests_per_minute": key.requests_per_minute,
        "tokens_per_minute": key.tokens_per_minute,
        "expires_us": key.expires_us,
    }


def _row(fact: dict[str, Any]) -> tuple[str, ...]:
    currency, budget = fact["currency"], fact["budget_nano"]
    return (
        fact["name"],
        fact["id"],
        fact["tenant_id"],
        fact["state"],
        show_money(fact["spent_nano"], currency),
        "none" if budget is None else show_money(budget, currency),
        str(fact["requests_per_minute"] or "none"),
        str(fact["tokens_per_minute"] or "none"),
        show_time(fact["expires_us"]) if fact["expires_us"] else "never",
        ", ".join(fact["models"]) if fact["models"] is not None else "all",
    )


keys = click.Group(
    "keys",
    help="API keys: create, change, list, revoke.",
    commands=[create, set_key, ls, revoke],
)
