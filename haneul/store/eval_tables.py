"""The tables of evaluation: suites and their cases as they were asked, runs, what was answered."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, SmallInteger, Table, Text

APPEND_ONLY = ("eval_suite", "eval_case", "eval_run", "eval_result")


class EvalTables(NamedTuple):
    """Every table of evaluation."""

    suite: Table
    case: Table
    run: Table
    result: Table


def tables(metadata: MetaData) -> EvalTables:
    """Adds them to the schema."""
    suite = Table(
        "eval_suite",  # append-only: a suite as it was when somebody ran it
        metadata,
        Column("id", Text, primary_key=True),  # digest of its settings and cases, hexadecimal
        Column("name", Text, nullable=False),
        Column("version", Text, nullable=False),
        Column("licence", Text, nullable=False),
        Column("task", Text, nullable=False),
        Column("cases", Integer, nullable=False),
        Column("created_us", BigInteger, nullable=False),
        Index("eval_suite_by_name", "name", "created_us"),
    )
    case = Table(
        "eval_case",  # append-only
        metadata,
        Column("id", Text, primary_key=True),  # digest of all that is asked and looked at
        Column("suite", Text, nullable=False),  # the name of the suite that had it first
        Column("name", Text, nullable=False),  # its id in that suite
        Column("cluster", Text, nullable=False),  # cases of one template share it
        Column("body", Text, nullable=False),  # JSON of the case
        Column("created_us", BigInteger, nullable=False),
    )
    run = Table(
        "eval_run",  # append-only: what was asked for; the results of a run are found by its terms
        metadata,
        Column("id", Text, primary_key=True),
        Column("suite_id", Text, nullable=False),
        Column("suite", Text, nullable=False),
        Column("subjects", Text, nullable=False),  # JSON: models with digests and parameters
        Column("cases", Text, nullable=False),  # JSON list of the cases' digests, in order
        Column("judge", Text),
        Column("actor", Text, nullable=False),
        Column("created_us", BigInteger, nullable=False),
        Index("eval_run_by_suite", "suite", "created_us"),
    )
    result = Table(
        "eval_result",  # append-only; the newest of a case, model and parameters holds
        metadata,
        Column("id", Text, primary_key=True),
        Column("run_id", Text, nullable=False),
        Column("case_id", Text, nullable=False),
        Column("model", Text, nullable=False),
        Column("model_digest", Text, nullable=False),  # or name:… where no digest is known
        Column("parameters", Text, nullable=False),  # digest of how it was asked, and of the judge
        Column("state", Text, nullable=False),  # passed, failed; unanswered: no answer to look at
        Column("score_millionths", Integer, nullable=False),
        Column("reason", Text),  # why not
        Column("answer", Text),
        Column("attempts", SmallInteger, nullable=False),
        Column("unpriced", SmallInteger, nullable=False),  # attempts whose cost is not known
        Column("currency", Text, nullable=False),
        Column("cost_nano", BigInteger, nullable=False),  # of all attempts
        Column("judge_nano", BigInteger, nullable=False),
        Column("latency_us", BigInteger),  # of the attempt that was answered
        Column("prompt_tokens", Integer, nullable=False),
        Column("completion_tokens", Integer, nullable=False),
        Column("reasoning_tokens", Integer, nullable=False),  # of the completion tokens
        Column("request_id", Text),
        Column("created_us", BigInteger, nullable=False),
        Index("eval_result_newest", "case_id", "model_digest", "parameters", "created_us"),
    )
    return EvalTables(suite, case, run, result)
