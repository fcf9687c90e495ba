"""How this installation's engines did, against what was foretold of each when it started.

Three sources: requests (the ledger's times, compared with the forecast for just such a request),
probes (a short run at a quiet moment), processes (the memory an engine took). Medians, so that
one request beside something that nobody knows of does not count.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Literal

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from haneul.base.units import MILLION
from haneul.chips.estimate import Estimate
from haneul.services.scored import said as foretold
from haneul.services.scored.said import DECODE, MEMORY, PREFILL, TTFT, Said
from haneul.services.scored.timing import Timed, timed
from haneul.services.targets import EMBEDDED
from haneul.services.tariff import THOUSANDTHS
from haneul.store import deployments as queries
from haneul.store import forecasts as forecast_queries
from haneul.store.deployments import DeploymentRow
from haneul.store.forecasts import MeasurementRow

Source = Literal["requests", "probe", "process"]
CAPACITY = "capacity"  # of a probe: decoding in all slots
MEASURED: dict[str, Source] = {
    **dict.fromkeys((DECODE, CAPACITY, PREFILL), "probe"),
    MEMORY: "process",
}
BEFORE = "served before its forecast was kept"


class Row(Struct, frozen=True, kw_only=True):
    """One figure of one model file on one chip with one engine, foretold and measured."""

    model: str
    digest: str
    chip: str
    engine: str
    engine_version: str
    haneul: str
    quantisation: str
    slots: int
    context_tokens: int  # of each slot
    calibration: str | None  # that the forecast was made with
    kind: str  # decode, prefill, ttft, memory
    streams: int  # that decoded together
    source: Source
    forecast: Estimate
    measured: float  # the median; of memory the most; in the forecast's unit
    count: int
    first_us: int
    last_us: int


class Day(Struct, frozen=True, kw_only=True):
    """One deployment on one day: what it did, and how many requests say nothing, and why."""

    deployment: str
    model: str
    day: str  # UTC, such as "2026-11-22"
    requests: int
    rows: tuple[Row, ...]
    left_out: dict[str, dict[str, int]]  # figure → reason → requests


class _Sample(Struct, frozen=True):
    deployment: DeploymentRow
    kind: str
    streams: int
    source: Source
    forecast: Estimate
    measured: float
    at_us: int


def measured_here(connection: Connection) -> list[Row]:
    """A row for each engine, calibration, figure and number of streams; [] before any was."""
    started = _Started(queries.every(connection))
    samples = _of_requests(started, timed(queries.served(connection, engine=EMBEDDED)))
    samples += _of_measurements(started, forecast_queries.measurements(connection))
    return _rows(samples)


def left_out(connection: Connection) -> dict[str, dict[str, int]]:
    """How many requests say nothing of each figure, by the reason."""
    started = _Started(queries.every(connection))
    return _reasons(started, timed(queries.served(connection, engine=EMBEDDED)))


def days(connection: Connection) -> list[Day]:
    """The same by deployment and day, oldest first; only requests and memory."""
    started = _Started(queries.every(connection))
    seen = timed(queries.served(connection, engine=EMBEDDED))
    samples = _of_requests(started, seen)
    samples += _of_measurements(started, forecast_queries.measurements(connection))
    found: dict[tuple[str, str], list[_Sample]] = {}
    for sample in samples:
        found.setdefault((_day(sample.at_us), sample.deployment.id), []).append(sample)
    asked: dict[tuple[str, str], list[Timed]] = {}
    for each in seen:
        deployment = started.of(each.row.digest, each.row.engine_version, each.row.started_us)
        if deployment is not None:
            asked.setdefault((_day(each.row.started_us), deployment.id), []).append(each)
    names = {row.id: row.model for row in started.rows}
    return [
        Day(
            deployment=key[1],
            model=names[key[1]],
            day=key[0],
            requests=len(asked.get(key, [])),
            rows=tuple(_rows(found.get(key, []))),
            left_out=_reasons(started, asked.get(key, [])),
        )
        for key in sorted(found.keys() | asked.keys())
    ]


class _Started:
    """The deployments, to be found by engine and moment."""

    def __init__(self, rows: list[DeploymentRow]) -> None:
        self.rows = rows
        self._by_engine: dict[tuple[str, str], list[DeploymentRow]] = {}
        for row in rows:
            self._by_engine.setdefault((row.digest, row.engine_version), []).append(row)
        self._moments = {
            engine: [row.started_us for row in found] for engine, found in self._by_engine.items()
        }
        self._said: dict[str, list[Said]] = {}

    def of(self, digest: str, engine_version: str, at_us: int) -> DeploymentRow | None:
        """The last that had started by then; None where none had."""
        engine = (digest, engine_version)
        index = bisect_right(self._moments.get(engine, ()), at_us) - 1
        return self._by_engine[engine][index] if index >= 0 else None

    def said(self, row: DeploymentRow) -> list[Said]:
        """What was foretold of it."""
        if row.id not in self._said:
            self._said[row.id] = msgspec.json.decode(row.said, type=list[Said])
        return self._said[row.id]


def _of_requests(started: _Started, seen: Iterable[Timed]) -> list[_Sample]:
    return [sample for each in seen for sample in _of_request(started, each)]


def _of_request(started: _Started, each: Timed) -> Iterator[_Sample]:
    """What it took, beside the forecast for a request of its length in its company."""
    row = each.row
    deployment = started.of(row.digest, row.engine_version, row.started_us)
    if deployment is None:
        return
    said, at_us = started.said(deployment), row.started_us
    if each.decode is not None and each.streams is not None:
        speed = foretold.decode(said, streams=each.streams, context_tokens=each.behind_tokens)
        if speed is not None:
            yield _Sample(deployment, DECODE, each.streams, "requests", speed, each.decode, at_us)
    if each.ttft_s is not None:
        first = foretold.ttft(said, each.prompt_tokens)
        if first is not None:
            yield _Sample(deployment, TTFT, 1, "requests", first, each.ttft_s, at_us)


def _of_measurements(started: _Started, rows: Iterable[MeasurementRow]) -> list[_Sample]:
    found = []
    for row in rows:
        deployment = started.of(row.digest, row.engine_version, row.created_us)
        if deployment is None or deployment.chip != row.chip or row.kind not in MEASURED:
            continue
        kind = DECODE if row.kind == CAPACITY else row.kind
        streams = 1 if row.kind in (DECODE, PREFILL) else deployment.slots
        said = started.said(deployment)
        forecast = (
            foretold.decode(said, streams=streams, context_tokens=0)
            if kind == DECODE
            else foretold.one(said, kind)
        )
        if forecast is not None:
            value, source = row.value / THOUSANDTHS, MEASURED[row.kind]
            found.append(
                _Sample(deployment, kind, streams, source, forecast, value, row.created_us)
            )
    return found


def _rows(samples: Sequence[_Sample]) -> list[Row]:
    groups: dict[tuple[object, ...], list[_Sample]] = {}
    for sample in samples:
        if sample.measured <= 0:
            continue  # too small for a thousandth: nothing to compare with
        it = sample.deployment
        engine = (it.chip, it.digest, it.engine_version, it.calibration or "")
        key = (*engine, it.slots, it.context_tokens, sample.kind, sample.streams, sample.source)
        groups.setdefault(key, []).append(sample)
    return [_row(group) for _, group in sorted(groups.items(), key=lambda item: str(item[0]))]


def _row(group: list[_Sample]) -> Row:
    """Ends, middles and measurements each by their median; of memory the most that was seen."""
    newest = max(group, key=lambda sample: sample.at_us)
    it, kind = newest.deployment, newest.kind
    values = [sample.measured for sample in group]
    return Row(
        model=it.model,
        digest=it.digest,
        chip=it.chip,
        engine=it.engine,
        engine_version=it.engine_version,
        haneul=it.haneul,
        quantisation=it.quantisation,
        slots=it.slots,
        context_tokens=it.context_tokens,
        calibration=it.calibration,
        kind=kind,
        streams=newest.streams,
        source=newest.source,
        forecast=Estimate(
            low=median(sample.forecast.low for sample in group),
            mid=median(sample.forecast.mid for sample in group),
            high=median(sample.forecast.high for sample in group),
            unit=newest.forecast.unit,
            source=newest.forecast.source,
        ),
        measured=max(values) if kind == MEMORY else median(values),
        count=len(group),
        first_us=min(sample.at_us for sample in group),
        last_us=newest.at_us,
    )


def _reasons(started: _Started, seen: Iterable[Timed]) -> dict[str, dict[str, int]]:
    counted: dict[str, Counter[str]] = {DECODE: Counter(), TTFT: Counter()}
    for each in seen:
        row = each.row
        if started.of(row.digest, row.engine_version, row.started_us) is None:
            for counter in counted.values():
                counter[BEFORE] += 1
            continue
        for figure, reason in each.left_out.items():
            counted[figure][reason] += 1
    return {figure: dict(counter.most_common()) for figure, counter in counted.items() if counter}


def _day(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / MILLION, UTC).date().isoformat()
