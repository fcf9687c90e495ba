"""Budgets and rates: reserved before an engine is touched, settled after, never overdrawn.

One object per key lives in the cloud process, which is the only spender of its store, so that
check and reservation are one step of the event loop: no await stands between them. What a key has
spent is read from the ledger once; after that it is counted here and in the ledger alike.

    reservation = account.reserve(key, worst_nano, worst_tokens)   # raises 429
    account.settle(reservation, cost_nano, tokens)
"""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct

from haneul.base.errors import QuotaExceeded, RateLimited
from haneul.base.units import show_money
from haneul.services.keys import Key
from haneul.store import keys as queries
from haneul.store.database import Database

MINUTE_S = 60.0


class Reservation(Struct, frozen=True):
    """The most a running request can cost."""

    nano: int
    tokens: int


class Rate:
    """A bucket of `per_minute` that refills evenly; a reservation beyond it is refused."""

    def __init__(
        self, per_minute: int, clock: Callable[[], float], *, level: float | None = None
    ) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._level = float(per_minute) if level is None else level
        self._at = clock()

    @property
    def remaining(self) -> int:
        """Whole units that can be taken now."""
        self._refill()
        return max(0, int(self._level))

    def changed(self, per_minute: int) -> Rate:
        """The rate under a new limit: what was used already is used under it too."""
        self._refill()
        level = per_minute - (self.per_minute - self._level)
        return Rate(per_minute, self._clock, level=level)

    def wait_s(self, amount: int) -> float:
        """Seconds until the amount is there; 0 now. More than a minute's worth waits for full."""
        self._refill()
        missing = min(amount, self.per_minute) - self._level
        return max(0.0, missing * MINUTE_S / self.per_minute)

    def take(self, amount: int) -> None:
        """Takes it, below zero if need be: what was used beyond a reservation is owed."""
        self._refill()
        self._level -= amount

    def _refill(self) -> None:
        now = self._clock()
        gained = (now - self._at) * self.per_minute / MINUTE_S
        self._level = min(float(self.per_minute), self._level + gained)
        self._at = now


class Account:
    """What one key has spent, has reserved, and may use per minute."""

    def __init__(self, spent_nano: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.spent_nano = spent_nano
        self.reserved_nano = 0
        self._clock = clock
        self.requests: Rate | None = None
        self.tokens: Rate | None = None

    def remaining_nano(self, key: Key) -> int | None:
        """What the budget leaves after all that is spent and reserved; None without a budget."""
        if key.budget_nano is None:
            return None
        return key.budget_nano - self.spent_nano - self.reserved_nano

    def reserve(self, key: Key, nano: int, tokens: int, *, currency: str) -> Reservation:
        """Sets the worst case aside. Raises QuotaExceeded, RateLimited; then nothing is taken."""
        remaining = self.remaining_nano(key)
        if remaining is not None and (remaining <= 0 or nano > remaining):
            raise QuotaExceeded(
                f"The API key '{key.name}' has {show_money(max(0, remaining), currency)} of its "
                f"budget of {show_money(key.budget_nano or 0, currency)} left; this request can "
                f"cost up to {show_money(nano, currency)}. Ask for fewer tokens or raise the "
                "budget."
            )
        self._requests_and_tokens(key)
        _check(self.requests, 1, key, "requests")
        _check(self.tokens, tokens, key, "tokens")
        if self.requests is not None:
            self.requests.take(1)
        if self.tokens is not None:
            self.tokens.take(tokens)
        self.reserved_nano += nano
        return Reservation(nano, tokens)

    def settle(self, reservation: Reservation, cost_nano: int, tokens: int) -> None:
        """Returns the reservation and books what was really used."""
        self.reserved_nano -= reservation.nano
        self.spent_nano += cost_nano
        if self.tokens is not None:
            self.tokens.take(tokens - reservation.tokens)

    def _requests_and_tokens(self, key: Key) -> None:
        """Follows a changed limit without forgetting what was used."""
        self.requests = _follow(self.requests, key.requests_per_minute, self._clock)
        self.tokens = _follow(self.tokens, key.tokens_per_minute, self._clock)


def _follow(rate: Rate | None, per_minute: int | None, clock: Callable[[], float]) -> Rate | None:
    if per_minute is None:
        return None
    if rate is None:
        return Rate(per_minute, clock)
    return rate if rate.per_minute == per_minute else rate.changed(per_minute)


def _check(rate: Rate | None, amount: int, key: Key, unit: str) -> None:
    if rate is not None and (wait_s := rate.wait_s(amount)) > 0:
        raise RateLimited(
            f"The API key '{key.name}' may use {rate.per_minute} {unit} per minute; "
            f"try again in {wait_s:.1f} s.",
            retry_after_s=wait_s,
        )


class Accounts:
    """The accounts of the keys seen since the start."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._open: dict[str, Account] = {}

    async def of(self, key: Key) -> Account:
        """The one account of a key; its past is read from the ledger at first sight."""
        account = self._open.get(key.id)
        if account is None:
            spent = await self._database.ask(queries.spent, key.id)
            account = self._open.setdefault(key.id, Account(spent))
        return account
