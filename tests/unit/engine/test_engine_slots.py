"""Places and the line before them."""

import asyncio

import pytest

from haneul.base.errors import Overloaded
from haneul.engine.fan_out import fan_out
from haneul.engine.kernel import Piece
from haneul.engine.slots import Slots

PIECE = Piece(prompt_tokens=1, cached_tokens=0, completion_tokens=1)


def made(slots=2, queue_max=1, wait_s=5.0):
    return Slots(slots=slots, queue_max=queue_max, wait_s=wait_s)


async def test_one_more_than_places_and_line_is_refused():
    slots = made(slots=1, queue_max=1)
    with slots.admit(), slots.admit():
        with pytest.raises(Overloaded) as refused, slots.admit():
            pass
        assert refused.value.retry_after_s
    with slots.admit():
        assert slots.requests == 1
    assert slots.idle.is_set()


async def test_a_place_that_never_comes_free_is_given_up():
    slots = made(slots=1, wait_s=0.01)
    async with slots.place():
        with pytest.raises(Overloaded):
            async with slots.place():
                pass
    assert (slots.running, slots.waiting) == (0, 0)


async def test_a_fan_out_runs_no_more_than_the_places_and_emits_everything():
    slots, most, emitted = made(slots=3), 0, []

    async def start(index):
        nonlocal most
        for _ in range(3):
            most = max(most, slots.running)
            await asyncio.sleep(0)
            yield PIECE

    async def emit(index, piece):
        emitted.append(index)

    await fan_out(10, start=start, emit=emit, slots=slots)
    assert sorted(emitted) == sorted([*range(10)] * 3)
    assert most == 3
    assert slots.running == 0


@pytest.mark.parametrize("count", [1, 5])
async def test_the_first_error_ends_every_sequence(count):
    slots, closed = made(), []

    async def start(index):
        try:
            yield PIECE
            if index == 0:
                raise Overloaded
            await asyncio.sleep(60)
        finally:
            closed.append(index)

    async def emit(index, piece):
        pass

    with pytest.raises(Overloaded):
        await fan_out(count, start=start, emit=emit, slots=slots)
    assert slots.running == 0
    assert 0 in closed
