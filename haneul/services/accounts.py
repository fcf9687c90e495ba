"""The accounts of whoever asked lately; each owner's past is read from the ledger at first sight.

An owner has one purse as long as anybody holds it; one that nobody holds is forgotten and read
again, after the ledger has written what it still owed to the database.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

from haneul.base.units import now_us
from haneul.services.keys import Key
from haneul.services.limits import Account, owners_of
from haneul.services.periods import day_of
from haneul.services.purse import Purse, since
from haneul.store import spending as queries
from haneul.store.database import Database
from haneul.store.spending import KINDS

REMEMBERED_MAX = 10_000  # keys, times the apps that use each


class Accounts:
    """The accounts of the keys seen lately."""

    def __init__(
        self,
        database: Database,
        flush: Callable[[], Awaitable[None]] | None = None,
        *,
        remembered_max: int = REMEMBERED_MAX,
    ) -> None:
        self._remembered_max = remembered_max
        self._database = database
        self._flush = flush  # returns when all that was settled is in the database
        self._open: OrderedDict[tuple[str, str | None], Account] = OrderedDict()
        self._purses: WeakValueDictionary[tuple[str, str], Purse] = WeakValueDictionary()
        self._has_forgotten = False
        self._opening: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def of(self, key: Key) -> Account:
        """The account of a key and the app it asks for."""
        place = (key.id, key.app)
        account = self._open.get(place)
        if account is None:
            return await self._make(key)
        self._open.move_to_end(place)
        return account

    async def _make(self, key: Key) -> Account:
        purses = {
            kind: await self._purse(kind, owner)
            for kind, owner in zip(KINDS, owners_of(key), strict=True)
            if owner is not None
        }
        return self._remember(key, Account(key, purses))

    def _remember(self, key: Key, made: Account) -> Account:
        """The account of a key, which another may have made meanwhile."""
        account = self._open.setdefault((key.id, key.app), made)
        while len(self._open) > self._remembered_max:
            self._open.popitem(last=False)
            self._has_forgotten = True
        return account

    async def _purse(self, kind: str, owner: str) -> Purse:
        """The one purse of an owner."""
        place = (kind, owner)
        lock = self._opening.setdefault(place, asyncio.Lock())
        async with lock:
            purse = self._purses.get(place)
            if purse is None:
                if self._has_forgotten and self._flush is not None:
                    await self._flush()  # it may have been spent from before
                day = day_of(now_us())
                before_nano, days = await self._database.ask(
                    lambda connection: queries.history(
                        connection, kind, owner, since_day=since(day)
                    )
                )
                purse = Purse(day, before_nano=before_nano, days=days)
                self._purses[place] = purse
            return purse
