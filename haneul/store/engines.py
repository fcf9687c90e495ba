"""Queries about remote engines: any URL that speaks the OpenAI protocol."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, delete, insert, select, update

from haneul.store import schema
from haneul.store.rows import all_rows


class EngineRow(Struct, frozen=True, kw_only=True):
    """A remote engine; its provider key stays in the file that is named."""

    name: str
    url: str
    key_file: str | None = None
    models: str
    created_us: int
    removed_us: int | None = None
    shares_prefixes: int = 0  # whether its prefix cache is worth waiting for
    own_slots: int | None = None  # answers at a time of one's own hardware; None: a provider's
    thinking_field: str | None = None  # that bounds thoughts; None: unknown: see services.thinking


def put(connection: Connection, row: EngineRow) -> None:
    """Adds the engine, or replaces the one of that name."""
    connection.execute(delete(schema.engine).where(schema.engine.c.name == row.name))
    connection.execute(insert(schema.engine), [msgspec.structs.asdict(row)])


def every(connection: Connection) -> list[EngineRow]:
    """Those not removed, by name."""
    column = schema.engine.c
    statement = select(schema.engine).where(column.removed_us.is_(None)).order_by(column.name)
    return all_rows(connection, statement, EngineRow)


def remove(connection: Connection, name: str, at_us: int) -> bool:
    """Whether there was one to remove."""
    column = schema.engine.c
    statement = update(schema.engine).where(column.name == name, column.removed_us.is_(None))
    return connection.execute(statement.values(removed_us=at_us)).rowcount > 0
