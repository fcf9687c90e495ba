"""A measurement beside other work does not lower what this machine is known to do."""

from __future__ import annotations

import pytest

from haneul.chips.chip import Chip
from haneul.chips.estimate import around
from haneul.services.steady import LOOKS, keep, steady
from haneul.store.database import open_database


def chip(gb_s: float, *, name: str = "cpu-test") -> Chip:
    measured = around(gb_s * 1e9, "B/s", factor=1.25, source="measured here")
    return Chip(id=name, name=name, kind="cpu", vendor="test", bandwidth=measured)


@pytest.fixture
def database(tmp_path):
    opened = open_database("", tmp_path)
    yield opened
    opened.close()


def seen(database, gb_s, **terms):
    return database.run(keep, chip(gb_s, **terms)).bandwidth.mid / 1e9


def test_the_best_that_was_seen_of_late_holds(database):
    assert seen(database, 20) == pytest.approx(20)
    assert seen(database, 4) == pytest.approx(20), "beside other work"
    assert seen(database, 22) == pytest.approx(22)
    held = database.run(steady, chip(3)).bandwidth
    assert held.mid == pytest.approx(22e9)
    assert held.high / held.mid == pytest.approx(1.25)
    assert "earlier measurements" in held.source


def test_another_chip_and_what_is_long_past_do_not_count(database):
    seen(database, 50)
    assert seen(database, 20, name="cpu-other") == pytest.approx(20)
    for _ in range(LOOKS - 1):
        assert seen(database, 10) == pytest.approx(50)
    assert seen(database, 10) == pytest.approx(10), "the memory may have changed"


def test_an_unknown_bandwidth_stays_unknown(database):
    bare = Chip(id="cpu-test", name="test", kind="cpu", vendor="test")
    seen(database, 20)
    assert database.run(keep, bare) == bare
