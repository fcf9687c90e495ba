"""Budgets and rates, held by their laws against a clock that moves when it is told to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from haneul.base.errors import QuotaExceeded, RateLimited
from haneul.services.budgets import Limit
from haneul.services.keys import Key
from haneul.services.limits import Account
from haneul.services.periods import PERIODS, day_of, month_bounds_us, month_of, renews_us, starts
from haneul.services.purse import Purse, Rate
from haneul.store.spending import DAY_US

DAY = 20_779  # 2026-11-22, a Sunday
NOON_US = DAY * DAY_US + DAY_US // 2


class Clock:
    """A time that moves when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def limit(amount, measure="money", period="total", kind="key", owner="k"):
    return Limit(kind, owner, f"{kind} '{owner}'", measure, period, amount)


def key(*limits, **fields):
    known = {"id": "k", "name": "one", "tenant_id": "t", "scopes": frozenset()}
    return Key(**{**known, **fields}, limits=limits)


def account(holder=None, clock=None, **purses):
    found = {"key": Purse(DAY), **purses}
    return Account(holder or key(), found, clock or Clock())


def reserve(taken_from, holder, nano=0, tokens=0, at_us=NOON_US):
    return taken_from.reserve(holder, nano, tokens, currency="USD", at_us=at_us)


# rates
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
    one = account()
    ten, five, fifteen = (key(limit(count, "requests")) for count in (10, 5, 15))
    for _ in range(10):
        reserve(one, ten)
    with pytest.raises(RateLimited):
        reserve(one, five)
    for _ in range(5):
        reserve(one, fifteen)
    with pytest.raises(RateLimited):
        reserve(one, fifteen)


def test_a_refusal_by_one_limit_takes_nothing_from_the_others():
    one = account()
    both = key(limit(5, "requests"), limit(10, "tokens"), limit(100))
    reserve(one, both, nano=1, tokens=10)
    with pytest.raises(RateLimited, match="tokens per minute"):
        reserve(one, both, nano=1, tokens=1)
    assert (one.requests.remaining, one.reserved_nano) == (4, 1)
    with pytest.raises(QuotaExceeded):
        reserve(one, both, nano=1000)
    assert (one.requests.remaining, one.tokens.remaining) == (4, 0)


def test_a_request_of_more_tokens_than_a_minute_gives_waits_for_a_full_bucket_and_owes():
    one, holder = account(), key(limit(100, "tokens"))
    one.settle(reserve(one, holder, tokens=500), 0, 500)
    with pytest.raises(RateLimited) as caught:
        reserve(one, holder, tokens=1)
    assert caught.value.retry_after_s == pytest.approx(401 * 0.6)


def test_a_tenants_rate_is_one_for_all_its_keys():
    tenant = Purse(DAY)
    shared = limit(3, "requests", kind="tenant", owner="t")
    holders = [key(shared, id=name) for name in ("a", "b")]
    first, second = (account(holder, tenant=tenant) for holder in holders)
    reserve(first, holders[0])
    reserve(second, holders[1])
    reserve(first, holders[0])
    with pytest.raises(RateLimited, match="tenant 't'"):
        reserve(second, holders[1])


def test_no_more_run_at_once_than_may_and_an_ended_one_makes_room():
    one, holder = account(), key(limit(2, "concurrency"))
    first = reserve(one, holder)
    reserve(one, holder)
    with pytest.raises(RateLimited, match="2 requests running at once") as caught:
        reserve(one, holder)
    assert caught.value.retry_after_s is not None
    one.settle(first, 0, 0)
    reserve(one, holder)


# budgets
@pytest.mark.parametrize("nano", [0, 1])
def test_a_budget_that_is_spent_refuses_even_what_is_free(nano):
    one = account(key=Purse(DAY, before_nano=10))
    with pytest.raises(QuotaExceeded, match=r"USD 0\.00"):
        reserve(one, key(limit(10)), nano=nano)


def test_what_was_spent_before_the_start_counts_in_its_own_periods():
    past = [(DAY - 7, 1), (DAY - 1, 10), (DAY, 100)]  # last week, yesterday, today
    purse = Purse(DAY, before_nano=1000, days=past)
    assert [window.spent for window in purse.windows(DAY)] == [1111, 100, 110, 111]
    assert [window.spent for window in purse.windows(DAY - 1)] == [1111, 10, 110, 111]


def test_a_request_that_runs_over_midnight_is_paid_on_the_day_it_came():
    one, holder = account(), key(limit(10, period="day"))
    before = reserve(one, holder, nano=10, at_us=(DAY + 1) * DAY_US - 1)
    with pytest.raises(QuotaExceeded):
        reserve(one, holder, nano=1, at_us=(DAY + 1) * DAY_US - 1)
    reserve(one, holder, nano=10, at_us=(DAY + 1) * DAY_US)
    one.settle(before, 4, 0)
    (left,) = one.left(holder, at_us=(DAY + 1) * DAY_US - 1)
    assert left.nano == 6
    with pytest.raises(QuotaExceeded):
        reserve(one, holder, nano=1, at_us=(DAY + 1) * DAY_US)


@pytest.mark.parametrize(
    ("period", "renews"),
    [
        ("day", "2026-11-23 00:00:00Z"),
        ("week", "2026-11-23"),
        ("month", "2026-12-01"),
        ("total", ""),
    ],
)
def test_a_refusal_says_which_budget_what_is_left_and_when_it_renews(period, renews):
    one, holder = account(), key(limit(10, period=period))
    reserve(one, holder, nano=7)
    with pytest.raises(QuotaExceeded) as caught:
        reserve(one, holder, nano=4)
    said = caught.value
    assert "key 'k' has USD 0.000000003 of its budget" in said.message
    assert renews in said.message
    assert said.facts["budget"] == {"of": "key", "period": period, "left_nano": 3}
    expected = renews_us(period, NOON_US)
    assert said.facts["renews_us"] == expected
    assert said.retry_after_s == (None if expected is None else (expected - NOON_US) / 1e6)


def test_waiting_is_not_advised_where_the_next_period_would_not_pay_either():
    one, holder = account(), key(limit(10, period="day"))
    with pytest.raises(QuotaExceeded) as caught:
        reserve(one, holder, nano=11)
    assert caught.value.retry_after_s is None


def test_the_budget_of_another_app_does_not_hold():
    of_b = limit(0, kind="app", owner="t/b")
    holder = key(of_b, app="a")
    reserve(account(holder, app=Purse(DAY)), holder, nano=1)
    holder = key(of_b, app="b")
    its_own = account(holder, app=Purse(DAY))
    with pytest.raises(QuotaExceeded):
        reserve(its_own, holder, nano=1)


@given(st.integers(0, 60_000))
def test_periods_begin_before_they_renew_and_hold_the_day(day):
    at_us = day * DAY_US + 5
    for period, start in zip(PERIODS[1:], starts(day)[1:], strict=True):
        renews = renews_us(period, at_us)
        assert start <= day < renews // DAY_US
        index = PERIODS.index(period)
        assert starts(renews // DAY_US - 1)[index] == start
        assert starts(renews // DAY_US)[index] == renews // DAY_US
    first_us, next_us = month_bounds_us(month_of(at_us))
    assert (day_of(first_us), next_us) == (starts(day)[3], renews_us("month", at_us))


OWNERS = {"key": "k", "user": "u", "tenant": "t", "app": "t/a"}


class Spending(RuleBasedStateMachine):
    """Any order of reservations, settlements and days keeps every nested budget's promise."""

    running = Bundle("running")

    def __init__(self):
        super().__init__()
        self.day = DAY
        self.rows = []  # (day, cost), as the ledger would hold them
        self.held = {}
        self.number = 0
        self.limits = [
            limit(amount, period=period, kind=kind, owner=OWNERS[kind])
            for kind, period, amount in (
                ("key", "total", 20_000),
                ("key", "day", 3000),
                ("user", "week", 6000),
                ("tenant", "month", 9000),
                ("tenant", "day", 4000),
                ("app", "day", 2500),
            )
        ]
        self.holder = key(*self.limits, user_id="u", app="a")
        self.purses = {kind: Purse(DAY) for kind in OWNERS}
        self.account = Account(self.holder, self.purses, Clock())

    def used(self, period, day):
        """By rows and by what is held, counted anew from all of them."""
        index = PERIODS.index(period)
        all_of_it = self.rows + [(on, nano) for on, nano in self.held.values()]
        return sum(nano for on, nano in all_of_it if starts(on)[index] == starts(day)[index])

    @rule(target=running, nano=st.integers(0, 3000), is_late=st.booleans())
    def begin(self, nano, is_late):
        day = self.day - 1 if is_late and self.day > DAY else self.day
        left = min(each.amount - self.used(each.period, day) for each in self.limits)
        try:
            reservation = reserve(self.account, self.holder, nano=nano, at_us=day * DAY_US)
        except QuotaExceeded:
            assert nano > left or left <= 0
            return multiple()
        assert nano <= left
        self.number += 1
        self.held[self.number] = (day, nano)
        return self.number, reservation

    @rule(begun=running, share=st.floats(0, 1))
    def end(self, begun, share):
        number, reservation = begun
        if number in self.held:
            day, nano = self.held.pop(number)
            cost = int(nano * share)
            self.account.settle(reservation, cost, 0)
            self.rows.append((day, cost))

    @rule(days=st.integers(1, 20))
    def time_passes(self, days):
        self.day += days

    @rule()
    def the_cloud_starts_anew(self):
        """Only when nothing runs, as after a stop: what was spent is read from the sums."""
        if not self.held:
            self.purses = {kind: Purse(self.day, days=self.rows) for kind in OWNERS}
            self.account = Account(self.holder, self.purses, Clock())

    @invariant()
    def nothing_is_overdrawn_and_nothing_is_lost(self):
        for each in self.account.left(self.holder, at_us=self.day * DAY_US):
            assert each.nano == each.limit.amount - self.used(each.limit.period, self.day) >= 0
        assert {purse.running for purse in self.purses.values()} == {len(self.held)}


TestSpending = Spending.TestCase
