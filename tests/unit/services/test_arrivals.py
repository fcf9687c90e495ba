"""Bodies on their way never go over their bounds, and whoever is quick is never the one to go."""

from __future__ import annotations

from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from haneul.base.errors import Overloaded
from haneul.services.arrivals import GRACE_S, KEY_SHARE, Arrivals
from haneul.services.keys import LOCAL

KEYS = [replace(LOCAL, id=f"k{number}") for number in range(5)]
MOST, MOST_BYTES = 8, 8_000


class Coming:
    """A call, as far as its body goes."""

    def __init__(self, length):
        self.headers = {b"content-length": b"%d" % length}
        self.arrived_bytes = 0
        self.has_body = False
        self.ended = None

    def check_head(self, max_bytes):
        pass

    def end(self, error):
        self.ended = error


steps = st.tuples(
    st.integers(0, 4), st.integers(1, 1000), st.floats(0, 2), st.integers(0, 1000), st.booleans()
)


@given(st.lists(steps, max_size=60))
def test_no_bound_is_ever_passed_and_only_slow_ones_make_room(moves):
    now = 0.0
    arrivals = Arrivals(most=MOST, most_bytes=MOST_BYTES, clock=lambda: now)
    here = []  # key, call, began, what closes it
    for number, length, pause_s, arrived, is_whole in moves:
        now += pause_s
        call, stack = Coming(length), ExitStack()
        try:
            stack.enter_context(arrivals.place(call, KEYS[number], max_bytes=10**6))
        except Overloaded:
            mine = sum(key == number for key, *_ in here)
            share_bytes = sum(int(c.headers[b"content-length"]) for k, c, *_ in here if k == number)
            is_full = mine >= MOST // KEY_SHARE or len(here) >= MOST
            assert is_full or share_bytes + length > MOST_BYTES // KEY_SHARE
            continue
        ended = [each for each in here if each[1].ended]
        assert all(now - began >= GRACE_S and not c.has_body for _, c, began, _ in ended)
        for each in ended:
            each[3].close()
            here.remove(each)
        call.arrived_bytes, call.has_body = min(arrived, length), is_whole
        here.append((number, call, now, stack))
        assert len(here) <= MOST
        sizes = [int(c.headers[b"content-length"]) for _, c, *_ in here]
        assert sum(sizes) <= MOST_BYTES
        for key in range(5):
            mine = [int(c.headers[b"content-length"]) for k, c, *_ in here if k == key]
            assert len(mine) <= MOST // KEY_SHARE
            assert len(mine) <= 1 or sum(mine) <= MOST_BYTES // KEY_SHARE
    for *_, stack in here:
        stack.close()
    assert len(arrivals) == 0
