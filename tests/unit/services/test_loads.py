"""How long a load takes is said with an interval, from what was measured."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from haneul.chips.estimate import holds
from haneul.services.loads import KEPT, Loads, forecast_s, remaining
from haneul.store.database import open_database

seconds = st.floats(0.01, 1000)


@given(st.lists(seconds, min_size=1, max_size=KEPT), st.integers(0, 10**12))
def test_a_forecast_holds_every_load_that_was_measured(measured, size):
    said = forecast_s(measured, size)
    assert all(holds(said, load) for load in measured)
    assert said.unit == "s"
    assert str(len(measured)) in said.source


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_without_a_measurement_a_larger_file_takes_longer_and_the_source_says_so(one, two):
    small, large = (forecast_s([], size) for size in sorted((one, two)))
    assert small.mid <= large.mid
    assert small.low > 0
    assert "no load was measured" in small.source


@given(st.lists(seconds, max_size=KEPT), st.integers(0, 10**11), st.floats(0, 10_000))
def test_what_is_left_of_a_load_is_never_more_than_twice_what_has_passed_or_was_said(
    measured, size, passed_s
):
    whole = forecast_s(measured, size)
    left = remaining(whole, passed_s)
    assert 0 <= left.low <= left.mid <= left.high
    assert left.high <= max(whole.high, passed_s)


async def test_loads_are_kept_for_the_next_start(tmp_path):
    database = open_database("", tmp_path)
    loads = Loads(database, "cpu-test")
    await loads.open()
    assert "no load" in loads.forecast("d", 10).source
    for took_s in (1.5, 2.5):
        loads.note("m", "d", "kernel 1", took_s)
    await loads.aclose()
    again, elsewhere = Loads(database, "cpu-test"), Loads(database, "cpu-other")
    for each in (again, elsewhere):
        await each.open()
    assert again.forecast("d", 10).mid == 2.0
    assert "no load" in elsewhere.forecast("d", 10).source, "another chip says nothing of this one"
    database.close()
