"""Queries about the models that are here."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, delete, insert, select, update

from haneul.store import schema
from haneul.store.rows import all_rows, one_row


class ModelRow(Struct, frozen=True, kw_only=True):
    """What a name means now: one verified file."""

    name: str
    digest: str
    path: str
    bytes: int
    source: str
    licence: str | None = None
    shape: str
    pulled_us: int
    removed_us: int | None = None
    revision: str | None = None  # of the hub; None: pulled before there were any


def put(connection: Connection, row: ModelRow) -> None:
    """Adds the model, or points its name at the new file."""
    connection.execute(delete(schema.model).where(schema.model.c.name == row.name))
    connection.execute(insert(schema.model), [msgspec.structs.asdict(row)])


def get(connection: Connection, name: str) -> ModelRow | None:
    column = schema.model.c
    statement = select(schema.model).where(column.name == name, column.removed_us.is_(None))
    return one_row(connection, statement, ModelRow)


def every(connection: Connection) -> list[ModelRow]:
    """Those not removed, by name."""
    column = schema.model.c
    statement = select(schema.model).where(column.removed_us.is_(None)).order_by(column.name)
    return all_rows(connection, statement, ModelRow)


def remove(connection: Connection, name: str, at_us: int) -> None:
    column = schema.model.c
    connection.execute(update(schema.model).where(column.name == name).values(removed_us=at_us))
