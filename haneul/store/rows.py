"""Rows as frozen structs."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from sqlalchemy import Connection, Executable

T = TypeVar("T")


def all_rows(connection: Connection, statement: Executable, kind: type[T]) -> list[T]:
    """Every row of a query as a struct of the kind."""
    found = connection.execute(statement).mappings()
    return [msgspec.convert(dict(row), kind, strict=False) for row in found]


def one_row(connection: Connection, statement: Executable, kind: type[T]) -> T | None:
    """The first row of a query, or None."""
    found = connection.execute(statement).mappings().first()
    return None if found is None else msgspec.convert(dict(found), kind, strict=False)
