"""Queries about matrix rows that came from other installations."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, func, insert, select

from haneul.store import schema
from haneul.store.rows import all_rows

IDS_AT_ONCE = 500  # in one question; databases bound the parameters of a statement


class TakenRow(Struct, frozen=True, kw_only=True):
    """A row as it was signed; see schema.matrix_row."""

    id: str
    signer: str
    signature: str
    model: str
    digest: str
    chip: str
    written: str
    taken_us: int


def add(connection: Connection, rows: list[TakenRow]) -> None:
    """Keeps rows that are not there yet."""
    if rows:
        connection.execute(insert(schema.matrix_row), [msgspec.structs.asdict(row) for row in rows])


def those_there(connection: Connection, ids: list[str]) -> set[str]:
    """Which of the ids are kept already."""
    column = schema.matrix_row.c.id
    found: set[str] = set()
    for start in range(0, len(ids), IDS_AT_ONCE):
        some = ids[start : start + IDS_AT_ONCE]
        found |= set(connection.execute(select(column).where(column.in_(some))).scalars())
    return found


def count(connection: Connection) -> int:
    """How many rows are kept."""
    return connection.execute(select(func.count()).select_from(schema.matrix_row)).scalar_one()


def of(connection: Connection, signers: Collection[str]) -> list[TakenRow]:
    """The rows of these signers, oldest first."""
    column = schema.matrix_row.c
    statement = (
        select(schema.matrix_row)
        .where(column.signer.in_(list(signers)))
        .order_by(column.taken_us, column.id)
    )
    return all_rows(connection, statement, TakenRow)
