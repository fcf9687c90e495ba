"""Queries about first answers, kept for clients that send their request again."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, delete, func, insert, select

from haneul.store import schema
from haneul.store.rows import one_row

Blob = bytes  # by another name, as a field below is called bytes


class ReplayRow(Struct, frozen=True, kw_only=True):
    """The first answer to one Idempotency-Key; no content type where it was too large to keep."""

    key_id: str
    name: str
    digest: Blob
    request_id: str
    content_type: str
    body: Blob
    bytes: int
    created_us: int


def get(connection: Connection, key_id: str, name: str, *, since_us: int) -> ReplayRow | None:
    """The answer, if it was given since that moment."""
    column = schema.replay.c
    mine = select(schema.replay).where(
        column.key_id == key_id, column.name == name, column.created_us >= since_us
    )
    return one_row(connection, mine, ReplayRow)


def put(connection: Connection, row: ReplayRow) -> None:
    """Keeps an answer in the place of one that is forgotten by now."""
    column = schema.replay.c
    mine = (column.key_id == row.key_id) & (column.name == row.name)
    connection.execute(delete(schema.replay).where(mine))
    connection.execute(insert(schema.replay), [msgspec.structs.asdict(row)])


def prune(connection: Connection, *, before_us: int, most_bytes: int) -> None:
    """Forgets what is older, and of the rest the oldest beyond so many bytes."""
    column = schema.replay.c
    connection.execute(delete(schema.replay).where(column.created_us < before_us))
    newest_first = column.created_us.desc()
    running = func.sum(column.bytes).over(order_by=(newest_first, column.key_id, column.name))
    sums = select(column.created_us, running.label("held")).subquery()
    cut = select(func.max(sums.c.created_us)).where(sums.c.held > most_bytes)
    if (cut_us := connection.execute(cut).scalar_one()) is not None:
        connection.execute(delete(schema.replay).where(column.created_us <= cut_us))
