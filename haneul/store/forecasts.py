"""Queries about forecasts and the measurements that score them.

Values are thousandths of their unit, as integers, so that both databases keep them exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, insert, select

from haneul.store import schema
from haneul.store.rows import all_rows, one_row


class ForecastRow(Struct, frozen=True, kw_only=True):
    """What was said before."""

    id: str
    model: str
    digest: str | None = None
    chip: str
    kind: str
    low: int
    mid: int
    high: int
    unit: str
    source: str
    created_us: int


class MeasurementRow(Struct, frozen=True, kw_only=True):
    """What happened."""

    id: str
    model: str
    digest: str
    chip: str
    engine_version: str
    kind: str
    value: int
    unit: str
    created_us: int


def add_forecasts(connection: Connection, rows: list[ForecastRow]) -> None:
    connection.execute(insert(schema.forecast), [msgspec.structs.asdict(row) for row in rows])


def add_measurements(connection: Connection, rows: list[MeasurementRow]) -> None:
    connection.execute(insert(schema.measurement), [msgspec.structs.asdict(row) for row in rows])


def forecasts(connection: Connection) -> list[ForecastRow]:
    """All, oldest first."""
    statement = select(schema.forecast).order_by(schema.forecast.c.created_us)
    return all_rows(connection, statement, ForecastRow)


def measurements(connection: Connection) -> list[MeasurementRow]:
    """All, oldest first."""
    statement = select(schema.measurement).order_by(schema.measurement.c.created_us)
    return all_rows(connection, statement, MeasurementRow)


def newest(
    connection: Connection, *, digest: str, chip: str, engine_version: str, kind: str
) -> MeasurementRow | None:
    """The last measurement of a model file on a chip with an engine."""
    column = schema.measurement.c
    statement = (
        select(schema.measurement)
        .where(
            column.digest == digest,
            column.chip == chip,
            column.engine_version == engine_version,
            column.kind == kind,
        )
        .order_by(column.created_us.desc())
        .limit(1)
    )
    return one_row(connection, statement, MeasurementRow)


def newest_of_files(
    connection: Connection, *, digests: Iterable[str], chip: str, kinds: Iterable[str], most: int
) -> list[MeasurementRow]:
    """The newest of each kind of each model file on a chip, `most` of each at most, oldest first.

    Asked by file and kind, as the index is: what else was measured costs nothing.
    """
    column = schema.measurement.c
    found: list[MeasurementRow] = []
    for digest, kind in product(digests, kinds):
        statement = (
            select(schema.measurement)
            .where(column.digest == digest, column.chip == chip, column.kind == kind)
            .order_by(column.created_us.desc())
            .limit(most)
        )
        found += all_rows(connection, statement, MeasurementRow)
    return sorted(found, key=lambda row: (row.created_us, row.id))


def newest_of_chip(
    connection: Connection, *, chip: str, kind: str, most: int
) -> list[MeasurementRow]:
    """The newest of a kind that is the chip's own and no model's, newest first."""
    column = schema.measurement.c
    statement = (
        select(schema.measurement)
        .where(column.digest == "", column.chip == chip, column.kind == kind)
        .order_by(column.created_us.desc())
        .limit(most)
    )
    return all_rows(connection, statement, MeasurementRow)
