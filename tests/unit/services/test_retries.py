"""Retries are a tenth of the calls at most, and an engine that rests is only asked last."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import (
    DeadlineExceeded,
    EngineFailed,
    EngineUnavailable,
    Overloaded,
    RateLimited,
)
from haneul.base.http import Disconnected
from haneul.services.retries import BREAKS_MAX, OF_A_KEY, OF_ALL, REST_MAX_S, SHARE, Retries


class Clock:
    """A time that the test moves."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class One(NamedTuple):
    """A target."""

    model: str


A, B, C = One("a/m"), One("b/m"), One("c/m")
ERRORS = (
    EngineFailed(),
    Disconnected(),
    EngineUnavailable(retry_after_s=2),
    RateLimited(retry_after_s=900),
    Overloaded(),
)
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


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.sampled_from([*ERRORS, None]))))
def test_no_engine_is_ever_left_out(failures):
    clock = Clock()
    retries = Retries(clock)
    for target, error in failures:
        clock.now += 0.3
        if error is None:
            retries.worked(target)
        else:
            retries.failed(target, error)
        assert sorted(retries.order([A, B, C])) == [A, B, C]
        assert retries.order([target]) == [target]
    clock.now += REST_MAX_S + 1
    assert list(retries.order([A, B, C])) == [A, B, C]


@pytest.mark.parametrize(
    ("error", "rest_s"),
    [
        (RateLimited(retry_after_s=7), 7),
        (Overloaded(retry_after_s=2), 2),
        (Overloaded(), 1),
        (EngineUnavailable(retry_after_s=3600), REST_MAX_S),
    ],
)
def test_an_engine_rests_as_long_as_it_asks_and_is_first_again_after(error, rest_s):
    clock = Clock()
    retries = Retries(clock)
    retries.failed(A, error)
    clock.now += rest_s - 0.01
    assert list(retries.order([A, B])) == [B, A]
    clock.now += 0.02
    assert list(retries.order([A, B])) == [A, B]


@pytest.mark.parametrize("error", [EngineFailed(), Disconnected(), DeadlineExceeded()])
def test_a_broken_answer_may_be_its_requests_own_fault(error):
    clock = Clock()
    retries = Retries(clock)
    for _ in range(20):
        for _ in range(BREAKS_MAX - 1):
            retries.failed(A, error)
        assert list(retries.order([A, B])) == [A, B]
        retries.worked(A)  # for somebody else
    for _ in range(BREAKS_MAX):
        retries.failed(A, error)
    assert list(retries.order([A, B])) == [B, A]


def test_of_two_that_rest_the_sooner_ready_is_asked_first():
    retries = Retries(Clock())
    retries.failed(A, RateLimited(retry_after_s=30))
    retries.failed(B, RateLimited(retry_after_s=3))
    assert list(retries.order([A, B, C])) == [C, B, A]
