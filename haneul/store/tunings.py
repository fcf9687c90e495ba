"""Queries about tuning: each search for a model's best setup on a chip, and all it measured.

The trials are the model-chip matrix: model x chip x setup -> tokens/s, waiting time, memory,
quality. Rates are thousandths of a token per second, losses millionths of the perplexity, so that
both databases keep them exactly.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, insert, select

from haneul.store import schema
from haneul.store.rows import all_rows, one_row


class TrialRow(Struct, frozen=True, kw_only=True):
    """One setup that was tried; its figures are medians, None where there is none."""

    id: str
    tuning_id: str
    model: str
    digest: str
    chip: str
    setup: str  # JSON of services.setup.Setup
    kernel: str | None = None  # as the engine named itself, with its version
    state: str  # measured, lost
    reason: str | None = None  # why it was lost
    rounds: int = 0
    single_milli: int | None = None  # tok/s of one stream
    together_milli: int | None = None  # tok/s of several with prompts of their own
    shared_milli: int | None = None  # tok/s of several whose prompts begin alike
    ttft_us: int | None = None  # to the first token, alone
    together_ttft_us: int | None = None  # the same beside the others, median
    spread_millionths: int | None = None  # half the range of the rounds over their median
    memory_bytes: int | None = None  # resident, all processes of the engine
    loss_low: int | None = None  # of quality: perplexity over the unchanged file's, less 1
    loss_mid: int | None = None
    loss_high: int | None = None
    created_us: int  # when it was begun
    long_milli: int | None = None  # tok/s of one stream behind a long text that is in memory


class TuningRow(Struct, frozen=True, kw_only=True):
    """One search and its result; the newest of a key holds."""

    id: str
    model: str
    digest: str
    chip: str
    versions: str  # of everything that could change the result
    purpose: str  # what the setup in use is best for: single, many, both
    default_trial: str  # the ids of four trials
    single_trial: str  # the best for one stream
    many_trial: str  # the best for several
    used_trial: str  # what the replica starts with
    said: str  # why, in words
    load: str  # JSON: the requests it was measured with
    took_us: int
    created_us: int
    many_from: int | None = None  # streams that the second kernel takes over from, where two are


def add(connection: Connection, row: TuningRow, trials: list[TrialRow]) -> None:
    """Keeps a search with its trials."""
    connection.execute(insert(schema.trial), [msgspec.structs.asdict(trial) for trial in trials])
    connection.execute(insert(schema.tuning), [msgspec.structs.asdict(row)])


def newest(
    connection: Connection, *, digest: str, chip: str, versions: str
) -> tuple[TuningRow, TrialRow] | None:
    """The search that holds for a file on a chip, and the trial whose setup is in use."""
    column = schema.tuning.c
    statement = (
        select(schema.tuning)
        .where(column.digest == digest, column.chip == chip, column.versions == versions)
        .order_by(column.created_us.desc(), column.id.desc())
        .limit(1)
    )
    tuning = one_row(connection, statement, TuningRow)
    if tuning is None:
        return None
    used = select(schema.trial).where(schema.trial.c.id == tuning.used_trial)
    trial = one_row(connection, used, TrialRow)
    return None if trial is None else (tuning, trial)


def every(connection: Connection) -> list[TuningRow]:
    """All searches, newest first."""
    column = schema.tuning.c
    statement = select(schema.tuning).order_by(column.created_us.desc(), column.id.desc())
    return all_rows(connection, statement, TuningRow)


def trials(connection: Connection, tuning_id: str) -> list[TrialRow]:
    """What one search tried, in its order."""
    column = schema.trial.c
    mine = select(schema.trial).where(column.tuning_id == tuning_id)
    return all_rows(connection, mine.order_by(column.created_us, column.id), TrialRow)
