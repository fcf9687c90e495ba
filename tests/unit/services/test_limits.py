"""Budgets and rates, held by their laws against a clock that moves when it is told to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from haneul.base.errors import QuotaExceeded, RateLimited
from haneul.services.keys import Key
from haneul.services.limits import Account, Rate, Reservation


class Clock:
    """A time that moves when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def key(**terms):
    return Key(id="k", name="one", scopes=frozenset(), **terms)


def reserve(account, holder, nano=0, tokens=0):
    return account.reserve(holder, nano, tokens, currency="USD")


@given(
    per_minute=st.integers(1, 1000),
    steps=st.lists(st.tuples(st.floats(0, 90, allow_nan=False), st.integers(1, 50)), max_size=60),
)
def test_no_stretch_of_time_gives_more_than_a_full_bucket_and_what_flowed_in(per_minute, steps):
    clock = Clock()
    rate = Rate(per_minute, clock)
    taken = []
    for wait_s, amount in steps:
        clock.now += wait_s
        if rate.wait_s(amount) == 0 and amount <= per_minute:
            rate.take(amount)
            taken.append((clock.now, amount))
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            stretch_s = taken[last][0] - taken[first][0]
            used = sum(amount for _, amount in taken[first : last + 1])
            assert used <= per_minute * (1 + stretch_s / 60) + 1e-6


@given(per_minute=st.integers(1, 1000), used=st.integers(0, 3000), amount=st.integers(1, 1000))
def test_after_the_time_that_was_named_the_amount_is_there(per_minute, used, amount):
    clock = Clock()
    rate = Rate(per_minute, clock)
    rate.take(used)
    wait_s = rate.wait_s(amount)
    clock.now += wait_s + 1e-6
    assert rate.wait_s(amount) == pytest.approx(0, abs=1e-3)
    assert 0 <= rate.remaining <= per_minute


def test_what_comes_back_does_not_lift_a_bucket_above_its_brim():
    clock = Clock()
    rate = Rate(60, clock)
    rate.take(-1000)
    assert rate.remaining == 60


def test_a_changed_rate_does_not_forget_what_was_used():
    clock = Clock()
    account = Account(0, clock)
    for _ in range(10):
        reserve(account, key(requests_per_minute=10))
    with pytest.raises(RateLimited):
        reserve(account, key(requests_per_minute=5))
    for _ in range(5):
        reserve(account, key(requests_per_minute=15))
    with pytest.raises(RateLimited):
        reserve(account, key(requests_per_minute=15))


def test_a_refusal_by_one_limit_takes_nothing_from_the_others():
    account = Account(0, Clock())
    both = key(requests_per_minute=5, tokens_per_minute=10, budget_nano=100)
    reserve(account, both, nano=1, tokens=10)
    with pytest.raises(RateLimited, match="tokens per minute"):
        reserve(account, both, nano=1, tokens=1)
    assert (account.requests.remaining, account.reserved_nano) == (4, 1)
    with pytest.raises(QuotaExceeded):
        reserve(account, both, nano=1000)
    assert (account.requests.remaining, account.tokens.remaining) == (4, 0)


def test_a_request_of_more_tokens_than_a_minute_gives_waits_for_a_full_bucket_and_owes():
    clock = Clock()
    account = Account(0, clock)
    holder = key(tokens_per_minute=100)
    account.settle(reserve(account, holder, tokens=500), 0, 500)
    with pytest.raises(RateLimited) as caught:
        reserve(account, holder, tokens=1)
    assert caught.value.retry_after_s == pytest.approx(401 * 0.6)


@pytest.mark.parametrize("nano", [0, 1])
def test_a_budget_that_is_spent_refuses_even_what_is_free(nano):
    account = Account(10, Clock())
    with pytest.raises(QuotaExceeded, match=r"USD 0\.00"):
        reserve(account, key(budget_nano=10), nano=nano)


class Spending(RuleBasedStateMachine):
    """Any order of reservations and settlements keeps the account's promises."""

    running = Bundle("running")

    def __init__(self):
        super().__init__()
        self.budget = 10_000
        self.account = Account(0, Clock())
        self.held = {}
        self.spent = 0
        self.number = 0

    @rule(target=running, nano=st.integers(0, 4000))
    def begin(self, nano):
        left = self.budget - self.spent - sum(self.held.values())
        try:
            reservation = reserve(self.account, key(budget_nano=self.budget), nano=nano)
        except QuotaExceeded:
            assert nano > left or left <= 0
            return multiple()
        assert nano <= left
        self.number += 1
        self.held[self.number] = nano
        return self.number, reservation

    @rule(begun=running, share=st.floats(0, 1))
    def end(self, begun, share):
        number, reservation = begun
        if number in self.held:
            nano = self.held.pop(number)
            cost = int(nano * share)
            self.account.settle(reservation, cost, 0)
            self.spent += cost

    @invariant()
    def nothing_is_overdrawn_and_nothing_is_lost(self):
        assert self.account.spent_nano == self.spent
        assert self.account.reserved_nano == sum(self.held.values())
        assert self.account.spent_nano + self.account.reserved_nano <= self.budget


TestSpending = Spending.TestCase


def test_what_was_spent_before_the_start_counts():
    account = Account(90, Clock())
    reserve(account, key(budget_nano=100), nano=10)
    with pytest.raises(QuotaExceeded):
        reserve(account, key(budget_nano=100), nano=1)
    account.settle(Reservation(10, 0), 3, 0)
    assert account.remaining_nano(key(budget_nano=100)) == 7
    assert account.remaining_nano(key()) is None
