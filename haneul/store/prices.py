"""Queries about prices: append-only versions, each in force from its moment until the next.

A price that was set begins at `from_us`; a computed one has 0 there and holds until somebody sets
one. Of two with the same beginning the later made holds.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, func, insert, select

from haneul.base.units import now_us
from haneul.store import schema
from haneul.store.rows import all_rows, one_row

ANY_MODEL = "*"  # the price of an engine's models that have none of their own
NEWEST_FIRST = (
    schema.price.c.from_us.desc(),
    schema.price.c.created_us.desc(),
    schema.price.c.id.desc(),
)


class PriceRow(Struct, frozen=True, kw_only=True):
    """Nano-units per million tokens, and per hour of the chip (0 for a provider's)."""

    id: str
    model: str
    engine: str
    currency: str
    input_nano: int
    cached_nano: int
    output_nano: int
    hour_nano: int = 0
    basis: str = "{}"
    created_us: int
    reasoning_nano: int | None = None  # None: as the other tokens of an answer
    from_us: int = 0  # 0: computed, not set
    unit: str | None = None  # what is paid beside tokens
    unit_nano: int | None = None  # for a million of it


def add(connection: Connection, row: PriceRow) -> None:
    connection.execute(insert(schema.price), [msgspec.structs.asdict(row)])


def get(connection: Connection, price_id: str) -> PriceRow | None:
    statement = select(schema.price).where(schema.price.c.id == price_id)
    return one_row(connection, statement, PriceRow)


def in_force(
    connection: Connection, model: str, engine: str, *, at_us: int | None = None
) -> PriceRow | None:
    """The price of the model on the engine at a moment; without one, now."""
    column = schema.price.c
    statement = (
        select(schema.price)
        .where(
            column.model == model,
            column.engine == engine,
            column.from_us <= (now_us() if at_us is None else at_us),
        )
        .order_by(*NEWEST_FIRST)
        .limit(1)
    )
    return one_row(connection, statement, PriceRow)


def all_in_force(connection: Connection, *, at_us: int) -> list[PriceRow]:
    """The price of every model on every engine at a moment."""
    column = schema.price.c
    rank = func.row_number().over(partition_by=(column.model, column.engine), order_by=NEWEST_FIRST)
    ranked = select(column.id, rank.label("rank")).where(column.from_us <= at_us).subquery()
    first = select(ranked.c.id).where(ranked.c.rank == 1)
    return all_rows(connection, select(schema.price).where(column.id.in_(first)), PriceRow)


def upcoming(connection: Connection, *, after_us: int) -> list[PriceRow]:
    """Prices that begin after a moment, the first to begin first."""
    column = schema.price.c
    statement = select(schema.price).where(column.from_us > after_us)
    return all_rows(connection, statement.order_by(column.from_us, column.created_us), PriceRow)


def history(connection: Connection, model: str | None = None) -> list[PriceRow]:
    """Every price a model ever had, or of all models, newest first."""
    statement = select(schema.price)
    if model is not None:
        statement = statement.where(schema.price.c.model == model)
    return all_rows(connection, statement.order_by(*NEWEST_FIRST), PriceRow)
