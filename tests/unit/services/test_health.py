"""A target that refuses is pushed back, and brought back by one request that tries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from haneul.services.health import BREAKS_MAX, PAUSE_MAX_S, PROBE_S, RETRY_AFTER_MAX_S, Health

chances = st.floats(0, 1)


def test_a_target_that_never_failed_is_never_paused():
    health = Health()
    health.trying(5.0)
    assert health.paused_s(0.0) == health.paused_s(5.0) == 0.0


@given(st.lists(chances, min_size=1, max_size=40))
def test_pauses_grow_up_to_a_minute_and_each_has_a_jitter(draws):
    health, now = Health(), 0.0
    for number, chance in enumerate(draws):
        health.failed(now, retry_after_s=None, chance=chance)
        full_s = min(0.5 * 2**number, PAUSE_MAX_S)
        assert full_s / 2 - 1e-6 <= health.paused_s(now) <= full_s + 1e-6
        now += health.paused_s(now)
        assert health.paused_s(now + 1e-6) == 0.0, "it may be asked again"


@given(st.floats(0, 1e6), chances)
def test_an_engine_is_left_alone_for_as_long_as_it_asks(asked_s, chance):
    health = Health()
    health.failed(0.0, retry_after_s=asked_s, chance=chance)
    assert health.paused_s(0.0) >= min(asked_s, RETRY_AFTER_MAX_S)
    assert health.paused_s(0.0) <= 1.1 * RETRY_AFTER_MAX_S


def test_one_request_tries_and_the_others_wait_for_what_it_finds():
    health = Health()
    health.failed(0.0, retry_after_s=1, chance=0.0)
    assert health.paused_s(2.0) == 0.0
    health.trying(2.0)
    assert health.paused_s(2.0) == PROBE_S
    health.worked()
    assert health.paused_s(2.0) == 0.0


def test_a_probe_whose_client_went_away_lets_the_next_one_try():
    health = Health()
    health.failed(0.0, retry_after_s=1, chance=0.0)
    health.trying(2.0)
    health.untried()
    assert health.paused_s(2.0) == 0.0


def test_broken_answers_pause_only_when_they_cannot_be_one_requests_fault():
    health = Health()
    for _ in range(BREAKS_MAX - 1):
        health.failed(0.0, retry_after_s=None, chance=0.0, is_broken=True)
        assert health.paused_s(0.0) == 0.0
    health.failed(0.0, retry_after_s=None, chance=0.0, is_broken=True)
    assert health.paused_s(0.0) > 0.0


def test_one_with_too_much_to_do_rests_and_then_all_may_come_at_once():
    health = Health()
    health.rest(0.0, retry_after_s=3, chance=0.0)
    assert health.paused_s(0.0) == 3.0
    health.worked()  # for one that was there before
    assert health.paused_s(1.0) == 2.0, "what it asked for holds"
    health.trying(3.0)
    assert health.paused_s(3.0) == 0.0
    assert health.failures == 0


def test_a_first_byte_is_enough_for_the_others_to_come_again():
    health = Health()
    health.failed(0.0, retry_after_s=1, chance=0.0)
    health.trying(2.0)
    health.heard()
    assert health.paused_s(2.0) == 0.0
