"""`haneul routes`: public names that lead to several models."""

from __future__ import annotations

import click
import msgspec
from sqlalchemy import Connection

from haneul.base.errors import NotFound
from haneul.base.units import now_us
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.rules import set_model
from haneul.cli.show import print_json, print_table
from haneul.services.routes import Member, Route, parse, route_of, row_of, show
from haneul.store import audit
from haneul.store import engines as engine_queries
from haneul.store import models as model_queries
from haneul.store import routes as queries
from haneul.store.database import Database
from haneul.store.routes import RouteRow


@command("set", example="haneul routes set chat qwen3:0.6b vllm/qwen --fallback openai/gpt-5-mini")
@click.argument("name")
@click.argument("members", nargs=-1, required=True, metavar="MODEL[=WEIGHT] ...")
@click.option("--fallback", "fallbacks", multiple=True, help="A model asked when the others fail.")
@click.option("--scarce", multiple=True, help="A smaller model asked when the others are busy.")
@json_option
def set_(
    name: str,
    members: tuple[str, ...],
    fallbacks: tuple[str, ...],
    scarce: tuple[str, ...],
    as_json: bool,
) -> None:
    """Makes NAME lead to models: to the best of them at the moment, or by their weights.

    A running cloud follows within seconds.
    """
    route = parse(name, members, fallbacks, scarce)
    store = database(config())
    store.run(_put, route)
    missing = sorted(_named(route) - _known(store))
    if as_json:
        print_json({**show(route), "not_here": missing})
        return
    click.echo(f"{name} leads to {_leads(route)}.")
    if missing:
        click.echo(f"Not here yet: {', '.join(missing)}.", err=True)


@command("ls", example="haneul routes ls")
@json_option
def ls(as_json: bool) -> None:
    """Lists the names that lead to several models."""
    routes = [route_of(row) for row in database(config()).run(queries.every)]
    if as_json:
        print_json([show(route) for route in routes])
        return
    print_table(
        ("NAME", "LEADS TO", "FALLBACKS"),
        [(route.name, _members(route), ", ".join(route.fallbacks) or "none") for route in routes],
        empty="No routes: haneul routes set NAME MODEL …",
    )


@command("rm", example="haneul routes rm chat")
@click.argument("name")
@json_option
def rm(name: str, as_json: bool) -> None:
    """Takes a name away; the models it led to are not touched."""
    database(config()).run(_remove, name)
    if as_json:
        print_json({"removed": name})
    else:
        click.echo(f"Removed {name}.")


def _put(connection: Connection, route: Route) -> None:
    row, before = row_of(route), _row(connection, route.name)
    queries.put(connection, row)
    said = _leads(route)
    audit.note(connection, actor(), "route.set", row.name, said, before=before, after=row)


def _remove(connection: Connection, name: str) -> None:
    before = _row(connection, name)
    if before is None or not queries.remove(connection, name, now_us()):
        raise NotFound(f"there is no route '{name}'")
    audit.note(connection, actor(), "route.remove", name, before=before)


def _row(connection: Connection, name: str) -> RouteRow | None:
    return {row.name: row for row in queries.every(connection)}.get(name)


def _leads(route: Route) -> str:
    then = f", then {', '.join(route.fallbacks)}" if route.fallbacks else ""
    scarce = f"; when all are busy to {', '.join(route.scarce)}" if route.scarce else ""
    return _members(route) + then + scarce


def _members(route: Route) -> str:
    return ", ".join(_member(member) for member in route.members)


def _member(member: Member) -> str:
    return member.model if member.weight is None else f"{member.model}={member.weight}"


def _named(route: Route) -> set[str]:
    return {member.model for member in route.members} | {*route.fallbacks, *route.scarce}


def _known(store: Database) -> set[str]:
    """The names of models that are here, or that an engine serves."""
    known = {row.name for row in store.run(model_queries.every)}
    for row in store.run(engine_queries.every):
        served = msgspec.json.decode(row.models, type=list[str])
        known |= {*served, *(f"{row.name}/{model}" for model in served)}
    return known


routes = click.Group(
    "routes", help="Names that lead to several models.", commands=[set_, set_model, ls, rm]
)
