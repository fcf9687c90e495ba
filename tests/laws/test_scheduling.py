"""Thousands of days of clients, engines and faults: no budget is overdrawn, no place is lost.

Each seed is a small world on a loop of virtual time (virtual_time.py): what the gateway schedules,
limits, retries and bills with is real, what comes from outside is drawn.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from haneul.services.flights import Flights
from haneul.services.health import RETRY_AFTER_MAX_S
from haneul.services.retries import SHARE

SPEC = importlib.util.spec_from_file_location(
    "virtual_time", Path(__file__).parent / "virtual_time.py"
)
virtual_time = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(virtual_time)

REQUESTS = 16
PAGES = 64
STATES = {"done", "aborted", "failed", "refused"}


@pytest.fixture
def outside(tmp_path):
    """The loop and the pages that all seeds share."""
    loop = virtual_time.VirtualLoop()
    with Flights(tmp_path / "flights", PAGES) as flights:
        yield loop, flights
    loop.close()


def play(outside, seed):
    loop, flights = outside
    loop.now = 0.0
    world = virtual_time.World(loop, flights, seed)
    loop.run_until_complete(world.run(REQUESTS))
    check_outcomes(world)
    check_money(world)
    check_places(world, flights)
    check_retries(world)
    check_waits(world)
    return world


def check_outcomes(world):
    """Exactly one record each, and at most one answer begun."""
    rows = world.records.rows
    assert sorted(row.id for row in rows) == sorted(each.id for each in world.clients.values())
    assert {row.state for row in rows} <= STATES
    for client in world.clients.values():
        assert client.begins <= 1
        assert client.is_answered or client.gone, "somebody was told nothing"


def check_money(world):
    """What was spent is what the records say, nothing stays reserved, no budget is overdrawn."""
    for key in world.keys:
        account = world.accounts[key.id]
        assert account.reserved_nano == 0
        mine = [row for row in world.records.rows if row.key_id == key.id]
        assert account.spent_nano == sum(row.cost_nano for row in mine)
        for left in account.left(key, at_us=virtual_time.EPOCH_US):
            assert left.nano >= 0, "more was spent than there was"
        assert all(purse.running == 0 for purse in account.purses.values())


def check_places(world, flights):
    """Every place in an engine, in a queue and in the file is free again."""
    for target in world.targets.every():
        gate = target.gate
        assert (gate.busy.inside, gate.waiting, gate.has_place) == (0, 0, True)
    assert len(flights._free) == PAGES
    assert not world.gateway.watch._waits


def check_retries(world):
    """Calls beyond the first are a tenth beside the stock; leaving a silent engine is free."""
    of_a_key, of_all = virtual_time.OF_A_KEY, virtual_time.OF_ALL
    total, most_of_all = 0, of_all.most + of_all.per_s * world.loop.now + SHARE * REQUESTS
    for key in world.keys:
        calls = sum(engine.calls[key.id] for engine in world.engines)
        mine = [row for row in world.records.rows if row.key_id == key.id]
        silent = sum((row.tried or "").count("engine_silent") for row in mine)
        most = of_a_key.most + of_a_key.per_s * world.loop.now + SHARE * len(mine)
        extra = calls - len(mine) - silent
        assert extra <= most
        total += max(0, extra)
    assert total <= most_of_all


def check_waits(world):
    """Nobody waits for ever, and no engine is left alone for ever."""
    config = virtual_time.CONFIG
    each_s = config.queue_s + config.first_token_s + config.answer_s + config.idle_s
    for client in world.clients.values():
        assert client.ended - client.received <= len(world.engines) * each_s
    for target in world.targets.every():
        assert target.health.paused_s(world.loop.now) <= 1.1 * RETRY_AFTER_MAX_S


def test_two_hundred_worlds_keep_every_promise(outside):
    states, errors = set(), set()
    for seed in range(200):
        world = play(outside, seed)
        states |= {row.state for row in world.records.rows}
        errors |= set(world.errors)
    assert states == STATES, "the worlds are too kind to show anything"
    assert {"QuotaExceeded", "RateLimited", "Full", "EngineFailed", "Disconnected"} <= errors


def test_a_seed_is_the_same_world_each_time(outside):
    one, two = (play(outside, 7) for _ in range(2))
    assert [(row.id, row.state, row.tried) for row in one.records.rows] == [
        (row.id, row.state, row.tried) for row in two.records.rows
    ]


@pytest.mark.slow
def test_ten_thousand_worlds_keep_every_promise(outside):
    for seed in range(1_000, 11_000):
        play(outside, seed)
