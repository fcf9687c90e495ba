"""What is decided for a tenant, a key or a model: commands of their nouns, and one list of all."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

import click
from sqlalchemy import Connection

from haneul.base.errors import BadRequest, GuardUnavailable
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.show import print_json, print_table
from haneul.services import keys as keys_service
from haneul.services import tenants as tenants_service
from haneul.services.routes import check_name
from haneul.services.rules import CACHES, GUARDS, KEY, MODEL, TENANT, decide, of_owner
from haneul.store import rules as queries

thinking_option = click.option(
    "--thinking-max",
    metavar="TOKENS",
    help="Tokens of thought of one answer at most; 0: none at all; 'none': no limit.",
)
guard_option = click.option(
    "--guard",
    type=click.Choice([*GUARDS, "none"]),
    help="Personal data in requests: masked, refused, or nobody looks.",
)

scarcity_option = click.option(
    "--scarcity",
    metavar="STEPS",
    help="What is tried when all is busy, as 'thinking,model,queue,batch', or 'refuse'.",
)
scarcity_budget_option = click.option(
    "--scarcity-budget",
    metavar="SHARE",
    help="The share of a budget from which on what is left is scarce too, 0 to 1.",
)


@command("set", example="haneul keys set research --thinking-max 2048")
@click.argument("name")
@thinking_option
@scarcity_option
@scarcity_budget_option
@click.option("--tenant", metavar="ID", help="Whose it is, where several have one of that name.")
@json_option
def set_key(name: str, tenant: str | None, as_json: bool, **wanted: str | None) -> None:
    """Changes what a key may do; a running cloud follows within seconds."""

    def change(connection: Connection) -> dict[str, str]:
        key = keys_service.find(connection, name, tenant_id=tenant)
        return _decided(connection, KEY, key.id, wanted)

    _tell(name, database(config()).run(change), as_json)


@command("rules", example="haneul routes rules chat --thinking-max 1024 --guard mask")
@click.argument("name")
@thinking_option
@guard_option
@click.option(
    "--keep-alive",
    "keep_alive_s",
    metavar="SECONDS",
    help="How long its embedded engine stays without requests; 0: for ever.",
)
@json_option
def set_model(name: str, as_json: bool, **wanted: str | None) -> None:
    """Changes what holds for requests of NAME, a route's or a model's, whoever asks.

    A running cloud follows within seconds.
    """
    check_name(name)
    _warn(wanted["guard"])
    _tell(name, database(config()).run(lambda c: _decided(c, MODEL, name, wanted)), as_json)


@command("set", example="haneul tenants set acme --cache deterministic --guard mask")
@click.argument("tenant")
@click.option(
    "--cache",
    type=click.Choice([*CACHES, "none"]),
    help="Which answers are given again: those that would be the same, or all.",
)
@click.option(
    "--cache-share",
    metavar="SHARE",
    help="What such an answer costs of its price, 0 to 1; without: nothing.",
)
@guard_option
@click.option(
    "--quality-loss-max",
    metavar="SHARE",
    help="By how much a derivative's perplexity may have grown, as 2%; 'none': no limit.",
)
@scarcity_option
@scarcity_budget_option
@json_option
def set_tenant(tenant: str, as_json: bool, **wanted: str | None) -> None:
    """Changes what holds for a tenant's requests; a running cloud follows within seconds."""
    _warn(wanted["guard"])

    def change(connection: Connection) -> dict[str, str]:
        tenants_service.find(connection, tenant)
        return _decided(connection, TENANT, tenant, wanted)

    _tell(tenant, database(config()).run(change), as_json)


@command("rules", example="haneul rules")
@json_option
def rules(as_json: bool) -> None:
    """Lists what was decided for tenants, keys and models."""
    rows = database(config()).run(queries.every)
    if as_json:
        print_json(rows)
        return
    print_table(
        ("OF", "NAME OR ID", "RULE", "VALUE"),
        [(row.owner_kind, row.owner_id, row.name, row.value) for row in rows],
        empty="Nothing was decided: see haneul keys set, haneul routes rules, haneul tenants set.",
    )


def _decided(
    connection: Connection, kind: str, owner_id: str, wanted: Mapping[str, str | None]
) -> dict[str, str]:
    """Decides what was said, and gives all that holds now. Raises BadRequest."""
    said = {name: value for name, value in wanted.items() if value is not None}
    if not said:
        raise BadRequest("Say what is to change: --help lists it.")
    for name, value in said.items():
        decide(connection, kind, owner_id, name, value, actor=actor())
    return of_owner(connection, kind, owner_id)


def _warn(guard: str | None) -> None:
    """Says at once what requests would be refused with."""
    needed = ("phonenumbers", "stdnum")
    if guard in GUARDS and not all(map(importlib.util.find_spec, needed)):
        click.echo(GuardUnavailable().message, err=True)


def _tell(name: str, holds: Mapping[str, str], as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "rules": holds})
        return
    said = ", ".join(f"{rule.replace('_', ' ')} {value}" for rule, value in holds.items())
    click.echo(f"{name}: {said or 'no rules'}.")
