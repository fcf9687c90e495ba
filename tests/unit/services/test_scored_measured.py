"""Forecasts beside what was measured: medians, the deployment that held, what is left out."""

from __future__ import annotations

import itertools
from time import perf_counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_shapes import CHIP, SMOLLM2

from haneul.chips.estimate import Estimate, around
from haneul.services.learned import DEFAULT, Learned, kernel_of, learn
from haneul.services.scored import said as foretold
from haneul.services.scored.deployments import most_kept
from haneul.services.scored.measured import BEFORE, _Started, days, left_out, measured_here
from haneul.services.scored.said import Said, foretell
from haneul.store import deployments, forecasts, ledger
from haneul.store.database import open_database
from haneul.store.deployments import DeploymentRow
from haneul.store.forecasts import MeasurementRow
from haneul.store.ledger import RequestRow

SECOND = 1_000_000
NOON = 1_800_000_000 * SECOND
numbers = itertools.count(1)


def deployment(at_us: int = NOON, *, mid: float = 10.0, **changed: object) -> DeploymentRow:
    """Ten tokens per second, whatever the context, and prompts ten times as fast."""
    speed = around(mid, "tok/s", factor=2, source="test")
    said = [
        Said(kind="decode", estimate=speed),
        Said(kind="decode", estimate=speed, context_tokens=4096),
        Said(kind="prefill", estimate=around(100, "tok/s", factor=2, source="test")),
        Said(kind="memory", estimate=around(1e9, "B", factor=1.1, source="test"), streams=1),
    ]
    known = {
        "id": f"dep_{next(numbers)}",
        "model": "m",
        "digest": "d",
        "engine": "embedded",
        "engine_version": "v",
        "haneul": "1",
        "chip": "cpu-test",
        "quantisation": "Q4_1",
        "slots": 1,
        "context_tokens": 4096,
        "said": msgspec.json.encode(said).decode(),
        "started_us": at_us,
    }
    return DeploymentRow(**(known | changed))  # type: ignore[arg-type]


def answered(at_us: int, *, tokens_s: float = 10.0, ttft_s: float = 1.0) -> RequestRow:
    """A streamed answer of 51 tokens to a prompt of 100."""
    first_us = at_us + round(ttft_s * SECOND)
    return RequestRow(
        id=f"req_{next(numbers):09d}",
        key_id="k",
        route="chat",
        model="m",
        digest="d",
        engine="embedded",
        engine_version="v",
        chip="cpu-test",
        state="done",
        status=200,
        is_stream=1,
        metering="engine",
        prompt_tokens=100,
        completion_tokens=51,
        currency="USD",
        received_us=at_us,
        started_us=at_us,
        first_token_us=first_us,
        finished_us=first_us + round(50 / tokens_s * SECOND),
    )


def held(at_us: int, megabytes: int) -> MeasurementRow:
    return MeasurementRow(
        id=f"msr_{next(numbers)}",
        model="m",
        digest="d",
        chip="cpu-test",
        engine_version="v",
        kind="memory",
        value=megabytes * 1_000_000 * 1000,
        unit="B",
        created_us=at_us,
    )


@pytest.fixture
def database(tmp_path):
    opened = open_database("", tmp_path)
    yield opened
    opened.close()


def test_nothing_was_served_nothing_is_said(database):
    assert database.run(measured_here) == database.run(days) == []
    assert database.run(left_out) == {}


def test_the_median_of_requests_stands_beside_the_forecast_of_their_deployment(database):
    database.run(deployments.add, deployment())
    speeds = (8.0, 8.0, 9.0, 1.0, 8.0)
    rows = [
        answered(NOON + number * 600 * SECOND, tokens_s=speed, ttft_s=0.55)
        for number, speed in enumerate(speeds)
    ]
    database.run(ledger.append, rows)
    database.run(forecasts.add_measurements, [held(NOON + SECOND, 900), held(NOON + 1, 950)])
    found = {row.kind: row for row in database.run(measured_here)}
    assert found["decode"].measured == pytest.approx(8)
    assert found["decode"].forecast.mid == pytest.approx(10)
    assert found["decode"].count == 5
    assert found["ttft"].measured == pytest.approx(0.55)
    assert found["ttft"].forecast.mid == pytest.approx(100 / 100 + 1 / 10)
    assert found["memory"].measured == 950e6, "the most that was seen"
    assert {row.quantisation for row in found.values()} == {"Q4_1"}


def test_each_request_belongs_to_the_last_start_before_it_and_earlier_ones_to_none(database):
    database.run(deployments.add, deployment(NOON, mid=10, calibration="old"))
    later_us = NOON + 3600 * SECOND
    database.run(deployments.add, deployment(later_us, mid=20, calibration="new"))
    rows = [answered(NOON - 60 * SECOND), answered(NOON), answered(later_us), answered(later_us)]
    rows[3] = answered(later_us + 60 * SECOND)
    database.run(ledger.append, rows)
    decode = [row for row in database.run(measured_here) if row.kind == "decode"]
    assert {row.calibration: (row.forecast.mid, row.count) for row in decode} == {
        "old": (pytest.approx(10), 1),
        "new": (pytest.approx(20), 2),
    }
    assert database.run(left_out)["decode"] == {BEFORE: 1}


def test_days_are_told_apart_by_deployment_and_date(database):
    first, second = deployment(NOON), deployment(NOON + 86_400 * SECOND)
    for row in (first, second):
        database.run(deployments.add, row)
    at = [NOON, NOON + 60 * SECOND, NOON + 86_400 * SECOND]
    database.run(ledger.append, [answered(moment) for moment in at])
    told = [(day.deployment, day.day, day.requests) for day in database.run(days)]
    assert told == [(first.id, "2027-01-15", 2), (second.id, "2027-01-16", 1)]


def test_what_was_foretold_is_never_changed(database):
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    database.run(deployments.add, deployment())
    with pytest.raises(DBAPIError, match="append-only"):
        database.run(lambda connection: connection.execute(text("UPDATE deployment SET said=''")))


def test_a_forecast_has_every_number_of_streams_and_reads_as_the_physics_between_them():
    said = foretell(SMOLLM2, CHIP, slots=6, context_tokens=4096, learned=Learned())
    decode = [each for each in said if each.kind == "decode"]
    assert {each.streams for each in decode} == {1, 2, 4, 6}
    assert {each.context_tokens for each in decode} == {0, 4096}
    assert {each.kind for each in said} == {"memory", "decode", "prefill", "ttft"}
    from haneul.chips.speed import decode_speed

    for streams, behind in ((1, 1000), (3, 500), (5, 4000), (6, 2048)):
        read = foretold.decode(said, streams=streams, context_tokens=behind)
        exact = decode_speed(SMOLLM2, CHIP, streams=streams, context_tokens=behind)
        assert read is not None
        assert exact is not None
        assert read.mid == pytest.approx(exact.mid, rel=0.02)
    assert foretold.decode(said, streams=7, context_tokens=0) is None


def seconds_to_find(deployed: int) -> float:
    """The least of three times that two thousand moments took among so many starts."""
    rows = [deployment(NOON + number) for number in range(deployed)]
    started = _Started(rows)
    assert started.of("d", "v", NOON - 1) is None
    assert started.of("d", "v", NOON + 2 * deployed) == rows[-1]
    times = []
    for _ in range(3):
        before = perf_counter()
        for number in range(2000):
            started.of("d", "v", NOON + number)
        times.append(perf_counter() - before)
    return min(times)


def test_requests_find_their_deployment_as_fast_among_thousands_as_among_two():
    assert seconds_to_find(8000) < 20 * seconds_to_find(2)


def test_memory_that_is_known_of_an_engine_set_up_alike_is_not_kept_again(database):
    first = deployment()
    assert database.run(most_kept, first) == 0
    database.run(deployments.add, first)
    database.run(forecasts.add_measurements, [held(NOON + 1, 900)])
    later = NOON + 9 * SECOND
    assert database.run(most_kept, deployment(later)) == 900_000_000
    for apart in ({"slots": 2}, {"context_tokens": 8}, {"calibration": "c"}, {"haneul": "2"}):
        assert database.run(most_kept, deployment(later, **apart)) == 0
    database.run(deployments.add, deployment(later))
    assert database.run(most_kept, deployment(2 * later)) == 900_000_000, "of the one before"


def test_formats_are_told_without_reading_what_was_foretold(database):
    database.run(deployments.add, deployment())
    database.run(deployments.add, deployment(NOON + 1))
    database.run(deployments.add, deployment(digest="e", quantisation="F16"))
    assert database.run(deployments.formats) == {"d": "Q4_1", "e": "F16"}


@given(st.integers(1, 8), st.integers(0, 4096), st.integers(0, 4096), st.floats(1.0, 3000.0))
def test_more_behind_is_never_faster_and_a_longer_prompt_never_sooner(streams, one, other, prompt):
    said = foretell(SMOLLM2, CHIP, slots=8, context_tokens=4096, learned=Learned())
    near, far = sorted((one, other))
    quick = foretold.decode(said, streams=streams, context_tokens=near)
    slow = foretold.decode(said, streams=streams, context_tokens=far)
    assert quick is not None
    assert slow is not None
    assert slow.mid <= quick.mid * (1 + 1e-9)
    soon, late = foretold.ttft(said, prompt), foretold.ttft(said, prompt * 2)
    assert soon is not None
    assert late is not None
    assert soon.mid < late.mid


def test_each_kernel_is_corrected_by_its_own_measurements():
    assert kernel_of("xllamacpp 1.2") == DEFAULT
    assert kernel_of("xllamacpp 1.2 (auto, 1 thread)") == DEFAULT
    assert kernel_of("xllamacpp 1.2 (openvino, requantised to Q4_0)") == "openvino"
    assert kernel_of("xllamacpp 1.2 (libllama, native build; for 4 streams or more openvino)") == (
        "libllama, native build"
    )
    hundred = around(100, "tok/s", factor=1.4, source="test")
    known = learn({(DEFAULT, "decode"): [(hundred, 50)], ("openvino", "decode"): [(hundred, 200)]})

    def corrected(engine_version: str) -> Estimate:
        return known.decode(hundred, streams=1, engine_version=engine_version)

    assert corrected("x").mid < 100 < corrected("x (openvino)").mid
    assert corrected("x (llama-server)") == corrected("x"), "never measured: as the default"
