"""A request leaves an engine without its first byte only for a reason, and only once."""

from __future__ import annotations

import asyncio
import math
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.services import openai
from haneul.services.gate import Gate
from haneul.services.targets import Target, always_ready
from haneul.services.watch import (
    PATIENCE,
    PATIENCE_MIN_S,
    SEEN_MIN,
    First,
    Silent,
    Watch,
    patience_s,
)

SAID = b'[{"role":"user","content":"hi"}]'
ASK = openai.read(openai.CHAT, b'{"model":"m","messages":' + SAID + b',"stream":true}')
firsts = st.builds(First, st.floats(0.001, 100), st.integers(1, 10**6))


def target():
    gate = Gate(inside_max=1, queue_max=1, queue_s=1)
    return Target(
        model="e/m",
        engine="e",
        upstream_model="m",
        transport=None,
        gate=gate,
        ready=always_ready,
        currency="USD",
    )


@given(st.lists(firsts, max_size=40), st.integers(0, 10**7))
def test_patience_is_several_times_the_slowest_of_late_and_grows_with_the_prompt(seen, length):
    found_s = patience_s(deque(seen), length)
    if len(seen) < SEEN_MIN:
        assert found_s == math.inf, "nothing is known yet"
        return
    slowest_s = max(first.after_s for first in seen)
    assert found_s >= max(PATIENCE_MIN_S, PATIENCE * slowest_s)
    assert patience_s(deque(seen), 2 * length) >= found_s


async def test_one_that_leaves_is_told_once_and_can_go_on():
    watch, here = Watch(), target()
    wait = watch.wait(here, ASK, has_next=True)

    async def stay():
        with wait:
            wait.sent()
            asyncio.get_running_loop().call_soon(wait.leave)
            await asyncio.sleep(5)

    with pytest.raises(Silent):
        await stay()
    wait.leave()
    await asyncio.sleep(0)
    assert asyncio.current_task().cancelling() == 0
    await watch.aclose()


async def test_after_its_first_byte_nothing_takes_a_request_away():
    watch, here = Watch(), target()
    with watch.wait(here, ASK, has_next=True) as wait:
        wait.sent()
        wait.heard()
        wait.leave()
        await asyncio.sleep(0)
    assert not wait.is_left
    assert len(watch.firsts(here)) == 1
    await watch.aclose()


async def test_a_hang_up_beside_a_leave_stays_a_hang_up():
    """As with a timeout: whoever cancelled the task for another reason is obeyed."""
    watch, here = Watch(), target()

    async def run():
        with watch.wait(here, ASK, has_next=True) as wait:
            started.set_result(wait)
            await asyncio.sleep(5)

    started = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run())
    wait = await started
    wait.leave()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await watch.aclose()


async def test_what_has_nowhere_else_to_go_stays():
    watch = Watch()
    with watch.wait(target(), ASK, has_next=False) as wait:
        wait.sent()
        wait.leave()
        await asyncio.sleep(0)
    assert not wait.is_left
