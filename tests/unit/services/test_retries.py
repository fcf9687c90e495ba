"""Retries are a tenth of the calls at most, for each key and for all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from haneul.services.retries import OF_A_KEY, OF_ALL, SHARE, Retries


class Clock:
    """A time that the test moves."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_several_processes_have_the_stock_of_one_between_them():
    for processes in (1, 2, 5, 20):
        clock = Clock()
        parts = [Retries(clock, processes=processes) for _ in range(processes)]
        taken = 0
        for each in parts:
            each.called("k")
            while each.take("k"):
                taken += 1
        assert processes <= taken <= max(OF_A_KEY.most, processes)


steps = st.one_of(
    st.tuples(st.just("call"), st.integers(0, 40)),
    st.tuples(st.just("retry"), st.integers(0, 40)),
    st.tuples(st.just("wait"), st.floats(0, 100)),
)


@given(st.lists(steps, max_size=200))
def test_retries_are_never_more_than_a_tenth_of_the_calls_beside_the_stock(moves):
    clock = Clock()
    retries = Retries(clock)
    began, calls, made = clock.now, {}, {}
    for what, number in moves:
        if what == "wait":
            clock.now += number
            continue
        key = f"key-{number % 3}"
        for _ in range(number):
            if what == "call":
                retries.called(key)
                calls[key] = calls.get(key, 0) + 1
            elif retries.take(key):
                made[key] = made.get(key, 0) + 1
    passed_s = clock.now - began
    for key, count in made.items():
        most = OF_A_KEY.most + OF_A_KEY.per_s * passed_s + SHARE * calls.get(key, 0)
        assert count <= most + 1e-6
    most = OF_ALL.most + OF_ALL.per_s * passed_s + SHARE * sum(calls.values())
    assert sum(made.values()) <= most + 1e-6


def test_a_key_that_has_used_its_retries_takes_none_from_others():
    retries = Retries(Clock())
    while retries.take("bad"):
        pass
    assert retries.take("good")


def test_all_keys_together_have_their_end_too():
    retries = Retries(Clock())
    made = sum(retries.take(f"key-{number}") for number in range(1000))
    assert made == OF_ALL.most
