"""The rows that fill themselves: every probe, every tuning and the requests served here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from haneul.base.errors import HaneulError
from haneul.base.units import MILLION
from haneul.chips.fleet import Fleet
from haneul.chips.shape import Shape
from haneul.models import hub
from haneul.services.matrix.row import MatrixRow, Source
from haneul.services.scored.measured import Row, measured_here
from haneul.services.scored.said import DECODE, MEMORY, PREFILL, TTFT
from haneul.services.targets import EMBEDDED
from haneul.services.tariff import THOUSANDTHS
from haneul.services.tune.kept import MEASURED, MILLI
from haneul.services.tune.setup import read, show
from haneul.store import deployments, forecasts, models, prices, tunings
from haneul.store.forecasts import MeasurementRow
from haneul.store.prices import PriceRow
from haneul.store.tunings import TrialRow

UNKNOWN = "unknown"
PROBED = {"decode": "decode", "capacity": "capacity", "prefill": "prefill"}  # kind: field


class _Known(Struct, frozen=True):
    """What the house knows beside the measurements."""

    shapes: dict[str, Shape]  # by the file's digest
    formats: dict[str, str]  # quantisation by digest, of deployments too
    prices: dict[str, PriceRow]  # what tokens cost to make, by model
    watts: dict[str, float]  # by chip, where the owner says


def rows_here(
    connection: Connection, fleet: Fleet, *, with_requests: bool = True
) -> list[MatrixRow]:
    """Every model file on every chip with every engine and setup that was measured here.

    Ordered by model, chip, engine and source; setups that were lost are left out. Requests are read
    from the ledger, which takes seconds where it is long.
    """
    known = _known(connection, fleet)
    rows = [
        *_probes(forecasts.measurements(connection), known),
        *(_requests(measured_here(connection), known) if with_requests else ()),
        *_trials(connection, known),
    ]
    return sorted(rows, key=lambda it: (it.model, it.chip, it.engine_version, it.source, it.setup))


def _known(connection: Connection, fleet: Fleet) -> _Known:
    shapes = {}
    for row in models.every(connection):
        try:
            shapes[row.digest] = hub.shape(row)
        except (HaneulError, msgspec.MsgspecError):
            continue  # of an earlier release; its rows keep what else is known
    formats = deployments.formats(connection)
    formats |= {digest: shape.quantisation for digest, shape in shapes.items()}
    made = {
        row.model: row
        for row in reversed(prices.history(connection))
        if row.engine == EMBEDDED and not row.from_us and row.output_nano
    }
    watts = {
        chip: machine.power_w.value
        for chip, machine in fleet.chips.items()
        if machine.power_w and machine.power_w.value > 0
    }
    return _Known(shapes, formats, made, watts)


def _facts(known: _Known, *, model: str, digest: str, chip: str) -> dict[str, Any]:
    shape = known.shapes.get(digest)
    return {
        "model": model[:200],
        "digest": digest if len(digest) == 64 else "",
        "parameters": shape.parameters if shape and shape.parameters > 0 else None,
        "chip": chip,
        "watts": known.watts.get(chip),
    }


def _priced(known: _Known, model: str) -> dict[str, Any]:
    row = known.prices.get(model)
    if row is None:
        return {}
    return {
        "currency": row.currency,
        "input_nano": row.input_nano,
        "output_nano": row.output_nano,
    }


def _probes(measurements: Iterable[MeasurementRow], known: _Known) -> list[MatrixRow]:
    """A row for each file, chip and engine: the median of each figure, the most memory."""
    groups: dict[tuple[str, str, str], list[MeasurementRow]] = {}
    for each in measurements:
        if each.value > 0:
            groups.setdefault((each.digest, each.chip, each.engine_version), []).append(each)
    return [_probe(group, known) for group in groups.values() if _is_speed(group)]


def _is_speed(group: list[MeasurementRow]) -> bool:
    return any(each.kind in PROBED for each in group)


def _probe(group: list[MeasurementRow], known: _Known) -> MatrixRow:
    newest = max(group, key=lambda each: each.created_us)
    by_kind: dict[str, list[float]] = {}
    for each in group:
        by_kind.setdefault(each.kind, []).append(each.value / THOUSANDTHS)
    figures: dict[str, Any] = {
        field: median(by_kind[kind]) for kind, field in PROBED.items() if kind in by_kind
    }
    if MEMORY in by_kind:
        figures["memory_bytes"] = round(max(by_kind[MEMORY]))
    return MatrixRow(
        **_facts(known, model=newest.model, digest=newest.digest, chip=newest.chip),
        **_priced(known, newest.model),
        **figures,
        engine=EMBEDDED,
        engine_version=newest.engine_version[:200],
        quantisation=known.formats.get(newest.digest, UNKNOWN),
        source="probe",
        count=max(len(by_kind[kind]) for kind in PROBED if kind in by_kind),
        first_us=min(each.created_us for each in group),
        last_us=newest.created_us,
    )


def _requests(rows: Iterable[Row], known: _Known) -> list[MatrixRow]:
    """A row for each engine, from what people's requests took; the largest company as capacity."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for each in rows:
        if each.source == "requests" and each.measured > 0:
            groups.setdefault((each.digest, each.chip, each.engine_version), []).append(each)
    return [_request(group, known) for group in groups.values()]


def _request(group: list[Row], known: _Known) -> MatrixRow:
    newest = max(group, key=lambda each: each.last_us)
    source: Source = "requests"
    return MatrixRow(
        **_facts(known, model=newest.model, digest=newest.digest, chip=newest.chip),
        **_priced(known, newest.model),
        **_served(group),
        engine=newest.engine,
        engine_version=newest.engine_version[:200],
        quantisation=newest.quantisation,
        source=source,
        count=max(each.count for each in group),
        first_us=min(each.first_us for each in group),
        last_us=newest.last_us,
    )


def _served(group: list[Row]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for each in sorted(group, key=lambda it: (it.streams, it.last_us)):
        if each.kind == DECODE and each.streams == 1:
            figures["decode"] = each.measured
        elif each.kind == DECODE:  # of all of them
            figures["capacity"], figures["streams"] = each.measured, each.streams
        elif each.kind == PREFILL:
            figures["prefill"] = each.measured
        elif each.kind == TTFT:
            figures["ttft_s"] = each.measured
        elif each.kind == MEMORY:
            figures["memory_bytes"] = round(each.measured)
    return figures


def _trials(connection: Connection, known: _Known) -> list[MatrixRow]:
    """A row for each setup that a search measured."""
    found = []
    for tuning in tunings.every(connection):
        streams = _streams(tuning.load)
        for trial in tunings.trials(connection, tuning.id):
            if trial.state == MEASURED and trial.rounds > 0:
                found.append(_trial(trial, known, streams))
    return found


def _trial(trial: TrialRow, known: _Known, streams: int | None) -> MatrixRow:
    setup = read(trial.setup)
    own = known.formats.get(trial.digest, UNKNOWN)
    return MatrixRow(
        **_facts(known, model=trial.model, digest=trial.digest, chip=trial.chip),
        engine=EMBEDDED,
        engine_version=(trial.kernel or setup.kernel)[:200],
        quantisation=setup.weights or own,
        setup=show(setup)[:500],
        decode=_over(trial.single_milli, MILLI),
        capacity=_over(trial.together_milli, MILLI),
        streams=streams if trial.together_milli else None,
        ttft_s=_over(trial.ttft_us, MILLION),
        memory_bytes=trial.memory_bytes or None,
        source="tuning",
        count=trial.rounds,
        first_us=trial.created_us,
        last_us=trial.created_us,
    )


def _streams(load: str) -> int | None:
    """How many answered together in the search's load, where it says so."""
    said: Mapping[str, Any] = msgspec.json.decode(load, type=dict[str, Any])
    streams = said.get("streams")
    return streams if isinstance(streams, int) and streams > 0 else None


def _over(value: int | None, unit: int) -> float | None:
    return value / unit if value else None
