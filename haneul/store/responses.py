"""Queries about the responses that clients may find again."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Integer, delete, func, insert, literal, select, update

from haneul.store import schema
from haneul.store.rows import all_rows, one_row

CHAIN_MAX = 1000  # responses of one conversation
SEVERAL = 200  # rows of one statement, within the parameters that a database takes


class ResponseRow(Struct, frozen=True, kw_only=True):
    """One response with the input of its own request, both JSON."""

    id: str
    key_id: str
    previous_id: str | None = None
    input: str
    response: str
    bytes: int
    created_us: int
    used_us: int


class Link(Struct, frozen=True):
    """A response of a conversation, without what it holds."""

    id: str
    previous_id: str | None
    bytes: int
    depth: int


def get(connection: Connection, key_id: str, response_id: str) -> ResponseRow | None:
    """One response of a key."""
    column = schema.response.c
    mine = select(schema.response).where(column.id == response_id, column.key_id == key_id)
    return one_row(connection, mine, ResponseRow)


def chain(connection: Connection, key_id: str, response_id: str) -> list[Link]:
    """A response and those that it continues, the oldest first, as far back as they are there."""
    column = schema.response.c
    facts = (column.id, column.previous_id, column.bytes)
    newest = select(*facts, literal(0, Integer).label("depth")).where(
        column.id == response_id, column.key_id == key_id
    )
    links = newest.cte("links", recursive=True)
    before = select(*facts, links.c.depth + 1).where(
        column.id == links.c.previous_id,
        column.key_id == key_id,
        links.c.depth < CHAIN_MAX,
    )
    links = links.union_all(before)
    return all_rows(connection, select(links).order_by(links.c.depth.desc()), Link)


def several(connection: Connection, ids: Sequence[str]) -> dict[str, ResponseRow]:
    """Responses by id; those that are gone are left out."""
    found: dict[str, ResponseRow] = {}
    for at in range(0, len(ids), SEVERAL):
        some = select(schema.response).where(schema.response.c.id.in_(ids[at : at + SEVERAL]))
        found |= {row.id: row for row in all_rows(connection, some, ResponseRow)}
    return found


def put(connection: Connection, row: ResponseRow, used: Sequence[str], room_bytes: int) -> None:
    """Adds a response and notes that those it continues were used.

    Where its key then has more than so many bytes, the longest unused of its responses go.
    """
    connection.execute(insert(schema.response), [msgspec.structs.asdict(row)])
    column = schema.response.c
    for at in range(0, len(used), SEVERAL):
        these = column.id.in_(used[at : at + SEVERAL])
        connection.execute(update(schema.response).where(these).values(used_us=row.used_us))
    _make_room(connection, row.key_id, room_bytes)


def _make_room(connection: Connection, key_id: str, room_bytes: int) -> None:
    column = schema.response.c
    mine = column.key_id == key_id
    total = select(func.coalesce(func.sum(column.bytes), 0)).where(mine)
    over = int(connection.execute(total).scalar_one()) - room_bytes
    if over <= 0:
        return
    oldest = select(column.id, column.bytes).where(mine).order_by(column.used_us, column.id)
    going: list[str] = []
    for response_id, size in connection.execute(oldest):
        if over <= 0:
            break
        going.append(response_id)
        over -= size
    for at in range(0, len(going), SEVERAL):
        connection.execute(delete(schema.response).where(column.id.in_(going[at : at + SEVERAL])))


def remove(connection: Connection, key_id: str, response_id: str) -> bool:
    """Deletes one response of a key; whether it was there."""
    column = schema.response.c
    mine = delete(schema.response).where(column.id == response_id, column.key_id == key_id)
    return connection.execute(mine).rowcount > 0


def remove_unused(connection: Connection, before_us: int) -> int:
    """Deletes the responses last used before a time; how many they were."""
    unused = delete(schema.response).where(schema.response.c.used_us < before_us)
    return connection.execute(unused).rowcount
