"""Queries about the files that clients put here and get from here."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, delete, func, insert, select

from haneul.store import schema
from haneul.store.rows import all_rows, one_row


class FileRow(Struct, frozen=True, kw_only=True):
    """What one file is; its bytes lie in home/files under its id."""

    id: str
    key_id: str
    purpose: str
    filename: str
    bytes: int
    created_us: int
    expires_us: int | None = None


def put(connection: Connection, row: FileRow) -> None:
    connection.execute(insert(schema.file), [msgspec.structs.asdict(row)])


def get(connection: Connection, key_id: str, file_id: str) -> FileRow | None:
    """One file of a key."""
    column = schema.file.c
    mine = select(schema.file).where(column.id == file_id, column.key_id == key_id)
    return one_row(connection, mine, FileRow)


def listed(
    connection: Connection,
    key_id: str,
    *,
    purpose: str | None,
    after: str | None,
    limit: int,
    is_newest_first: bool,
) -> list[FileRow]:
    """Files of a key by their ids, which sort by time."""
    column = schema.file.c
    mine = select(schema.file).where(column.key_id == key_id).limit(limit)
    if purpose is not None:
        mine = mine.where(column.purpose == purpose)
    if after is not None:
        mine = mine.where(column.id < after if is_newest_first else column.id > after)
    order = column.id.desc() if is_newest_first else column.id
    return all_rows(connection, mine.order_by(order), FileRow)


def held_bytes(connection: Connection, key_id: str) -> int:
    """What all files of a key take."""
    column = schema.file.c
    total = select(func.coalesce(func.sum(column.bytes), 0)).where(column.key_id == key_id)
    return int(connection.execute(total).scalar_one())


def known(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Which of the ids are of files that are there."""
    there = select(schema.file.c.id).where(schema.file.c.id.in_(ids))
    return set(connection.execute(there).scalars())


def remove(connection: Connection, file_id: str) -> None:
    connection.execute(delete(schema.file).where(schema.file.c.id == file_id))


def expired(connection: Connection, at_us: int) -> list[str]:
    """Ids of files whose time is over."""
    over = select(schema.file.c.id).where(schema.file.c.expires_us < at_us)
    return list(connection.execute(over).scalars())
