"""Queries about API keys."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, insert, select, update

from haneul.store import schema, spending
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
    tenant_id: str = "default"
    user_id: str | None = None
    role: str | None = None
    app: str | None = None


def add(connection: Connection, row: KeyRow) -> None:
    connection.execute(insert(schema.key), [msgspec.structs.asdict(row)])


def get(connection: Connection, key_id: str) -> KeyRow | None:
    return one_row(connection, select(schema.key).where(schema.key.c.id == key_id), KeyRow)


def named(connection: Connection, name: str, tenant_id: str | None = None) -> KeyRow | None:
    """The live key of that name, or of that id."""
    return next(iter(all_named(connection, name, tenant_id)), None)


def all_named(connection: Connection, name: str, tenant_id: str | None = None) -> list[KeyRow]:
    """The live keys of that name or id: a name is of one key in each tenant."""
    column = schema.key.c
    statement = select(schema.key).where(
        (column.name == name) | (column.id == name), column.revoked_us.is_(None)
    )
    if tenant_id is not None:
        statement = statement.where(column.tenant_id == tenant_id)
    return all_rows(connection, statement.order_by(column.created_us), KeyRow)


def every(connection: Connection, tenant_id: str | None = None) -> list[KeyRow]:
    """All, or those of a tenant, oldest first."""
    column = schema.key.c
    statement = select(schema.key).order_by(column.created_us, column.id)
    if tenant_id is not None:
        statement = statement.where(column.tenant_id == tenant_id)
    return all_rows(connection, statement, KeyRow)


def revoke(connection: Connection, key_id: str, at_us: int) -> None:
    statement = update(schema.key).where(schema.key.c.id == key_id).values(revoked_us=at_us)
    connection.execute(statement)


def spent(connection: Connection, key_id: str) -> int:
    """Nano-units that the ledger holds against a key."""
    return spending.total(connection, "key", key_id)
