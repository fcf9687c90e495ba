"""Queries about limits: money by period, rates, and how much may run at once.

A limit that changes ends, and another begins: what held when stays known.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, insert, select, update

from haneul.store import schema
from haneul.store.rows import all_rows, one_row


class BudgetRow(Struct, frozen=True, kw_only=True):
    """One limit of one owner."""

    id: str
    tenant_id: str
    owner_kind: str  # key, user, tenant, app
    owner_id: str  # of an app its name
    measure: str  # money, requests, tokens, concurrency
    period: str  # of money: total, day, week, month
    amount: int  # nano-units, or how many
    created_us: int
    ended_us: int | None = None


def put(connection: Connection, row: BudgetRow) -> None:
    """Adds a limit; one of the same owner, measure and period ends."""
    column = schema.budget.c
    same = (
        (column.tenant_id == row.tenant_id)
        & (column.owner_kind == row.owner_kind)
        & (column.owner_id == row.owner_id)
        & (column.measure == row.measure)
        & (column.period == row.period)
    )
    before = update(schema.budget).where(same, column.ended_us.is_(None))
    connection.execute(before.values(ended_us=row.created_us))
    connection.execute(insert(schema.budget), [msgspec.structs.asdict(row)])


def end(connection: Connection, budget_id: str, at_us: int) -> BudgetRow | None:
    """Ends a limit that holds; None where there is none."""
    column = schema.budget.c
    mine = (column.id == budget_id) & column.ended_us.is_(None)
    row = one_row(connection, select(schema.budget).where(mine), BudgetRow)
    connection.execute(update(schema.budget).where(mine).values(ended_us=at_us))
    return row


def of_tenant(connection: Connection, tenant_id: str | None = None) -> list[BudgetRow]:
    """Those that hold, of a tenant or of all."""
    column = schema.budget.c
    statement = select(schema.budget).where(column.ended_us.is_(None))
    if tenant_id is not None:
        statement = statement.where(column.tenant_id == tenant_id)
    return all_rows(connection, statement.order_by(column.created_us, column.id), BudgetRow)


def of_key(
    connection: Connection, *, tenant_id: str, key_id: str, user_id: str | None
) -> list[BudgetRow]:
    """Those that can hold for a request of a key, whatever app it comes from."""
    column = schema.budget.c
    kind, owner = column.owner_kind, column.owner_id
    statement = select(schema.budget).where(
        column.tenant_id == tenant_id,
        column.ended_us.is_(None),
        ((kind == "key") & (owner == key_id))
        | ((kind == "user") & (owner == (user_id or "")))
        | (kind == "tenant")
        | (kind == "app"),
    )
    return all_rows(connection, statement.order_by(column.created_us, column.id), BudgetRow)
