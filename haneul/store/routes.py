"""Queries about routes: public names that lead to several models."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, delete, insert, select, update

from haneul.store import schema
from haneul.store.rows import all_rows


class RouteRow(Struct, frozen=True, kw_only=True):
    """One public name and where it leads."""

    name: str
    members: str  # JSON list of [model, weight or null]
    fallbacks: str  # JSON list of models, in order
    created_us: int
    removed_us: int | None = None
    scarce: str = "[]"  # JSON list of models, in order


def put(connection: Connection, row: RouteRow) -> None:
    """Adds the route, or replaces the one of that name."""
    connection.execute(delete(schema.route).where(schema.route.c.name == row.name))
    connection.execute(insert(schema.route), [msgspec.structs.asdict(row)])


def every(connection: Connection) -> list[RouteRow]:
    """Those not removed, by name."""
    column = schema.route.c
    statement = select(schema.route).where(column.removed_us.is_(None)).order_by(column.name)
    return all_rows(connection, statement, RouteRow)


def remove(connection: Connection, name: str, at_us: int) -> bool:
    """Whether there was one to remove."""
    column = schema.route.c
    statement = update(schema.route).where(column.name == name, column.removed_us.is_(None))
    return connection.execute(statement.values(removed_us=at_us)).rowcount > 0
