"""Queries about rules: what was decided for a tenant, a key or a public model name."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, delete, insert, select

from haneul.store import schema
from haneul.store.rows import all_rows


class RuleRow(Struct, frozen=True, kw_only=True):
    """One decision; its value is text, whatever it means."""

    owner_kind: str  # tenant, key, model
    owner_id: str
    name: str
    value: str
    created_us: int


def put(connection: Connection, row: RuleRow) -> None:
    """Decides it, in the place of what was decided before."""
    remove(connection, row.owner_kind, row.owner_id, row.name)
    connection.execute(insert(schema.rule), [msgspec.structs.asdict(row)])


def remove(connection: Connection, owner_kind: str, owner_id: str, name: str) -> bool:
    """Whether there was a decision to take back."""
    column = schema.rule.c
    mine = (column.owner_kind == owner_kind) & (column.owner_id == owner_id) & (column.name == name)
    return connection.execute(delete(schema.rule).where(mine)).rowcount > 0


def every(connection: Connection) -> list[RuleRow]:
    """All, by owner and name."""
    column = schema.rule.c
    order = (column.owner_kind, column.owner_id, column.name)
    return all_rows(connection, select(schema.rule).order_by(*order), RuleRow)
