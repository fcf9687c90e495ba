"""Accounts whose purses lie in the shared book, so that all workers spend from the same ones.

The same questions as to `limits.Account`, and the same answers; what was one step of the event loop
there is one transaction of the book here.
"""

from __future__ import annotations

from collections.abc import Sequence

from haneul.base.errors import Overloaded, RateLimited
from haneul.base.units import now_us
from haneul.services.accounts import Accounts
from haneul.services.book import Book
from haneul.services.budgets import Limit
from haneul.services.holds import (
    AT_ONCE,
    REQUESTS,
    TOKEN_RATE,
    TOTAL,
    Hold,
    Left,
    Pace,
    TooFast,
)
from haneul.services.keys import Key
from haneul.services.limits import (
    Account,
    Reservation,
    owners_of,
    quota_exceeded,
    too_fast,
    too_many,
)
from haneul.services.limits import Left as Rest
from haneul.services.periods import day_of, renews_us, starts
from haneul.services.purse import MINUTE_S, since
from haneul.store import spending as queries
from haneul.store.database import Database
from haneul.store.ledger import RequestRow
from haneul.store.spending import DAY_US, KINDS

MARK_LETTERS = 8  # of a request's id: 40 random bits of it


class SharedRate:
    """A rate as its holders are told of it: what it has at this moment."""

    def __init__(self, book: Book, owner: int, what: int, per_minute: int) -> None:
        self.per_minute = per_minute
        self._book = book
        self._owner = owner
        self._what = what

    @property
    def remaining(self) -> int:
        """Whole units that can be taken now."""
        return max(0, int(self._level))

    def wait_s(self, amount: int) -> float:
        """Seconds until the amount is there; 0 now. More than a minute's worth waits for full."""
        return max(0.0, (min(amount, self.per_minute) - self._level) * MINUTE_S / self.per_minute)

    def told(self) -> tuple[int, float]:
        """`remaining`, and the seconds until it is full again."""
        return self.remaining, self.wait_s(self.per_minute)

    @property
    def _level(self) -> float:
        return self._book.level(self._owner, self._what, self.per_minute)


class SharedAccount(Account):
    """The columns of the book that the requests of one key, from one app, are paid from."""

    def __init__(self, key: Key, book: Book, owners: dict[str, int], entries: list[int]) -> None:
        super().__init__(key, {})
        self._book = book
        self._places = list(owners.values())  # of the owners in the book
        self._kinds = {kind: at for at, kind in enumerate(owners)}
        self._entries = entries  # of the book, that this process has free
        self._day_held = -1
        self._budgets: list[Limit] = []
        self._held: list[tuple[Hold, Limit]] = []  # the budgets on a day, and what may run at once
        self._paced: list[tuple[Pace, Limit]] = []
        self._lanes: list[tuple[Hold, Limit]] = []

    @property
    def spent_nano(self) -> int:
        return self._book.sums(self._places[0]).spent_nano

    @property
    def reserved_nano(self) -> int:
        return self._book.sums(self._places[0]).reserved_nano

    @property
    def requests(self) -> SharedRate | None:  # type: ignore[override]
        return self._nearest(REQUESTS)

    @property
    def tokens(self) -> SharedRate | None:  # type: ignore[override]
        return self._nearest(TOKEN_RATE)

    def _nearest(self, what: int) -> SharedRate | None:
        rates = [
            SharedRate(self._book, self._places[pace.at], what, pace.per_minute)
            for pace, _ in self._paced
            if pace.what == what
        ]
        return min(rates, key=lambda rate: rate.remaining, default=None)

    def left(self, key: Key, *, at_us: int) -> list[Rest]:
        """What each budget that holds has left after all that is spent and reserved."""
        holds = self._holds(key, day_of(at_us))[: len(self._budgets)]
        lefts = self._book.lefts(self._places, [hold for hold, _ in holds])
        return [Rest(limit, left) for (_, limit), left in zip(holds, lefts, strict=True)]

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

        Raises QuotaExceeded, RateLimited, Overloaded; then nothing is taken anywhere.
        """
        at_us = now_us() if at_us is None else at_us
        if not self._entries:
            raise Overloaded("Too many requests are in flight.", retry_after_s=2)
        holds = self._holds(key, at_us // DAY_US)
        entry = self._entries[-1]
        refusal = self._book.reserve(
            entry,
            at_us // DAY_US,
            self._places,
            [hold for hold, _ in holds],
            nano,
            paces=[pace for pace, _ in self._paced],
            tokens=tokens,
            mark=mark_of(request_id),
        )
        if refusal is None:
            self._entries.pop()
            return Reservation(nano, tokens, (), (), entry)
        if isinstance(refusal, TooFast):
            raise self._too_fast(refusal)
        limit = next(limit for hold, limit in holds if hold is refusal.hold)
        if refusal.hold.first_day == AT_ONCE:
            raise too_many(limit)
        raise quota_exceeded(Rest(limit, refusal.left), nano, currency=currency, at_us=at_us)

    def settle(self, reservation: Reservation, cost_nano: int, tokens: int) -> None:
        """Returns the reservation and books what was really used, where it was set aside."""
        self._book.settle(reservation.entry, cost_nano, tokens)
        self._entries.append(reservation.entry)

    def _too_fast(self, refusal: TooFast) -> RateLimited:
        limit = next(limit for pace, limit in self._paced if pace is refusal.pace)
        return too_fast(limit, refusal.pace.per_minute, refusal.wait_s)

    def _holds(self, key: Key, day: int) -> Sequence[tuple[Hold, Limit]]:
        """The budgets, then what may run at once, as they are on a day."""
        if key.limits is not self._limits:
            self._follow(key)
            self._day_held = -1
        if day != self._day_held:
            budgets = [(self._hold(limit, day), limit) for limit in self._budgets]
            self._held, self._day_held = [*budgets, *self._lanes], day
        return self._held

    def _hold(self, limit: Limit, day: int) -> Hold:
        at = self._kinds[limit.kind]
        if limit.period == "total":
            return Hold(at, TOTAL, 0, limit.amount)
        _, today, monday, first = starts(day)
        begins = {"day": today, "week": monday, "month": first}[limit.period]
        renews = renews_us(limit.period, day * DAY_US)
        assert renews is not None
        return Hold(at, begins, day_of(renews) - 1, limit.amount)

    def _follow(self, key: Key) -> None:
        """Follows changed limits; what was used under the old ones stays used."""
        self._limits = key.limits
        mine = [limit for limit in key.limits if self._owners[limit.kind] == limit.owner]
        self._budgets = [limit for limit in mine if limit.measure == "money"]
        self._lanes = [
            (Hold(self._kinds[limit.kind], AT_ONCE, 0, limit.amount), limit)
            for limit in mine
            if limit.measure == "concurrency"
        ]
        rates = {(limit.kind, limit.measure): limit for limit in mine}  # the last one holds
        whats = (("requests", REQUESTS), ("tokens", TOKEN_RATE))
        self._paced = [
            (Pace(self._kinds[kind], what, limit.amount), limit)
            for name, what in whats
            for (kind, measure), limit in rates.items()
            if measure == name
        ]


class SharedAccounts(Accounts):
    """The accounts of the keys seen lately; their owners stay open as long as the book does."""

    def __init__(self, database: Database, book: Book, entries: range) -> None:
        super().__init__(database)
        self._book = book
        self._entries = list(entries)

    async def _make(self, key: Key) -> Account:
        owners = {
            kind: await self._owner(kind, owner)
            for kind, owner in zip(KINDS, owners_of(key), strict=True)
            if owner is not None
        }
        made = SharedAccount(key, self._book, owners, self._entries)
        return self._remember(key, made)

    async def _owner(self, kind: str, owner: str) -> int:
        """The owner's place in the book; whoever is the first to need it reads its past."""
        name = f"{kind}/{owner}"
        if (known := self._book.known(name)) is not None:
            return known
        day = day_of(now_us())

        before_nano, days = await self._database.ask(
            lambda connection: queries.history(connection, kind, owner, since_day=since(day))
        )
        return self._book.open(name, day=day, before_nano=before_nano, days=days)


def mark_of(request_id: str) -> int:
    """What stands for a request in the book."""
    return int.from_bytes(request_id.encode()[-MARK_LETTERS:])


def give_back(book: Book, entries: range, rows: Sequence[RequestRow]) -> list[Left]:
    """Settles what a worker that died had reserved, by what became of its requests.

    Each exactly once; one that got no page was never sent anything and costs nothing.
    """
    known = {mark_of(row.id): row for row in rows}
    mine = [each for each in book.left() if each.entry in entries]
    for each in mine:
        row = known.get(each.mark)
        cost_nano = row.cost_nano if row else 0
        tokens = row.prompt_tokens + row.completion_tokens if row else 0
        book.settle(each.entry, cost_nano, tokens, holder=each.holder)
    return mine
