"""The tables of forecasts that are scored here: what was foretold at each start, and what changed
how this machine forecasts.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text

APPEND_ONLY = ("deployment", "calibration")


class PlanTables(NamedTuple):
    """Both of them."""

    deployment: Table
    calibration: Table


def tables(metadata: MetaData) -> PlanTables:
    """Adds them to the schema."""
    deployment = Table(
        "deployment",  # append-only: an engine that was started, and what was said of it then
        metadata,
        Column("id", Text, primary_key=True),
        Column("model", Text, nullable=False),
        Column("digest", Text, nullable=False),
        Column("engine", Text, nullable=False),
        Column("engine_version", Text, nullable=False),
        Column("haneul", Text, nullable=False),  # the release
        Column("chip", Text, nullable=False),
        Column("quantisation", Text, nullable=False),
        Column("calibration", Text),  # that held; NULL: none was made here
        Column("slots", Integer, nullable=False),
        Column("context_tokens", Integer, nullable=False),  # of each slot
        Column("said", Text, nullable=False),  # JSON list of services.foretold.Said
        Column("started_us", BigInteger, nullable=False),
        Index("deployment_by_chip", "chip", "started_us"),
    )
    calibration = Table(
        "calibration",  # append-only: the newest of a chip holds
        metadata,
        Column("id", Text, primary_key=True),
        Column("chip", Text, nullable=False),
        Column("haneul", Text, nullable=False),
        Column("learned", Text, nullable=False),  # JSON: see services.learned
        Column("report", Text, nullable=False),  # JSON: what it was fitted to, errors before, after
        Column("created_us", BigInteger, nullable=False),
        Index("calibration_newest", "chip", "created_us"),
    )
    return PlanTables(deployment, calibration)
