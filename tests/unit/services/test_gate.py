"""The door of an engine: never too many inside, first come first served, no place lost."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import Overloaded
from haneul.services.gate import Busy, Gate


class Clock:
    """A time that moves when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@given(
    st.lists(
        st.tuples(st.integers(0, 7), st.floats(0, 100, allow_nan=False)), min_size=1, max_size=60
    )
)
def test_the_shares_of_all_requests_add_up_to_the_busy_time(moves):
    """Each move lets some time pass, then one of eight requests enters, or leaves if inside."""
    clock = Clock()
    busy = Busy(clock)
    entered, shares, busy_s = {}, 0.0, 0.0
    for who, passed_s in [*moves, *((who, 1.0) for who in range(8))]:
        busy_s += passed_s if entered else 0
        clock.now += passed_s
        if who in entered:
            busy.leave()
            shares += busy.reading_s() - entered.pop(who)
        else:
            entered[who] = busy.enter()
    for who in list(entered):
        busy.leave()
        shares += busy.reading_s() - entered.pop(who)
    assert busy.inside == 0
    assert shares == pytest.approx(busy_s, abs=1e-6)
    assert busy.busy_s == pytest.approx(busy_s, abs=1e-6)


def test_no_share_is_more_than_the_time_inside():
    clock = Clock()
    busy = Busy(clock)
    one = busy.enter()
    clock.now = 3
    two = busy.enter()
    clock.now = 5
    assert busy.reading_s() - one == 4
    assert busy.reading_s() - two == 1
    busy.leave()
    clock.now = 6
    assert busy.reading_s() - one == 5


@asynccontextmanager
async def inside(gate):
    reading_s = await gate.enter()
    try:
        yield reading_s
    finally:
        gate.leave()


async def visit(gate, stay, log, name):
    async with inside(gate):
        log.append(name)
        await stay.wait()


async def test_those_who_wait_enter_in_the_order_they_came():
    gate = Gate(inside_max=1, queue_max=10, queue_s=60)
    doors, log = [asyncio.Event() for _ in range(6)], []
    visits = [asyncio.create_task(visit(gate, door, log, n)) for n, door in enumerate(doors)]
    for door in doors:
        await asyncio.sleep(0)
        door.set()
    await asyncio.gather(*visits)
    assert log == [0, 1, 2, 3, 4, 5]
    assert (gate.waiting, gate.busy.inside) == (0, 0)


async def test_a_newcomer_does_not_overtake_those_who_wait():
    gate = Gate(inside_max=1, queue_max=10, queue_s=60)
    first, log = asyncio.Event(), []
    never = asyncio.Event()
    one = asyncio.create_task(visit(gate, first, log, "first"))
    await asyncio.sleep(0)
    two = asyncio.create_task(visit(gate, never, log, "waiting"))
    await asyncio.sleep(0)
    first.set()
    await one
    three = asyncio.create_task(visit(gate, never, log, "newcomer"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log == ["first", "waiting"]
    never.set()
    await asyncio.gather(two, three)


async def test_beyond_the_queue_is_refused_at_once():
    gate = Gate(inside_max=1, queue_max=2, queue_s=60)
    stay, log = asyncio.Event(), []
    visits = [asyncio.create_task(visit(gate, stay, log, n)) for n in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="queue") as caught:
        await visit(gate, stay, log, "late")
    assert caught.value.retry_after_s
    stay.set()
    await asyncio.gather(*visits)
    await visit(gate, stay, log, "again")


async def test_nobody_waits_longer_than_the_queue_allows():
    gate = Gate(inside_max=1, queue_max=2, queue_s=0.05)
    stay, log = asyncio.Event(), []
    inside = asyncio.create_task(visit(gate, stay, log, "inside"))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="too long"):
        await visit(gate, stay, log, "waiting")
    assert gate.waiting == 0
    stay.set()
    await inside


async def test_a_queue_of_none_admits_only_who_finds_a_place():
    gate = Gate(inside_max=1, queue_max=0, queue_s=1)
    async with inside(gate):
        with pytest.raises(Overloaded):
            await gate.enter()
    async with inside(gate):
        pass


@pytest.mark.parametrize("seed", range(30))
async def test_however_visitors_come_give_up_and_go_no_place_is_lost_or_doubled(seed):
    dice = random.Random(seed)
    inside_max = dice.randint(1, 4)
    gate = Gate(inside_max=inside_max, queue_max=dice.randint(0, 8), queue_s=0.004)
    most = 0

    async def one():
        nonlocal most
        for _ in range(dice.randint(0, 5)):
            await asyncio.sleep(0)
        try:
            async with inside(gate):
                most = max(most, gate.busy.inside)
                for _ in range(dice.randint(0, 4)):
                    await asyncio.sleep(dice.choice([0, 0, 0.001]))
                if dice.random() < 0.2:
                    raise LookupError
        except (Overloaded, LookupError):
            pass

    visits = [asyncio.create_task(one()) for _ in range(40)]
    while not all(visit.done() for visit in visits):
        if dice.random() < 0.3:
            dice.choice(visits).cancel()
        await asyncio.sleep(dice.choice([0, 0, 0.001]))
    await asyncio.gather(*visits, return_exceptions=True)
    assert 0 < most <= inside_max
    assert (gate.busy.inside, gate.waiting) == (0, 0)
    stay, log = asyncio.Event(), []
    again = [asyncio.create_task(visit(gate, stay, log, n)) for n in range(inside_max)]
    await asyncio.sleep(0)
    assert len(log) == inside_max, "every place can be taken again"
    stay.set()
    await asyncio.gather(*again)


# how long one waits
def test_nothing_is_said_of_a_wait_before_requests_have_left():
    gate = Gate(inside_max=0, queue_max=3, queue_s=1)
    assert gate.wait_s is None
    assert gate.retry_after_s == 5


@given(st.integers(1, 8), st.floats(0.01, 100))
def test_how_long_one_stays_is_learnt_from_those_that_left(together, stay_s):
    clock = Clock()
    busy = Busy(clock)
    for _ in range(60):
        for _ in range(together):
            busy.enter()
        clock.now += stay_s
        for _ in range(together):
            busy.leave()
    assert busy.stay_s == pytest.approx(stay_s, rel=0.25)


async def test_a_wait_is_the_stays_before_it_over_the_places():
    gate = Gate(inside_max=2, queue_max=9, queue_s=60)
    clock = Clock()
    gate.busy = Busy(clock)
    for _ in range(200):
        await gate.enter()
        clock.now += 3
        gate.leave()
    assert gate.wait_s == 0
    await gate.enter()
    await gate.enter()
    waiting = [asyncio.create_task(gate.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    assert gate.wait_s == pytest.approx(4 * 3 / 2, rel=0.1)
    assert gate.retry_after_s == gate.wait_s
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
