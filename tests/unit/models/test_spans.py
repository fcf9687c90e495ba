"""Who fetches which bytes: nothing twice, nothing forgotten, whatever the connections do."""

import asyncio
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from haneul.models.pulling.spans import SHARE_BYTES, SILENT_S, Held, Plan

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=20)


@given(RANGES, st.integers(0, 80), st.integers(0, 80))
def test_ranges_hold_what_was_added_and_gaps_are_the_rest(added, low, high):
    held = Held((start, start + size) for start, size in added)
    told = {byte for start, size in added for byte in range(start, start + size)}
    ranges = list(held)
    assert {byte for start, end in ranges for byte in range(start, end)} == told
    assert all(a[1] < b[0] for a, b in pairwise(ranges))
    assert held.bytes == len(told)
    assert held.head == next(byte for byte in range(100) if byte not in told)
    missing = {byte for start, end in held.gaps(low, high) for byte in range(start, end)}
    assert missing == set(range(low, high)) - told


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "share", "bring", "cut", "wait"]),
        st.integers(0, 7),
        st.integers(1, 3 * SHARE_BYTES),
    ),
    max_size=60,
)


@settings(max_examples=60)
@given(st.integers(1, 20 * SHARE_BYTES), STEPS)
async def test_no_byte_is_given_to_two_and_every_byte_is_given_in_the_end(total, steps):
    plan, now_s = Plan(Held(), total), 0.0

    def bring(span, count):
        start = span.position
        span.move(min(count, span.end - start), now_s)
        assert (
            not list(Held(plan.held).gaps(start, span.position))
            or start == span.position
            or (list(plan.held.gaps(start, span.position)) == [(start, span.position)])
        )
        plan.held.add(start, span.position)
        if span.position >= span.end or span.is_taken:
            plan.drop(span)

    def check():
        left = [(span.position, span.end) for span in plan.running]
        rest = sorted((start, end) for start, end in left if start < end)  # others end at once
        assert all(a[1] <= b[0] for a, b in pairwise(rest))
        for low, high in rest:
            assert sum(end - start for start, end in plan.held.gaps(low, high)) == high - low

    for what, which, count in steps:
        now_s += 0.01
        if what == "take":
            plan.take(count, now_s, shared_by=4)
        elif what == "share":
            plan.share(now_s)
        elif what == "wait":
            now_s += SILENT_S
        elif plan.running:
            span = plan.running[which % len(plan.running)]
            bring(span, count) if what == "bring" else plan.drop(span)
        check()
    for span in list(plan.running):
        plan.drop(span)
    while (span := plan.take(1 << 40, now_s, shared_by=1)) is not None:
        bring(span, total)
    assert plan.is_whole
    assert plan.held.bytes == total


async def test_half_of_what_the_slowest_has_left_goes_to_who_has_nothing_to_do():
    plan = Plan(Held(), 8 * SHARE_BYTES)
    slow = plan.rest(0, 0.0)
    assert plan.take(1, 0.0, shared_by=2) is None
    assert plan.share(0.0) is None  # it has not begun: nobody knows how slow it is
    slow.move(2 * SHARE_BYTES, 1.0)
    taken = plan.share(1.0)
    assert (slow.end, taken.start, taken.end) == (5 * SHARE_BYTES, 5 * SHARE_BYTES, 8 * SHARE_BYTES)


async def test_all_of_what_a_silent_one_has_left_goes_to_another_and_its_wait_ends():
    plan = Plan(Held(), 1000)
    silent = plan.rest(0, 0.0)
    silent.move(900, 0.0)
    assert plan.share(SILENT_S / 2) is None
    taken = plan.share(SILENT_S)
    assert (taken.start, taken.end, silent.end) == (900, 1000, 900)
    assert silent.is_taken


async def test_wait_that_is_let_go_ends_at_once():
    plan = Plan(Held(), 1000)
    span = plan.rest(0, 0.0)
    try:
        async with asyncio.timeout(None) as clock:
            span.clock = clock
            span.let_go(asyncio.get_running_loop().time())
            await asyncio.sleep(60)
    except TimeoutError:
        return
    raise AssertionError
