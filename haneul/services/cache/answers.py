"""Answers that are given again to the same request of the same tenant, where the tenant wants it.

What is kept is the engine's own answer, whole, under a digest of tenant, model version and request;
a streamed request gets it as events. Of requests that are the same and come together one is
computed, the others wait for it. Only answers that came to their end are kept, each in one
transaction, so that a kill leaves an answer whole or not at all. Bytes and age are bounded; what
was not used for longest goes first.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NamedTuple

from haneul.base.errors import HaneulError, NotCached
from haneul.base.log import logger
from haneul.base.units import MILLION, now_us
from haneul.services.ask import Ask
from haneul.services.cache.place import ROUTES, Wish, digest, is_same_again, wish_of
from haneul.services.cache.recorder import Recorder
from haneul.services.call import Call
from haneul.services.dialect import Dialect
from haneul.services.keys import Key
from haneul.services.router import Plan
from haneul.services.rules import Caching
from haneul.services.targets import Target
from haneul.store import cached as queries
from haneul.store.cached import CachedRow
from haneul.store.database import Database

HEADER = b"x-haneul-cache"
ANSWER_MAX_BYTES = 1 << 20
ROW_BYTES = 256  # that an answer takes beside its body
WRITING_MAX = 64  # answers on their way to the store
USED_MAX = 256  # moments of use that are noted together
PRUNE_BYTES = 4 << 20  # kept anew between two prunings
WAIT_S = 60.0  # for another that asks the same
MISS = b"x-haneul-cache: miss\r\n"
HIT = b"x-haneul-cache: hit\r\nage: %d\r\n"
log = logger("cache")


class Kept(NamedTuple):
    """An answer, how old it is, and the target that gave it first."""

    target: Target
    body: bytes
    age_s: int


class Answers:
    """The answers that are kept, and those being computed."""

    def __init__(self, database: Database, *, room_bytes: int, age_s: float) -> None:
        self._database = database
        self._room_bytes = room_bytes
        self._age_us = round(age_s * MILLION)
        self._running: dict[frozenset[bytes], asyncio.Future[bool]] = {}
        self.counts: Counter[str] = Counter()  # of hits and misses
        self._ready: dict[bytes, CachedRow] = {}  # on their way to the store
        self._writing: set[asyncio.Task[None]] = set()
        self._used_us: dict[bytes, int] = {}
        self._fresh_bytes = PRUNE_BYTES

    def wish(self, call: Call, ask: Ask, caching: Caching) -> Wish | None:
        """What a request wants of kept answers; None where none come into question for it.

        Raises BadRequest, NotCached.
        """
        wish = wish_of(call.headers.get(HEADER))
        may = ask.route in ROUTES and (caching.is_all or is_same_again(ask))
        if not may or not (wish.stores or wish.reads):
            if wish.only_kept:
                raise NotCached()
            return None
        return wish

    def without(self, call: Call) -> None:
        """What a request wants where nothing is kept. Raises BadRequest, NotCached."""
        if wish_of(call.headers.get(HEADER)).only_kept:
            raise NotCached()

    async def look(self, call: Call, key: Key, ask: Ask, plan: Plan, wish: Wish) -> Kept | None:
        """The kept answer, waiting for one that is being computed; else it is this one's turn.

        Raises NotCached where the client wants no other.
        """
        try:
            places = {digest(key.tenant_id, ask, target): target for target in plan.targets}
        except RecursionError:
            return None  # lists within lists: nothing is kept of it either
        if not wish.reads:
            return None
        group = frozenset(places)
        kept = await self._kept(key.tenant_id, places, wish)
        running = self._running.get(group)
        if kept is None and running is not None and not wish.only_kept:
            call.within(WAIT_S * 2)
            if await _ended(running):
                kept = await self._kept(key.tenant_id, places, wish)
        if kept is None and wish.only_kept:
            raise NotCached()
        if kept is None and group not in self._running:
            self._lead(call, group)
        return kept

    def recorder(self, dialect: Dialect, key: Key, ask: Ask) -> Recorder:
        """A dialect that keeps the answer."""

        async def keep(target: Target, body: bytes) -> None:
            if len(body) <= ANSWER_MAX_BYTES and len(self._writing) < WRITING_MAX:
                with suppress(RecursionError):
                    self._keep(key.tenant_id, digest(key.tenant_id, ask, target), body)

        return Recorder(dialect, keep)

    async def forget(self) -> None:
        """Forgets what is too old, or too much."""
        await self._note_uses()
        before_us = now_us() - self._age_us
        await self._database.call(
            lambda connection: queries.prune(
                connection, before_us=before_us, most_bytes=self._room_bytes
            )
        )

    async def aclose(self) -> None:
        """Returns when every answer is kept, and its last use noted."""
        await self._note_uses()
        await asyncio.gather(*self._writing)

    def _lead(self, call: Call, group: frozenset[bytes]) -> None:
        """The others wait for this one until its call has ended, or its answer is kept."""
        turn = self._running[group] = asyncio.get_running_loop().create_future()

        def end() -> None:
            if self._running.get(group) is turn:
                del self._running[group]
            if not turn.done():
                turn.set_result(False)  # nothing was kept of it

        call.at_end = end

    async def _kept(self, tenant_id: str, places: dict[bytes, Target], wish: Wish) -> Kept | None:
        age_us = self._age_us if wish.max_age_s is None else wish.max_age_s * MILLION
        since_us = now_us() - min(age_us, self._age_us)
        rows = [self._ready[place] for place in places if place in self._ready]
        rows = [row for row in rows if row.created_us >= since_us] or await self._database.ask(
            lambda connection: queries.find(connection, tenant_id, list(places), since_us=since_us)
        )
        if not rows:
            return None
        row, at_us = rows[0], now_us()
        self._used_us[row.digest] = at_us
        if len(self._used_us) >= USED_MAX:
            self._write(self._note_uses())
        age_s = max(0, at_us - row.created_us) // MILLION
        return Kept(places[row.digest], row.body, age_s)

    def _keep(self, tenant_id: str, place: bytes, body: bytes) -> None:
        at_us = now_us()
        row = CachedRow(
            digest=place,
            tenant_id=tenant_id,
            body=body,
            bytes=len(body) + ROW_BYTES,
            created_us=at_us,
            used_us=at_us,
        )
        self._ready[place] = row
        for group, turn in list(self._running.items()):
            if place in group and not turn.done():
                turn.set_result(True)
        self._write(self._put(row))

    def _write(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _put(self, row: CachedRow) -> None:
        try:
            await self._database.call(queries.put, row)
            self._fresh_bytes += row.bytes
            if self._fresh_bytes >= PRUNE_BYTES:
                self._fresh_bytes = 0
                await self.forget()
        except HaneulError as error:
            log.warning("answer_not_kept", reason=error.message)
        finally:
            if self._ready.get(row.digest) is row:
                del self._ready[row.digest]

    async def _note_uses(self) -> None:
        noted, self._used_us = self._used_us, {}
        if noted:
            try:
                await self._database.call(queries.used, noted)
            except HaneulError as error:
                log.warning("uses_not_noted", reason=error.message)


async def _ended(running: asyncio.Future[bool]) -> bool:
    """Whether the one that is being computed is kept now, as far as it ends in time."""
    try:
        async with asyncio.timeout(WAIT_S):
            return await asyncio.shield(running)
    except TimeoutError:
        return False
