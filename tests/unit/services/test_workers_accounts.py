"""Accounts in the shared book: the answers of one process, whoever asks and whoever dies."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haneul.base.errors import HaneulError, Overloaded, RateLimited
from haneul.services.book import Book
from haneul.services.budgets import Limit
from haneul.services.holds import REQUESTS, TOKEN_RATE, Pace, Sums, TooFast
from haneul.services.keys import Key
from haneul.services.limits import Account
from haneul.services.purse import Purse
from haneul.services.workers.accounts import SharedAccount, give_back, mark_of
from haneul.store.ledger import RequestRow
from haneul.store.spending import DAY_US

DAY = 20_779  # 2026-11-22, a Sunday
LIMITS = (
    Limit("key", "k", "API key 'k'", "money", "total", 90_000),
    Limit("key", "k", "API key 'k'", "money", "day", 6_000),
    Limit("tenant", "t", "tenant 't'", "money", "week", 14_000),
    Limit("tenant", "t", "tenant 't'", "money", "month", 40_000),
    Limit("key", "k", "API key 'k'", "requests", "", 120),
    Limit("key", "k", "API key 'k'", "tokens", "", 6_000),
    Limit("tenant", "t", "tenant 't'", "tokens", "", 9_000),
    Limit("tenant", "t", "tenant 't'", "concurrency", "", 4),
    Limit("app", "t/other", "app 'other'", "money", "total", 0),
)


class Clock:
    """A time that moves when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def key(*limits):
    return Key(id="k", name="k", tenant_id="t", scopes=frozenset(), limits=limits)


def row(request_id, cost_nano, prompt_tokens=0, completion_tokens=0):
    return RequestRow(
        id=request_id,
        key_id="k",
        tenant_id="t",
        route="chat",
        state="aborted",
        status=499,
        currency="USD",
        received_us=DAY * DAY_US,
        finished_us=DAY * DAY_US,
        cost_nano=cost_nano,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
    )


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory() as found:
        yield Path(found)


def account(book, entries=8, at=0):
    owners = {
        kind: book.open(f"{kind}/{name}", day=DAY, before_nano=0, days=[])
        for kind, name in (("key", "k"), ("tenant", "t"))
    }
    return SharedAccount(key(), book, owners, list(range(at, at + entries)))


def told(ask):
    """What was said: an amount reserved, or the refusal in its words."""
    try:
        return ask()
    except HaneulError as error:
        return (error.code, error.message, error.retry_after_s)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),  # quarters of a second that pass
            st.sampled_from([0, 0, 0, 0, 1, 9]),  # days
            st.integers(0, 5),  # which request begins, or ends
            st.integers(0, 4000),
            st.integers(0, 3000),
        ),
        max_size=60,
    )
)
@settings(deadline=None, max_examples=80)
def test_a_shared_account_says_what_an_account_of_one_process_says(steps):
    with tempfile.TemporaryDirectory() as folder:
        clock, holder = Clock(), key(*LIMITS)
        book = Book(Path(folder) / "book", entries=8, owners=2, clock=clock)
        shared, day = account(book), DAY
        alone = Account(key(), {"key": Purse(DAY), "tenant": Purse(DAY)}, clock)
        running = {}
        for quarters, days, who, nano, tokens in steps:
            clock.now += quarters / 4
            day += days
            at_us = day * DAY_US + 1
            if who in running:
                for each, held in zip((alone, shared), running.pop(who), strict=True):
                    each.settle(held, nano // 2, tokens // 3)
            else:
                terms = {"currency": "USD", "at_us": at_us}
                one = told(lambda: alone.reserve(holder, nano, tokens, **terms))  # noqa: B023
                other = told(lambda: shared.reserve(holder, nano, tokens, **terms))  # noqa: B023
                if hasattr(one, "windows"):
                    assert other.nano == one.nano
                    running[who] = (one, other)
                else:
                    assert other == one
            lefts = [each.left(holder, at_us=at_us) for each in (alone, shared)]
            assert lefts[0] == lefts[1]
            assert shared.spent_nano == alone.spent_nano
            assert shared.reserved_nano == alone.reserved_nano
            for rate in ("requests", "tokens"):
                mine, theirs = getattr(alone, rate), getattr(shared, rate)
                if mine is not None:
                    assert theirs.remaining == pytest.approx(mine.remaining, abs=1)
                    assert theirs.wait_s(mine.per_minute) == pytest.approx(
                        mine.wait_s(mine.per_minute), abs=1e-3
                    )
        book.close()


def test_two_workers_spend_from_one_budget_and_one_rate(folder):
    clock, holder = Clock(), key(*LIMITS)
    books = [Book(folder / "book", entries=8, owners=2, clock=clock) for _ in range(2)]
    one, two = (account(book, 4, 4 * number) for number, book in enumerate(books))
    terms = {"currency": "USD", "at_us": DAY * DAY_US}
    held = one.reserve(holder, 4000, 100, **terms)
    with pytest.raises(HaneulError, match="of its budget of this day"):
        two.reserve(holder, 2001, 100, **terms)
    assert two.reserved_nano == 4000
    one.settle(held, 1000, 5900)
    with pytest.raises(RateLimited, match="tokens per minute"):
        two.reserve(holder, 10, 200, **terms)
    clock.now += 2
    two.settle(two.reserve(holder, 10, 200, **terms), 10, 200)
    assert one.spent_nano == 1010
    for book in books:
        book.close()


def test_a_changed_limit_does_not_forget_what_was_used(folder):
    clock = Clock()
    book = Book(folder / "book", entries=8, owners=2, clock=clock)
    owner = book.open("key/k", day=DAY, before_nano=0, days=[])
    wide, narrow = (Pace(0, TOKEN_RATE, amount) for amount in (600, 60))
    assert book.reserve(0, DAY, [owner], [], 0, paces=[wide], tokens=560) is None
    assert book.reserve(1, DAY, [owner], [], 0, paces=[narrow], tokens=1) == TooFast(narrow, 501.0)
    assert book.level(owner, TOKEN_RATE, 600) == 40
    assert book.level(owner, REQUESTS, 7) == 7, "nobody has used it yet"
    book.close()


def test_what_a_dead_worker_reserved_comes_back_by_what_became_of_its_requests(folder):
    clock, holder = Clock(), key(*LIMITS)
    living = Book(folder / "book", entries=8, owners=2, clock=clock)
    dying = Book(folder / "book", entries=8, owners=2, clock=clock)
    one, two = account(living, 4, 0), account(dying, 4, 4)
    ids = [f"req_{'0' * 18}aaaaaaa{number}" for number in range(4)]
    terms = {"currency": "USD", "at_us": DAY * DAY_US}
    one.reserve(holder, 100, 300, request_id=ids[0], **terms)
    for request_id in ids[1:]:
        two.reserve(holder, 1000, 400, request_id=request_id, **terms)
    dying.close()
    rows = [row(ids[1], 7, 20, 3), row(ids[2], 9)]
    found = give_back(living, range(4, 8), rows)
    assert {each.mark for each in found} == {mark_of(each) for each in ids[1:]}
    assert give_back(living, range(4, 8), rows) == [], "each once"
    for owner in ("key/k", "tenant/t"):
        assert living.sums(living.known(owner)) == Sums(16, 100, 1)
    assert one.tokens.remaining == 6000 - 300 - 23
    living.close()


def test_a_worker_without_a_free_entry_says_so(folder):
    book = Book(folder / "book", entries=1, owners=2)
    one = account(book, 1)
    held = one.reserve(key(), 1, 1, currency="USD", at_us=DAY * DAY_US)
    with pytest.raises(Overloaded):
        one.reserve(key(), 1, 1, currency="USD", at_us=DAY * DAY_US)
    one.settle(held, 1, 1)
    one.reserve(key(), 1, 1, currency="USD", at_us=DAY * DAY_US)
    book.close()
