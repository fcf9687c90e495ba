"""How many threads compute: fewer while others are busy, all of them in quiet."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.engine.libllama.crew import LOOK_S, STALE_S, Crew, others_used_s, processors_used_s


class World:
    """A clock, and others who use so much of the processors."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.used_s: float | None = 0.0

    def crew(self, most: int, processors: int) -> Crew:
        return Crew(
            most,
            processors=processors,
            used_s=lambda: self.used_s,
            clock=lambda: self.now_s,
        )

    def pass_by(self, others: float, seconds: float = LOOK_S) -> None:
        self.now_s += seconds
        if self.used_s is not None:
            self.used_s += others * seconds


def test_all_threads_compute_while_nobody_else_is_busy() -> None:
    world = World()
    crew = world.crew(2, 2)
    world.pass_by(0.4)
    assert crew.look() == 2


def test_a_busy_neighbour_takes_a_thread_away_and_gives_it_back() -> None:
    world = World()
    crew = world.crew(2, 2)
    world.pass_by(0.7)
    assert crew.look() == 1
    world.pass_by(0.4)
    assert crew.look() == 1, "a thread returns later than it leaves"
    world.pass_by(0.2)
    assert crew.look() == 2


def test_one_thread_always_stays() -> None:
    world = World()
    crew = world.crew(2, 2)
    world.pass_by(1.9)
    assert crew.look() == 1


def test_neighbours_on_processors_that_are_free_take_nothing_away() -> None:
    world = World()
    crew = world.crew(4, 8)
    world.pass_by(3.9)
    assert crew.look() == 4
    world.pass_by(6.0)
    assert crew.look() == 2


def test_a_time_without_steps_says_nothing_about_now() -> None:
    world = World()
    crew = world.crew(2, 2)
    world.pass_by(2.0, STALE_S + 1)
    assert crew.look() == 2


def test_where_the_system_does_not_say_the_number_stays() -> None:
    world = World()
    world.used_s = None
    crew = world.crew(3, 4)
    world.pass_by(4.0)
    assert crew.look() == 3


@given(st.integers(1, 64), st.integers(1, 64), st.lists(st.floats(0, 64), max_size=20))
def test_the_number_is_always_from_one_to_the_most(
    most: int, processors: int, loads: list[float]
) -> None:
    world = World()
    crew = world.crew(most, processors)
    for others in loads:
        world.pass_by(others)
        assert 1 <= crew.look() <= most


def test_only_the_processors_that_may_be_used_are_counted(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text(
        "cpu  999 0 0 0 0 0 0 0 0 0\ncpu0 100 20 30 7 7 4 6 50 0 0\ncpu1 9 9 9 9 9 9 9 9 9 9\n"
    )
    ticks = os.sysconf("SC_CLK_TCK")
    assert processors_used_s(stat, {0}) == pytest.approx(160 / ticks)
    assert processors_used_s(tmp_path / "none", {0}) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who uses the processors")
def test_a_real_neighbour_is_seen() -> None:
    before_s = others_used_s()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as neighbour:
        time.sleep(0.6)
        neighbour.kill()
    after_s = others_used_s()
    assert before_s is not None
    assert after_s is not None
    assert after_s - before_s > 0.1
