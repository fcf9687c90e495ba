"""Queries about prices: append-only versions, the newest of a model on an engine in force."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, insert, select

from haneul.store import schema
from haneul.store.rows import all_rows, one_row

ANY_MODEL = "*"  # the price of an engine's models that have none of their own


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


def add(connection: Connection, row: PriceRow) -> None:
    connection.execute(insert(schema.price), [msgspec.structs.asdict(row)])


def get(connection: Connection, price_id: str) -> PriceRow | None:
    statement = select(schema.price).where(schema.price.c.id == price_id)
    return one_row(connection, statement, PriceRow)


def in_force(connection: Connection, model: str, engine: str) -> PriceRow | None:
    """The newest price of the model on the engine."""
    column = schema.price.c
    statement = (
        select(schema.price)
        .where(column.model == model, column.engine == engine)
        .order_by(column.created_us.desc(), column.id.desc())
        .limit(1)
    )
    return one_row(connection, statement, PriceRow)


def history(connection: Connection, model: str) -> list[PriceRow]:
    """Every price a model ever had, newest first."""
    column = schema.price.c
    statement = select(schema.price).where(column.model == model).order_by(column.created_us.desc())
    return all_rows(connection, statement, PriceRow)
