"""Queries about the ledger: what every request used and cost, and what the chips cost owned."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import BigInteger, Connection, Integer, Select, func, insert, select

from haneul.store import schema, spending
from haneul.store.rows import all_rows, one_row


class RequestRow(Struct, frozen=True, kw_only=True):
    """The terminal record of one request (see schema.request for the meaning of each column)."""

    id: str
    key_id: str
    app: str | None = None
    route: str
    model: str | None = None
    digest: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    chip: str | None = None
    state: str
    status: int
    error_code: str | None = None
    is_stream: int = 0
    metering: str = "none"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    price_id: str | None = None
    currency: str
    cost_nano: int = 0
    hour_nano: int = 0
    busy_us: int = 0
    upstream_id: str | None = None
    end_user: str | None = None
    received_us: int
    started_us: int | None = None
    first_token_us: int | None = None
    finished_us: int
    tenant_id: str = "default"
    user_id: str | None = None
    share_millionths: int = 1_000_000
    routed: str | None = None
    saved_nano: int | None = None
    thinking_max: int | None = None
    masked: int | None = None
    unit: str | None = None
    units: int | None = None
    tried: str | None = None


class ChipHourRow(Struct, frozen=True, kw_only=True):
    """What owning one chip cost over a stretch of time."""

    id: str
    chip: str
    currency: str
    from_us: int
    to_us: int
    cost_nano: int


class UsageRow(Struct, frozen=True, kw_only=True):
    """Sums over the requests of one key, model and engine."""

    key_id: str
    model: str | None
    engine: str | None
    currency: str
    requests: int
    failed: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_nano: int
    hour_nano: int


def append(connection: Connection, rows: Sequence[RequestRow]) -> None:
    """Adds terminal records, and what they cost to the sums of who pays.

    One that is there already raises IntegrityError.
    """
    statement = _insertion(connection.dialect.paramstyle)
    connection.exec_driver_sql(statement, [msgspec.structs.astuple(row) for row in rows])
    spending.add(connection, rows)


@lru_cache(maxsize=2)
def _insertion(paramstyle: str) -> str:
    """The driver's own statement: a row is bound once, not also built by SQLAlchemy."""
    names = RequestRow.__struct_fields__
    marks = ", ".join(["?" if paramstyle == "qmark" else "%s"] * len(names))
    return f"INSERT INTO request ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 - our columns


def known(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Which of the request ids have their terminal record."""
    statement = select(schema.request.c.id).where(schema.request.c.id.in_(ids))
    return set(connection.execute(statement).scalars())


def find(
    connection: Connection,
    request_id: str,
    *,
    key_id: str | None = None,
    tenant_id: str | None = None,
) -> RequestRow | None:
    """By request id, or by the id inside the answer (chatcmpl-…), which engines may repeat.

    Of one key, of one tenant or of all; of several answers with that id the newest.
    """
    column = schema.request.c
    mine = select(schema.request).order_by(column.received_us.desc()).limit(1)
    mine = _of(mine, key_id, tenant_id)
    return one_row(connection, mine.where(column.id == request_id), RequestRow) or one_row(
        connection, mine.where(column.upstream_id == request_id), RequestRow
    )


def recent(
    connection: Connection, *, key_id: str | None, tenant_id: str | None = None, limit: int
) -> list[RequestRow]:
    """The newest records, of one key, of one tenant or of all."""
    column = schema.request.c
    newest_first = (column.received_us.desc(), column.id.desc())
    statement = select(schema.request).order_by(*newest_first).limit(limit)
    return all_rows(connection, _of(statement, key_id, tenant_id), RequestRow)


def usage(
    connection: Connection,
    *,
    since_us: int,
    until_us: int,
    key_id: str | None = None,
    tenant_id: str | None = None,
) -> list[UsageRow]:
    """Sums per key, model and engine over requests received in [since, until)."""
    column = schema.request.c
    groups = (column.key_id, column.model, column.engine, column.currency)
    statement = (
        select(
            *groups,
            func.count().label("requests"),
            func.sum((column.state != "done").cast(Integer)).cast(BigInteger).label("failed"),
            *(
                func.sum(column[name]).cast(BigInteger).label(name)
                for name in (
                    "prompt_tokens",
                    "cached_tokens",
                    "completion_tokens",
                    "cost_nano",
                    "hour_nano",
                )
            ),
        )
        .where(column.received_us >= since_us, column.received_us < until_us)
        .group_by(*groups)
        .order_by(func.sum(column.cost_nano).desc())
    )
    return all_rows(connection, _of(statement, key_id, tenant_id), UsageRow)


def _of(statement: Select[Any], key_id: str | None, tenant_id: str | None) -> Select[Any]:
    """Only the records of a key or of a tenant, where one is said."""
    column = schema.request.c
    if key_id is not None:
        statement = statement.where(column.key_id == key_id)
    if tenant_id is not None:
        statement = statement.where(column.tenant_id == tenant_id)
    return statement


def append_chip_hour(connection: Connection, row: ChipHourRow) -> None:
    connection.execute(insert(schema.chip_hour), [msgspec.structs.asdict(row)])


def chip_hours(connection: Connection, *, since_us: int, until_us: int) -> list[ChipHourRow]:
    """The stretches that began in [since, until)."""
    column = schema.chip_hour.c
    statement = select(schema.chip_hour).where(
        column.from_us >= since_us, column.from_us < until_us
    )
    return all_rows(connection, statement.order_by(column.from_us), ChipHourRow)
