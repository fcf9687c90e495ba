"""Queries about API keys."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, func, insert, select, update

from haneul.store import schema
from haneul.store.rows import all_rows, one_row


class KeyRow(Struct, frozen=True, kw_only=True):
    """One key; lists are kept as JSON text."""

    id: str
    name: str
    hash: bytes
    scopes: str
    models: str | None = None
    budget_nano: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    created_us: int
    expires_us: int | None = None
    revoked_us: int | None = None


def add(connection: Connection, row: KeyRow) -> None:
    connection.execute(insert(schema.key), [msgspec.structs.asdict(row)])


def get(connection: Connection, key_id: str) -> KeyRow | None:
    return one_row(connection, select(schema.key).where(schema.key.c.id == key_id), KeyRow)


def named(connection: Connection, name: str) -> KeyRow | None:
    """The live key of that name, or of that id."""
    column = schema.key.c
    statement = select(schema.key).where(
        (column.name == name) | (column.id == name), column.revoked_us.is_(None)
    )
    return one_row(connection, statement, KeyRow)


def every(connection: Connection) -> list[KeyRow]:
    """All, oldest first."""
    column = schema.key.c
    return all_rows(connection, select(schema.key).order_by(column.created_us, column.id), KeyRow)


def revoke(connection: Connection, key_id: str, at_us: int) -> None:
    statement = update(schema.key).where(schema.key.c.id == key_id).values(revoked_us=at_us)
    connection.execute(statement)


def spent(connection: Connection, key_id: str) -> int:
    """Nano-units that the ledger holds against a key."""
    column = schema.request.c
    total = select(func.coalesce(func.sum(column.cost_nano), 0)).where(column.key_id == key_id)
    return int(connection.execute(total).scalar_one())
