"""Of requests that begin alike one reads the beginning, the others wait for its first token."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.services import openai
from haneul.services.leaders import (
    FOLLOWS,
    GOES,
    LEADS,
    SHARED_BYTES,
    WARM_MAX,
    WARM_S,
    Beginnings,
    Leaders,
    shared_mark,
)


def ask(text, *, is_long=True):
    begin = "s" * (SHARED_BYTES if is_long else 10)
    messages = [{"role": "system", "content": begin}, {"role": "user", "content": text}]
    return openai.read(openai.CHAT, msgspec.json.encode({"model": "m", "messages": messages}))


moves = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.integers(0, 2),
        st.sampled_from(["arrive", "read", "lost"]),
        st.floats(0, 200),
    ),
    max_size=80,
)


@given(moves)
def test_at_most_one_reads_a_beginning_and_nobody_waits_for_none(moves):
    """Six requests, three beginnings, whatever happens in whatever order."""
    known, leading, now = Beginnings(), {}, 0.0
    for who, beginning, what, passed_s in moves:
        now += passed_s
        if what == "arrive":
            said = known.arrive(beginning, who, now)
            if said == LEADS:
                assert beginning not in leading
                leading[beginning] = who
            elif said == FOLLOWS:
                assert beginning in leading
        else:
            led = known.end(beginning, who, now, is_read=what == "read")
            assert led == (leading.get(beginning) == who)
            if led:
                del leading[beginning]
                expected = GOES if what == "read" else LEADS
                assert known.arrive(beginning, "next", now) == expected
                known.end(beginning, "next", now, is_read=False)
    assert all(known.leads(beginning) == (beginning in leading) for beginning in range(3))


def test_a_beginning_read_long_ago_is_cold_again():
    known = Beginnings()
    assert known.arrive(1, "a", 0.0) == LEADS
    known.end(1, "a", 1.0, is_read=True)
    assert known.arrive(1, "b", WARM_S) == GOES
    assert known.arrive(1, "c", 2 * WARM_S + 1) == LEADS


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first():
    known = Beginnings()
    for number in range(WARM_MAX + 1):
        known.arrive(number, "a", 0.0)
        known.end(number, "a", 0.0, is_read=True)
    assert known.arrive(1, "b", 0.0) == GOES
    assert known.arrive(0, "b", 0.0) == LEADS


def test_prompts_are_alike_by_what_they_begin_with_and_short_ones_by_nothing():
    assert shared_mark(ask("one")) == shared_mark(ask("two")) is not None
    assert shared_mark(ask("one", is_long=False)) is None


async def test_followers_go_at_the_leaders_first_token():
    leaders = Leaders(wait_s=30, clock=time.monotonic)
    first = await leaders.turn(ask("one"))
    assert first.is_leading
    others = [asyncio.create_task(leaders.turn(ask(f"{number}"))) for number in range(5)]
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in others)
    first.read()
    turns = await asyncio.wait_for(asyncio.gather(*others), 1)
    assert not any(turn.is_leading for turn in turns)


async def test_one_follower_leads_when_the_leader_ends_without_a_token():
    leaders = Leaders(wait_s=30, clock=time.monotonic)
    first = await leaders.turn(ask("one"))
    others = [asyncio.create_task(leaders.turn(ask(f"{number}"))) for number in range(5)]
    await asyncio.sleep(0.01)
    first.close()
    done, waiting = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED, timeout=1)
    (heir,) = [task.result() for task in done]
    assert heir.is_leading
    assert len(waiting) == 4
    heir.read()
    assert not any(turn.is_leading for turn in await asyncio.gather(*waiting))


async def test_nobody_waits_longer_than_allowed():
    leaders = Leaders(wait_s=0.05, clock=time.monotonic)
    await leaders.turn(ask("one"))
    began = time.monotonic()
    turn = await leaders.turn(ask("two"))
    assert 0.04 < time.monotonic() - began < 1
    assert not turn.is_leading


async def test_a_follower_that_goes_away_keeps_nobody():
    leaders = Leaders(wait_s=30, clock=time.monotonic)
    first = await leaders.turn(ask("one"))
    gone, stays = (asyncio.create_task(leaders.turn(ask(text))) for text in "ab")
    await asyncio.sleep(0.01)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    first.read()
    assert not (await asyncio.wait_for(stays, 1)).is_leading
