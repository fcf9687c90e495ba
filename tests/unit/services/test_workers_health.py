"""What one worker learns of a target, all know; and several know the same as one would."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haneul.services.health import PROBE_S, Health
from haneul.services.workers.health import SharedHealth
from haneul.services.workers.places import Places

WORKERS = 3


@contextmanager
def workers(of="http://engine"):
    """The health of one target as each worker has it."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        found = []
        for slot in range(WORKERS):
            places = Places(Path(folder) / "places", workers=WORKERS, slot=slot)
            stack.callback(places.close)
            found.append(SharedHealth(places.row("engine/m"), of))
        yield found


def asked(health, move, now, chance):
    if move == "fails":
        health.failed(now, retry_after_s=None, chance=chance)
    elif move == "breaks":
        health.failed(now, retry_after_s=None, chance=chance, is_broken=True)
    elif move == "asks for time":
        health.failed(now, retry_after_s=3, chance=chance)
    elif move == "rests":
        health.rest(now, retry_after_s=2, chance=chance)
    elif move == "is tried":
        health.trying(now)
    elif move == "is heard":
        health.heard()
    elif move == "works":
        health.worked()
    else:
        health.untried()


MOVES = ("fails", "breaks", "asks for time", "rests", "is tried", "is heard", "works", "goes away")
steps = st.tuples(
    st.sampled_from(MOVES), st.integers(0, WORKERS - 1), st.floats(0, 40), st.floats(0, 1)
)


@given(st.lists(steps, max_size=40))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_several_workers_say_of_a_target_what_one_process_would(moves):
    alone, now = Health(), 1000.0
    with workers() as several:
        for move, slot, pause_s, chance in moves:
            now += pause_s
            asked(alone, move, now, chance)
            asked(several[slot], move, now, chance)
            for each in several:
                assert each.paused_s(now) == pytest.approx(alone.paused_s(now), abs=1e-5)
                assert each.failures == alone.failures


def test_one_probe_is_sent_for_all_workers():
    with workers() as (first, second, third):
        first.failed(10.0, retry_after_s=1, chance=0.0)
        assert second.paused_s(10.0) == pytest.approx(1.0)
        second.trying(12.0)
        assert third.paused_s(12.0) == pytest.approx(PROBE_S)
        second.worked()
        assert first.paused_s(12.0) == third.paused_s(12.0) == 0.0


def test_another_engine_under_the_name_begins_well_and_the_same_one_does_not():
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        places = [
            Places(Path(folder) / "places", workers=WORKERS, slot=slot) for slot in range(WORKERS)
        ]
        for each in places:
            stack.callback(each.close)
        SharedHealth(places[0].row("engine/m"), "http://one").failed(
            5.0, retry_after_s=9, chance=0.0
        )
        assert SharedHealth(places[1].row("engine/m"), "http://one").paused_s(5.0) > 8
        assert SharedHealth(places[2].row("engine/m"), "http://two").paused_s(5.0) == 0
