"""The doors of engines over several workers: never too many inside, first come first served."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from haneul.base.config import Config
from haneul.base.errors import Overloaded
from haneul.services.workers.counts import summed
from haneul.services.workers.gates import SharedCalls, SharedGates
from haneul.services.workers.places import Places

WORKERS = 3


@asynccontextmanager
async def workers(folder, **settings):
    """The gates of each worker, all in this process, with files of their own."""
    config = Config(**settings)
    async with AsyncExitStack() as stack:
        made = []
        for slot in range(WORKERS):
            places = Places(folder / "places", workers=WORKERS, slot=slot)
            stack.callback(places.close)
            gates = SharedGates(config, places, folder)
            stack.push_async_callback(gates.aclose)
            made.append((places, gates))
        yield made


async def test_never_more_are_inside_than_may_and_all_come_through(tmp_path):
    dice, inside, most, done = random.Random(3), 0, 0, 0
    async with workers(tmp_path) as made:
        doors = [gates.of("one", 4) for _, gates in made]

        async def visit(number):
            nonlocal inside, most, done
            door = doors[number % WORKERS]
            await asyncio.sleep(dice.uniform(0, 0.05))
            await door.enter()
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(dice.uniform(0, 0.01))
            inside -= 1
            done += 1
            door.leave()

        await asyncio.gather(*(visit(number) for number in range(60)))
        assert (most, done) == (4, 60)
        assert {(door.waiting, door.busy.inside) for door in doors} == {(0, 0)}
        assert all(door.has_place for door in doors)


async def test_the_first_to_come_is_the_first_to_go_in_at_whichever_worker(tmp_path):
    order = []
    async with workers(tmp_path) as made:
        doors = [gates.of("one", 1) for _, gates in made]
        await doors[0].enter()

        async def visit(number):
            await doors[number % WORKERS].enter()
            order.append(number)
            doors[number % WORKERS].leave()

        tasks = []
        for number in range(12):
            tasks.append(asyncio.create_task(visit(number)))
            await asyncio.sleep(0.001)
        assert {door.waiting for door in doors} == {12}
        doors[0].leave()
        await asyncio.gather(*tasks)
    assert order == list(range(12))


async def test_the_queue_is_one_and_bounded_over_all_workers(tmp_path):
    async with workers(tmp_path, queue_max=2) as made:
        doors = [gates.of("one", 1) for _, gates in made]
        await doors[0].enter()
        waiting = [asyncio.create_task(doors[number].enter()) for number in (1, 2)]
        await asyncio.sleep(0.01)
        assert all(door.is_full for door in doors)
        with pytest.raises(Overloaded, match="full"):
            await doors[0].enter()
        waiting[0].cancel()
        await asyncio.gather(waiting[0], return_exceptions=True)
        assert not any(door.is_full for door in doors)
        doors[0].leave()
        await asyncio.wait_for(waiting[1], 5)
        doors[2].leave()
        assert doors[0].has_place


async def test_who_waits_too_long_is_told_and_takes_no_place(tmp_path):
    async with workers(tmp_path, queue_s=0.05) as made:
        doors = [gates.of("one", 1) for _, gates in made]
        await doors[0].enter()
        with pytest.raises(Overloaded, match="too long"):
            await doors[1].enter()
        doors[0].leave()
        assert doors[2].has_place


async def test_what_a_dead_worker_had_inside_and_waiting_is_taken_out(tmp_path):
    async with workers(tmp_path) as made:
        doors = [gates.of("one", 2) for _, gates in made]
        await doors[1].enter()
        await doors[1].enter()
        lost = asyncio.create_task(doors[1].enter())
        await asyncio.sleep(0.001)
        waiting = asyncio.create_task(doors[2].enter())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        doors[1]._line.clear()  # it is dead: it looks at nothing any more
        made[0][0].empty(1)
        await asyncio.wait_for(waiting, 5)
        assert doors[0].busy.inside == 1
        lost.cancel()
        await asyncio.gather(lost, return_exceptions=True)


async def test_the_engines_clock_is_one(tmp_path):
    async with workers(tmp_path) as made:
        doors = [gates.of("one", 8) for _, gates in made]
        entered = [await door.enter() for door in doors]
        await asyncio.sleep(0.03)
        shares = [
            door.busy.reading_s() - reading for door, reading in zip(doors, entered, strict=True)
        ]
        for door in doors:
            door.leave()
        assert sum(shares) == pytest.approx(doors[0].busy.busy_s, rel=0.2)
        assert doors[1].busy.stay_s is None
        for _ in range(9):
            await doors[0].enter()
            doors[0].leave()
        assert 0 < doors[1].busy.stay_s < 1


async def test_a_gate_that_is_made_anew_under_its_name_keeps_its_line(tmp_path):
    async with workers(tmp_path) as made:
        gates = made[0][1]
        one = gates.of("one", 1)
        assert gates.of("one", 3) is one
        assert one.inside_max == 3
        assert gates.of("two", 1) is not one


async def test_calls_in_progress_are_those_of_all_workers(tmp_path):
    async with workers(tmp_path) as made:
        calls = [SharedCalls(places) for places, _ in made]
        for number, each in enumerate(calls):
            for _ in range(number):
                each.add(object())
        assert {len(each) for each in calls} == {3}
        made[0][0].empty(2)
        assert {len(each) for each in calls} == {1}
        for each in calls:
            await each.aclose()


def test_counts_are_added_and_gauges_are_the_firsts():
    first = b"""# HELP hn_requests_total Requests
# TYPE hn_requests_total counter
hn_requests_total{model="a b",state="done"} 2.0
# HELP hn_in_flight Inside
# TYPE hn_in_flight gauge
hn_in_flight 3.0
# HELP hn_took_seconds Time
# TYPE hn_took_seconds histogram
hn_took_seconds_bucket{le="+Inf"} 2.0
hn_took_seconds_sum 0.5
"""
    other = b"""# HELP hn_requests_total Requests
# TYPE hn_requests_total counter
hn_requests_total{model="a b",state="done"} 5.0
hn_requests_total{model="a b",state="failed"} 1.0
# HELP hn_in_flight Inside
# TYPE hn_in_flight gauge
hn_in_flight 9.0
# HELP hn_took_seconds Time
# TYPE hn_took_seconds histogram
hn_took_seconds_bucket{le="+Inf"} 6.0
hn_took_seconds_sum 0.25
"""
    lines = summed([first, other, b""]).decode().splitlines()
    assert 'hn_requests_total{model="a b",state="done"} 7.0' in lines
    assert 'hn_requests_total{model="a b",state="failed"} 1.0' in lines
    assert "hn_in_flight 3.0" in lines
    assert 'hn_took_seconds_bucket{le="+Inf"} 8.0' in lines
    assert "hn_took_seconds_sum 0.75" in lines
    assert summed([first]) == first
