"""Queries about evaluation: what was asked of which model, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct
from sqlalchemy import BigInteger, Connection, func, insert, select

from haneul.store import schema
from haneul.store.rows import all_rows, one_row

AT_ONCE = 500  # names in one statement


class SuiteRow(Struct, frozen=True, kw_only=True):
    """A suite as it was when somebody ran it."""

    id: str
    name: str
    version: str
    licence: str
    task: str
    cases: int
    created_us: int


class CaseRow(Struct, frozen=True, kw_only=True):
    """One case as it was asked."""

    id: str
    suite: str
    name: str
    cluster: str
    body: str
    created_us: int


class RunRow(Struct, frozen=True, kw_only=True):
    """What somebody asked to be evaluated."""

    id: str
    suite_id: str
    suite: str
    subjects: str
    cases: str
    judge: str | None = None
    actor: str
    created_us: int


class ResultRow(Struct, frozen=True, kw_only=True):
    """What one model made of one case (see store.eval_tables for the meaning of each column)."""

    id: str
    run_id: str
    case_id: str
    model: str
    model_digest: str
    parameters: str
    state: str
    score_millionths: int
    reason: str | None = None
    answer: str | None = None
    attempts: int
    unpriced: int = 0
    currency: str
    cost_nano: int
    judge_nano: int = 0
    latency_us: int | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    request_id: str | None = None
    created_us: int


def put_suite(connection: Connection, row: SuiteRow, cases: Sequence[CaseRow]) -> None:
    """Writes down a suite and its cases, those that are not there yet."""
    column = schema.evals.suite.c
    if connection.execute(select(column.id).where(column.id == row.id)).first() is None:
        connection.execute(insert(schema.evals.suite), [msgspec.structs.asdict(row)])
    there = _known_cases(connection, [case.id for case in cases])
    new = [msgspec.structs.asdict(case) for case in cases if case.id not in there]
    if new:
        connection.execute(insert(schema.evals.case), new)


def add_run(connection: Connection, row: RunRow) -> None:
    connection.execute(insert(schema.evals.run), [msgspec.structs.asdict(row)])


def add_result(connection: Connection, row: ResultRow) -> None:
    connection.execute(insert(schema.evals.result), [msgspec.structs.asdict(row)])


def suites(connection: Connection) -> list[SuiteRow]:
    """Those that were ever run, newest first."""
    column = schema.evals.suite.c
    statement = select(schema.evals.suite).order_by(column.created_us.desc(), column.id)
    return all_rows(connection, statement, SuiteRow)


def suite(connection: Connection, suite_id: str) -> SuiteRow | None:
    column = schema.evals.suite.c
    return one_row(connection, select(schema.evals.suite).where(column.id == suite_id), SuiteRow)


def cases(connection: Connection, ids: Sequence[str]) -> dict[str, CaseRow]:
    """By digest."""
    column = schema.evals.case.c
    found: dict[str, CaseRow] = {}
    for part in _parts(ids):
        statement = select(schema.evals.case).where(column.id.in_(part))
        found |= {row.id: row for row in all_rows(connection, statement, CaseRow)}
    return found


def runs(connection: Connection, *, suite: str | None = None, limit: int = 50) -> list[RunRow]:
    """The newest, of all suites or of one."""
    column = schema.evals.run.c
    statement = select(schema.evals.run).order_by(column.created_us.desc(), column.id.desc())
    if suite is not None:
        statement = statement.where(column.suite == suite)
    return all_rows(connection, statement.limit(limit), RunRow)


def run(connection: Connection, run_id: str) -> RunRow | None:
    column = schema.evals.run.c
    return one_row(connection, select(schema.evals.run).where(column.id == run_id), RunRow)


def results(
    connection: Connection, case_ids: Sequence[str], *, model_digest: str, parameters: str
) -> dict[str, ResultRow]:
    """By case the newest result; one that was answered goes before one that was not.

    What attempts without an answer cost since the answer before it is part of what it cost.
    """
    column = schema.evals.result.c
    every: dict[str, list[ResultRow]] = {}
    for part in _parts(case_ids):
        statement = (
            select(schema.evals.result)
            .where(
                column.case_id.in_(part),
                column.model_digest == model_digest,
                column.parameters == parameters,
            )
            .order_by(column.created_us, column.id)
        )
        for row in all_rows(connection, statement, ResultRow):
            every.setdefault(row.case_id, []).append(row)
    return {case_id: _holding(rows) for case_id, rows in every.items()}


def charged(connection: Connection, end_user: str, *, since_us: int) -> int | None:
    """What the ledger has on requests of that name in nano-units; None: no record of them."""
    column = schema.request.c
    statement = select(func.sum(column.cost_nano).cast(BigInteger)).where(
        column.received_us >= since_us, column.end_user == end_user
    )
    total: int | None = connection.execute(statement).scalar()
    return total


def _holding(rows: list[ResultRow]) -> ResultRow:
    """Of a case's rows in their order the one that holds, with the cost of those without answer."""
    answered = [number for number, row in enumerate(rows) if row.state != "unanswered"]
    paid = rows[answered[-2] + 1 :] if len(answered) > 1 else rows
    holding = rows[answered[-1]] if answered else rows[-1]
    return msgspec.structs.replace(
        holding,
        currency=holding.currency or next((row.currency for row in paid if row.currency), ""),
        attempts=sum(row.attempts for row in paid),
        unpriced=sum(row.unpriced for row in paid),
        cost_nano=sum(row.cost_nano for row in paid),
        judge_nano=sum(row.judge_nano for row in paid),
    )


def _known_cases(connection: Connection, ids: Sequence[str]) -> set[str]:
    column = schema.evals.case.c
    found: set[str] = set()
    for part in _parts(ids):
        found |= set(connection.execute(select(column.id).where(column.id.in_(part))).scalars())
    return found


def _parts(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[begin : begin + AT_ONCE] for begin in range(0, len(ids), AT_ONCE))
