"""Queries about batches and the results of their lines."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, delete, func, insert, select, update

from haneul.base.errors import Conflict
from haneul.store import files, schema
from haneul.store.files import FileRow
from haneul.store.rows import all_rows, one_row

GOOD = 200  # the status of a line that was answered


class BatchRow(Struct, frozen=True, kw_only=True):
    """One batch (see schema.batch for the meaning of each column)."""

    id: str
    key_id: str
    endpoint: str
    input_file_id: str
    labels: str | None = None
    state: str
    model: str | None = None
    errors: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    usage: str | None = None
    created_us: int
    expires_us: int
    in_progress_us: int | None = None
    finalizing_us: int | None = None
    cancelling_us: int | None = None
    ended_us: int | None = None


class LineRow(Struct, frozen=True, kw_only=True):
    """The result of one line, as it will stand in the output or the error file."""

    batch_id: str
    number: int
    status: int
    result: str
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0


class Counts(Struct, frozen=True):
    """How far a batch is, and the tokens of its answers."""

    completed: int
    failed: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int


def put(connection: Connection, row: BatchRow) -> None:
    connection.execute(insert(schema.batch), [msgspec.structs.asdict(row)])


def get(connection: Connection, key_id: str, batch_id: str) -> BatchRow | None:
    """One batch of a key."""
    column = schema.batch.c
    mine = select(schema.batch).where(column.id == batch_id, column.key_id == key_id)
    return one_row(connection, mine, BatchRow)


def of_id(connection: Connection, batch_id: str) -> BatchRow:
    """A batch that is there, whoever's."""
    row = one_row(connection, select(schema.batch).where(schema.batch.c.id == batch_id), BatchRow)
    assert row is not None
    return row


def listed(connection: Connection, key_id: str, *, after: str | None, limit: int) -> list[BatchRow]:
    """Batches of a key, the newest first; their ids sort by time."""
    column = schema.batch.c
    mine = select(schema.batch).where(column.key_id == key_id)
    if after is not None:
        mine = mine.where(column.id < after)
    return all_rows(connection, mine.order_by(column.id.desc()).limit(limit), BatchRow)


def in_states(connection: Connection, states: Collection[str]) -> list[BatchRow]:
    """Every batch in one of the states, the oldest first."""
    column = schema.batch.c
    those = select(schema.batch).where(column.state.in_(states)).order_by(column.id)
    return all_rows(connection, those, BatchRow)


def move(
    connection: Connection, batch_id: str, states: Collection[str], facts: dict[str, Any]
) -> bool:
    """Changes a batch that is in one of the states; whether it was."""
    column = schema.batch.c
    its = update(schema.batch).where(column.id == batch_id, column.state.in_(states))
    return connection.execute(its.values(**facts)).rowcount > 0


def keep_line(connection: Connection, row: LineRow) -> None:
    """Keeps the result of a line; one that is there already raises IntegrityError.

    Raises Conflict for a batch that has ended: its lines are in its files.
    """
    ended = select(schema.batch.c.ended_us).where(schema.batch.c.id == row.batch_id)
    if connection.execute(ended).scalar_one() is not None:
        raise Conflict("The batch has ended.")
    connection.execute(insert(schema.batch_line), [msgspec.structs.asdict(row)])


def done(connection: Connection, batch_id: str) -> set[int]:
    """The numbers of the lines that have a result."""
    column = schema.batch_line.c
    numbers = select(column.number).where(column.batch_id == batch_id)
    return set(connection.execute(numbers).scalars())


def results(connection: Connection, batch_id: str, *, after: int, limit: int) -> list[LineRow]:
    """So many results behind a line, in the order of the lines."""
    column = schema.batch_line.c
    some = select(schema.batch_line).where(column.batch_id == batch_id, column.number > after)
    return all_rows(connection, some.order_by(column.number).limit(limit), LineRow)


def counts(connection: Connection, batch_id: str) -> Counts:
    """How far a batch is."""
    column = schema.batch_line.c
    is_good = column.status == GOOD
    tokens = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
    statement = select(
        func.count().filter(is_good),
        func.count().filter(~is_good),
        *(func.coalesce(func.sum(column[name]), 0) for name in tokens),
    ).where(column.batch_id == batch_id)
    return Counts(*(int(value) for value in connection.execute(statement).one()))


def finish(
    connection: Connection, batch_id: str, made: Sequence[FileRow], facts: dict[str, Any]
) -> None:
    """Ends a batch: what its lines gave is in files from now on, and no more here."""
    present = files.known(connection, [row.id for row in made])
    for row in made:
        if row.id not in present:
            files.put(connection, row)
    lines = schema.batch_line
    connection.execute(delete(lines).where(lines.c.batch_id == batch_id))
    connection.execute(update(schema.batch).where(schema.batch.c.id == batch_id).values(**facts))


def uses(connection: Connection, file_id: str, states: Collection[str]) -> bool:
    """Whether a batch in one of the states reads the file."""
    column = schema.batch.c
    readers = select(column.id).where(column.input_file_id == file_id, column.state.in_(states))
    return connection.execute(readers.limit(1)).first() is not None


def open_count(connection: Connection, key_id: str, states: Collection[str]) -> int:
    """How many batches of a key are in one of the states."""
    column = schema.batch.c
    mine = select(func.count()).where(column.key_id == key_id, column.state.in_(states))
    return int(connection.execute(mine).scalar_one())


def remove_ended(connection: Connection, before_us: int) -> int:
    """Deletes the batches that ended before a time; how many they were."""
    ended = delete(schema.batch).where(schema.batch.c.ended_us < before_us)
    return connection.execute(ended).rowcount
