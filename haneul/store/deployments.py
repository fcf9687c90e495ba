"""Queries about engines that were started, what was foretold of them, and what they then did.

Forecasts are kept as the JSON they were said in; nothing here is ever changed.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, insert, select

from haneul.store import schema
from haneul.store.rows import all_rows, one_row

SERVED_MOST = 200_000  # records of the ledger that one look takes in, the newest


class DeploymentRow(Struct, frozen=True, kw_only=True):
    """One engine that was started; see schema.deployment for the meaning of each column."""

    id: str
    model: str
    digest: str
    engine: str
    engine_version: str
    haneul: str
    chip: str
    quantisation: str
    calibration: str | None = None
    slots: int
    context_tokens: int
    said: str
    started_us: int


class CalibrationRow(Struct, frozen=True, kw_only=True):
    """What this machine's forecasts are corrected by, from then on."""

    id: str
    chip: str
    haneul: str
    learned: str
    report: str
    created_us: int


class ServedRow(Struct, frozen=True, kw_only=True):
    """What the ledger knows of the time a request was inside an engine of ours."""

    id: str
    digest: str
    engine_version: str
    chip: str
    state: str
    is_stream: int
    metering: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    started_us: int
    first_token_us: int | None = None
    finished_us: int


def add(connection: Connection, row: DeploymentRow) -> None:
    connection.execute(insert(schema.plans.deployment), [msgspec.structs.asdict(row)])


def every(connection: Connection) -> list[DeploymentRow]:
    """All, oldest first."""
    table = schema.plans.deployment
    statement = select(table).order_by(table.c.started_us, table.c.id)
    return all_rows(connection, statement, DeploymentRow)


def formats(connection: Connection) -> dict[str, str]:
    """The quantisation of every file that was ever served, by its digest."""
    column = schema.plans.deployment.c
    statement = select(column.digest, column.quantisation).distinct()
    return {row.digest: row.quantisation for row in connection.execute(statement)}


def in_force(
    connection: Connection, *, digest: str, chip: str, engine_version: str, at_us: int
) -> DeploymentRow | None:
    """The last of a file on a chip with an engine that had started by then."""
    table = schema.plans.deployment
    statement = (
        select(table)
        .where(
            table.c.digest == digest,
            table.c.chip == chip,
            table.c.engine_version == engine_version,
            table.c.started_us <= at_us,
        )
        .order_by(table.c.started_us.desc(), table.c.id.desc())
        .limit(1)
    )
    return one_row(connection, statement, DeploymentRow)


def add_calibration(connection: Connection, row: CalibrationRow) -> None:
    connection.execute(insert(schema.plans.calibration), [msgspec.structs.asdict(row)])


def newest_calibration(connection: Connection, chip: str) -> CalibrationRow | None:
    """The one that holds for a chip; None where none was made."""
    table = schema.plans.calibration
    statement = select(table).where(table.c.chip == chip)
    statement = statement.order_by(table.c.created_us.desc(), table.c.id.desc()).limit(1)
    return one_row(connection, statement, CalibrationRow)


def served(connection: Connection, *, engine: str, most: int = SERVED_MOST) -> list[ServedRow]:
    """The newest requests that went into an engine of that name, oldest first.

    Ids begin with their time, so the newest are found by them, however long the ledger is.
    """
    column = schema.request.c
    wanted = [column[name] for name in ServedRow.__struct_fields__]
    statement = (
        select(*wanted)
        .where(
            column.engine == engine,
            column.started_us.is_not(None),
            column.digest.is_not(None),
            column.engine_version.is_not(None),
            column.chip.is_not(None),
        )
        .order_by(column.id.desc())
        .limit(most)
    )
    return all_rows(connection, statement, ServedRow)[::-1]
