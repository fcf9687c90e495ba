"""Budgets and rates: reserved before an engine is touched, settled after, never overdrawn.

A request pays from several purses: its key's, its user's, its tenant's, its app's. One purse for
each owner lives in the cloud process, which is the only spender of its store, so that the check of
every limit and the reservation in every purse are one step of the event loop: no await stands
between them. What an owner has spent is read from the ledger's sums once; after that it is counted
here and in the ledger alike.

    reservation = account.reserve(key, worst_nano, worst_tokens, currency="USD")   # raises 429
    account.settle(reservation, cost_nano, tokens)
"""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct

from haneul.base.errors import QuotaExceeded, RateLimited
from haneul.base.units import MILLION, now_us, show_money, show_time
from haneul.services.budgets import Limit
from haneul.services.keys import Key
from haneul.services.periods import PERIODS, renews_us
from haneul.services.purse import Purse, Rate, Window
from haneul.store.spending import DAY_US, KINDS, owners

BUSY_RETRY_S = 1.0  # when one of those that run may have ended


class Reservation(Struct, frozen=True):
    """The most a running request can cost, and where that was set aside."""

    nano: int
    tokens: int
    windows: tuple[Window, ...]
    rates: tuple[Rate, ...]  # of tokens
    entry: int = -1  # of the book that workers share


class Left(Struct, frozen=True):
    """What a budget has left."""

    limit: Limit
    nano: int


class Account:
    """The purses that the requests of one key, from one app, are paid from."""

    def __init__(
        self,
        key: Key,
        purses: dict[str, Purse],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.purses = purses  # by kind of owner
        self._owners = dict(zip(KINDS, owners_of(key), strict=True))
        self._all = tuple(purses.values())
        self._clock = clock
        self._limits: tuple[Limit, ...] = ()
        self._money: list[tuple[int, Limit]] = []  # and where its window is
        self._requests: list[tuple[Rate, Limit]] = []
        self._tokens: list[tuple[Rate, Limit]] = []
        self._token_rates: tuple[Rate, ...] = ()
        self._at_once: list[tuple[Purse, Limit]] = []
        self._is_paced = False
        self._day = -1
        self._windows: tuple[Window, ...] = ()

    # what is told
    @property
    def spent_nano(self) -> int:
        """By the key, ever."""
        return self.purses["key"].total.spent

    @property
    def reserved_nano(self) -> int:
        """By the key's running requests."""
        return self.purses["key"].total.reserved

    @property
    def requests(self) -> Rate | None:
        """The rate of requests that ends first, of those that hold."""
        rates = self._requests
        return rates[0][0] if len(rates) == 1 else _nearest(rates)

    @property
    def tokens(self) -> Rate | None:
        """The rate of tokens that ends first, of those that hold."""
        rates = self._tokens
        return rates[0][0] if len(rates) == 1 else _nearest(rates)

    def left(self, key: Key, *, at_us: int) -> list[Left]:
        """What each budget that holds has left after all that is spent and reserved."""
        if key.limits is not self._limits:
            self._follow(key)
        day = at_us // DAY_US
        windows = self._windows if day == self._day else self._windows_of(day)
        return [
            Left(limit, limit.amount - windows[at].spent - windows[at].reserved)
            for at, limit in self._money
        ]

    def tightest(self, key: Key, *, at_us: int) -> Left | None:
        """The budget that has the least left; None where there is none."""
        lefts = self.left(key, at_us=at_us)
        if len(lefts) == 1:
            return lefts[0]
        return min(lefts, key=lambda left: left.nano, default=None)

    # what is taken
    def reserve(
        self,
        key: Key,
        nano: int,
        tokens: int,
        *,
        currency: str,
        at_us: int | None = None,
        request_id: str = "",
    ) -> Reservation:
        """Sets the worst case aside everywhere.

        Raises QuotaExceeded, RateLimited; then nothing is taken anywhere.
        """
        if key.limits is not self._limits:
            self._follow(key)
        if at_us is None:
            at_us = now_us()
        day = at_us // DAY_US
        windows = self._windows if day == self._day else self._windows_of(day)
        for at, limit in self._money:
            window = windows[at]
            left = limit.amount - window.spent - window.reserved
            if left <= 0 or nano > left:
                raise quota_exceeded(Left(limit, left), nano, currency=currency, at_us=at_us)
        if self._is_paced:
            self._pace(tokens)
        for purse in self._all:
            purse.running += 1
        for window in windows:
            window.reserved += nano
        return Reservation(nano, tokens, windows, self._token_rates)

    def settle(self, reservation: Reservation, cost_nano: int, tokens: int) -> None:
        """Returns the reservation and books what was really used, where it was set aside."""
        nano = reservation.nano
        for window in reservation.windows:
            window.reserved -= nano
            window.spent += cost_nano
        for purse in self._all:
            purse.running -= 1
        for rate in reservation.rates:
            rate.take(tokens - reservation.tokens)

    def _pace(self, tokens: int) -> None:
        """Takes a request and its tokens from every rate, or from none and says which is used."""
        for purse, limit in self._at_once:
            if purse.running >= limit.amount:
                raise too_many(limit)
        for rate, limit in self._requests:
            if wait_s := rate.wait_s(1):
                raise too_fast(limit, rate.per_minute, wait_s)
        for rate, limit in self._tokens:
            if wait_s := rate.wait_s(tokens):
                raise too_fast(limit, rate.per_minute, wait_s)
        for rate, _ in self._requests:
            rate.level -= 1
        for rate, _ in self._tokens:
            rate.level -= tokens

    def _windows_of(self, day: int) -> tuple[Window, ...]:
        """Of every purse, in the order of the purses and of PERIODS."""
        self._windows = tuple(w for purse in self._all for w in purse.windows(day))
        self._day = day
        return self._windows

    def _follow(self, key: Key) -> None:
        """Follows changed limits without forgetting what was used under the old ones."""
        self._limits = key.limits
        self._money, self._requests, self._tokens, self._at_once = [], [], [], []
        order = {kind: at for at, kind in enumerate(self.purses)}
        for limit in key.limits:
            if self._owners[limit.kind] != limit.owner:
                continue  # another app's
            purse = self.purses[limit.kind]
            if limit.measure == "money":
                at = order[limit.kind] * len(PERIODS) + PERIODS.index(limit.period)
                self._money.append((at, limit))
            elif limit.measure == "concurrency":
                self._at_once.append((purse, limit))
            else:
                rates = self._requests if limit.measure == "requests" else self._tokens
                rates.append((purse.rate(limit.measure, limit.amount, self._clock), limit))
        self._token_rates = tuple(rate for rate, _ in self._tokens)
        self._is_paced = bool(self._at_once or self._requests or self._tokens)


def owners_of(key: Key) -> tuple[str | None, ...]:
    """Who pays for a key's requests, as the ledger's sums name them."""
    return owners(key_id=key.id, user_id=key.user_id, tenant_id=key.tenant_id, app=key.app)


def quota_exceeded(left: Left, nano: int | None, *, currency: str, at_us: int) -> QuotaExceeded:
    """The refusal: which budget, what it has left, when it renews.

    Waiting is only advised where it can help. `nano` is the most the request can cost, or None for
    one whose shortest answer is too dear.
    """
    limit = left.limit
    period = "" if limit.period == "total" else f" of this {limit.period}"
    renews = renews_us(limit.period, at_us)
    cost = (
        f"this request can cost up to {show_money(nano, currency)}"
        if nano is not None
        else ("that does not pay for this request")
    )
    advice = "Ask for fewer tokens or raise the budget."
    if renews is not None:
        advice = f"It renews at {show_time(renews)}. {advice}"
    helps = renews is not None and (nano is None or nano <= limit.amount) and limit.amount > 0
    return QuotaExceeded(
        f"The {limit.name} has {show_money(max(0, left.nano), currency)} of its budget{period} of "
        f"{show_money(limit.amount, currency)} left; {cost}. {advice}",
        retry_after_s=(renews - at_us) / MILLION if renews is not None and helps else None,
        budget={"of": limit.kind, "period": limit.period, "left_nano": max(0, left.nano)},
        renews_us=renews,
    )


def too_many(limit: Limit) -> RateLimited:
    """The refusal where so many run already as may at once."""
    return RateLimited(
        f"The {limit.name} may have {limit.amount} requests running at once; "
        "wait until one has ended.",
        retry_after_s=BUSY_RETRY_S,
    )


def too_fast(limit: Limit, per_minute: int, wait_s: float) -> RateLimited:
    """The refusal where a rate does not allow it yet."""
    return RateLimited(
        f"The {limit.name} may use {per_minute} {limit.measure} per minute; "
        f"try again in {wait_s:.1f} s.",
        retry_after_s=wait_s,
    )


def _nearest(rates: list[tuple[Rate, Limit]]) -> Rate | None:
    return min((rate for rate, _ in rates), key=lambda rate: rate.remaining, default=None)
