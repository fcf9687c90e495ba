"""Rows as frozen structs."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from sqlalchemy import Connection, Executable, RowMapping

T = TypeVar("T")


def all_rows(connection: Connection, statement: Executable, kind: type[T]) -> list[T]:
    """Every row of a query as a struct of the kind."""
    found = connection.execute(statement).mappings()
    return [_struct(row, kind) for row in found]


def one_row(connection: Connection, statement: Executable, kind: type[T]) -> T | None:
    """The first row of a query, or None."""
    found = connection.execute(statement).mappings().first()
    return None if found is None else _struct(found, kind)


def _struct(row: RowMapping, kind: type[T]) -> T:
    """Column names are a kind of str of SQLAlchemy's own, which msgspec does not take."""
    return msgspec.convert({str(name): value for name, value in row.items()}, kind)
