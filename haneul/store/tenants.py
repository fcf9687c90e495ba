"""Queries about tenants and their users."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, insert, select, update

from haneul.store import schema
from haneul.store.rows import all_rows, one_row

DEFAULT = "default"  # the tenant that is there from the start


class TenantRow(Struct, frozen=True, kw_only=True):
    """Who is billed: a company or a team."""

    id: str
    name: str
    created_us: int
    closed_us: int | None = None


class UserRow(Struct, frozen=True, kw_only=True):
    """A person of a tenant."""

    id: str
    tenant_id: str
    name: str
    role: str
    created_us: int
    removed_us: int | None = None


def add(connection: Connection, row: TenantRow) -> None:
    connection.execute(insert(schema.tenant), [msgspec.structs.asdict(row)])


def get(connection: Connection, tenant_id: str) -> TenantRow | None:
    column = schema.tenant.c
    return one_row(connection, select(schema.tenant).where(column.id == tenant_id), TenantRow)


def lock(connection: Connection, tenant_id: str) -> None:
    """Until the transaction ends nobody else numbers invoices of the tenant.

    On SQLite every writing transaction holds the only write lock already.
    """
    mine = select(schema.tenant.c.id).where(schema.tenant.c.id == tenant_id)
    connection.execute(mine.with_for_update())


def every(connection: Connection) -> list[TenantRow]:
    """All, oldest first."""
    column = schema.tenant.c
    statement = select(schema.tenant).order_by(column.created_us, column.id)
    return all_rows(connection, statement, TenantRow)


def close(connection: Connection, tenant_id: str, at_us: int) -> None:
    statement = update(schema.tenant).where(schema.tenant.c.id == tenant_id)
    connection.execute(statement.values(closed_us=at_us))


def add_user(connection: Connection, row: UserRow) -> None:
    connection.execute(insert(schema.tenant_user), [msgspec.structs.asdict(row)])


def user(connection: Connection, user_id: str) -> UserRow | None:
    column = schema.tenant_user.c
    return one_row(connection, select(schema.tenant_user).where(column.id == user_id), UserRow)


def user_named(connection: Connection, tenant_id: str, name: str) -> UserRow | None:
    """The present user of that name or id in a tenant."""
    column = schema.tenant_user.c
    statement = select(schema.tenant_user).where(
        column.tenant_id == tenant_id,
        (column.name == name) | (column.id == name),
        column.removed_us.is_(None),
    )
    return one_row(connection, statement, UserRow)


def users(connection: Connection, tenant_id: str | None = None) -> list[UserRow]:
    """Those of a tenant or of all, oldest first, the removed ones too."""
    column = schema.tenant_user.c
    statement = select(schema.tenant_user).order_by(column.created_us, column.id)
    if tenant_id is not None:
        statement = statement.where(column.tenant_id == tenant_id)
    return all_rows(connection, statement, UserRow)


def change_user(
    connection: Connection, user_id: str, *, role: str | None = None, removed_us: int | None = None
) -> None:
    """Another role, or the user's end."""
    values: dict[str, str | int] = {}
    if role is not None:
        values["role"] = role
    if removed_us is not None:
        values["removed_us"] = removed_us
    statement = update(schema.tenant_user).where(schema.tenant_user.c.id == user_id)
    connection.execute(statement.values(**values))
