"""Queries about answers that may be given again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, delete, func, insert, select, update

from haneul.store import schema
from haneul.store.rows import all_rows

Blob = bytes  # by another name, as a field below is called bytes


class CachedRow(Struct, frozen=True, kw_only=True):
    """A whole answer of an engine, under the digest of whose, of what, and to what it is."""

    digest: Blob
    tenant_id: str
    body: Blob
    bytes: int
    created_us: int
    used_us: int


def find(
    connection: Connection, tenant_id: str, digests: Sequence[Blob], *, since_us: int
) -> list[CachedRow]:
    """Those of a tenant that were made since that moment, the newest first."""
    column = schema.cached_answer.c
    mine = select(schema.cached_answer).where(
        column.digest.in_(digests), column.tenant_id == tenant_id, column.created_us >= since_us
    )
    return all_rows(connection, mine.order_by(column.created_us.desc()), CachedRow)


def put(connection: Connection, row: CachedRow) -> None:
    """Keeps an answer, in the place of an older one."""
    column = schema.cached_answer.c
    connection.execute(delete(schema.cached_answer).where(column.digest == row.digest))
    connection.execute(insert(schema.cached_answer), [msgspec.structs.asdict(row)])


def used(connection: Connection, moments_us: Mapping[Blob, int]) -> None:
    """When answers were last given."""
    column = schema.cached_answer.c
    for digest, at_us in moments_us.items():
        mine = update(schema.cached_answer).where(column.digest == digest)
        connection.execute(mine.values(used_us=at_us))


def prune(connection: Connection, *, before_us: int, most_bytes: int) -> None:
    """Forgets what is older, and of the rest what was not used for longest beyond so many bytes."""
    column = schema.cached_answer.c
    connection.execute(delete(schema.cached_answer).where(column.created_us < before_us))
    latest_first = (column.used_us.desc(), column.digest)
    running = func.sum(column.bytes).over(order_by=latest_first)
    sums = select(column.digest, running.label("held")).subquery()
    beyond = select(sums.c.digest).where(sums.c.held > most_bytes)
    connection.execute(delete(schema.cached_answer).where(column.digest.in_(beyond)))


def forget_tenant(connection: Connection, tenant_id: str) -> None:
    """Forgets every answer of a tenant."""
    connection.execute(
        delete(schema.cached_answer).where(schema.cached_answer.c.tenant_id == tenant_id)
    )


def held(connection: Connection) -> tuple[int, int]:
    """How many answers are kept, and their bytes."""
    column = schema.cached_answer.c
    found = connection.execute(select(func.count(), func.coalesce(func.sum(column.bytes), 0)))
    count, size = found.one()
    return int(count), int(size)
