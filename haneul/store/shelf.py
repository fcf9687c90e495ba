"""Queries about what the hub offers: light ones, that read no list of files, and who took what."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from haneul.store import schema
from haneul.store.rows import all_rows


class StateRow(Struct, frozen=True, kw_only=True):
    """One revision of a model, without its files."""

    model: str
    id: str
    bytes: int
    source: str
    licence: str | None
    created_us: int
    withdrawn_us: int | None
    reason: str | None


class PullRow(Struct, frozen=True, kw_only=True):
    """What a key took of a model on a day."""

    model: str
    key_id: str
    day: int
    pulls: int
    bytes: int


def states(connection: Connection, model: str | None = None) -> list[StateRow]:
    """The revisions of a model or of all, the newest first, the withdrawn ones too."""
    table = schema.hub.revision
    columns = [table.c[name] for name in StateRow.__struct_fields__]
    newest = (table.c.created_us.desc(), table.c.model, table.c.id)
    statement = select(*columns).order_by(*newest)
    if model is not None:
        statement = statement.where(table.c.model == model)
    return all_rows(connection, statement, StateRow)


def models(connection: Connection) -> list[str]:
    """The names of all models that have a revision, in order."""
    column = schema.hub.revision.c.model
    return list(connection.execute(select(column).distinct().order_by(column)).scalars())


def count(connection: Connection, rows: Iterable[PullRow]) -> None:
    """Adds what was taken to what is noted; several processes may do that at once."""
    places = ("model", "key_id", "day")
    for row in sorted(rows, key=lambda row: (row.model, row.key_id, row.day)):
        if not _add(connection, row, places):
            try:
                with connection.begin_nested():
                    connection.execute(insert(schema.hub.pull_count), [msgspec.structs.asdict(row)])
            except IntegrityError:  # another process was first
                _add(connection, row, places)


def _add(connection: Connection, row: PullRow, places: tuple[str, ...]) -> bool:
    """Whether there was something to add to."""
    column = schema.hub.pull_count.c
    mine = [column[name] == getattr(row, name) for name in places]
    more = {"pulls": column.pulls + row.pulls, "bytes": column.bytes + row.bytes}
    return (
        connection.execute(update(schema.hub.pull_count).where(*mine).values(**more)).rowcount > 0
    )


def pulls(connection: Connection) -> dict[str, int]:
    """How often each model was taken."""
    table = schema.hub.pull_count
    statement = select(table.c.model, func.sum(table.c.pulls)).group_by(table.c.model)
    return {model: int(number) for model, number in connection.execute(statement)}


def every_pull(connection: Connection) -> list[PullRow]:
    """Who took what and when, the newest days first."""
    column = schema.hub.pull_count.c
    newest = (column.day.desc(), column.model, column.key_id)
    return all_rows(connection, select(schema.hub.pull_count).order_by(*newest), PullRow)


def pulls_of(connection: Connection, model: str) -> list[PullRow]:
    """Who took a model and when, the newest days first."""
    table = schema.hub.pull_count
    newest = (table.c.day.desc(), table.c.key_id)
    return all_rows(
        connection, select(table).where(table.c.model == model).order_by(*newest), PullRow
    )
