"""The leader rule: of requests that begin alike, one reads the beginning, the others wait for it.

An engine that shares prefixes reads a cold one once for each request that comes while it is being
read: eight at a time cost eight readings. So the first to come leads; those that begin alike wait
for its first token, or for their deadline, and then find the prefix warm. Neutral: it needs nothing
of the engine but a prefix cache. What it saves is measured in docs/concepts/routing.md.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from hashlib import blake2b
from types import TracebackType
from typing import Self

from haneul.base.http_connection import Reader, Shortcut, Sink
from haneul.services.ask import Ask
from haneul.services.remote import Reply

LEADS, FOLLOWS, GOES = "leads", "follows", "goes"
SHARED_BYTES = 1024  # of a prompt that begins alike; shorter ones are read at once
WARM_MAX = 4096  # beginnings remembered for one target
WARM_S = 300.0  # after which an engine may have dropped it


class Beginnings:
    """What one target has read, and is reading. Pure: it is told the time."""

    def __init__(self) -> None:
        self._read: OrderedDict[int, float] = OrderedDict()  # when it was last used
        self._leader: dict[int, object] = {}

    def arrive(self, beginning: int, who: object, now: float) -> str:
        """What a request does whose prompt begins so: leads, follows the one that leads, goes."""
        used = self._read.get(beginning)
        if used is not None and now - used <= WARM_S:
            self._touch(beginning, now)
            return GOES
        if beginning in self._leader:
            return FOLLOWS
        self._leader[beginning] = who
        return LEADS

    def end(self, beginning: int, who: object, now: float, *, is_read: bool) -> bool:
        """A leader's first token has come, or it ended without. Whether it still led."""
        if self._leader.get(beginning) is not who:
            return False
        del self._leader[beginning]
        if is_read:
            self._touch(beginning, now)
        return True

    def leads(self, beginning: int) -> bool:
        """Whether one is reading it."""
        return beginning in self._leader

    def _touch(self, beginning: int, now: float) -> None:
        self._read[beginning] = now
        self._read.move_to_end(beginning)
        if len(self._read) > WARM_MAX:
            self._read.popitem(last=False)


class Turn:
    """A request's leave to go to a target; `read` at its first token, `close` whatever happened."""

    def __init__(self, leaders: Leaders | None = None, beginning: int = 0) -> None:
        self._leaders = leaders
        self._beginning = beginning

    @property
    def is_leading(self) -> bool:
        return self._leaders is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def read(self) -> None:
        """The first token is there: the others may go."""
        self._end(is_read=True)

    def close(self) -> None:
        """It ended; if that was before its first token, one of the others leads now."""
        self._end(is_read=False)

    def _end(self, *, is_read: bool) -> None:
        leaders, self._leaders = self._leaders, None
        if leaders is not None:
            leaders.ended(self, self._beginning, is_read=is_read)


class Led:
    """A leader's reply: its first piece, or its whole, lets the others go."""

    def __init__(self, reply: Reply, turn: Turn) -> None:
        self._reply = reply
        self._turn = turn
        self.status = reply.status
        self.headers = reply.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        async for data in self._reply.chunks():
            self._turn.read()
            yield data

    async def pump(self, take: Sink, reader: Reader, shortcut: Shortcut | None = None) -> None:
        def first(data: bytes) -> None:
            if not data.startswith(b":"):  # a sign of life, while the prompt is still being read
                self._turn.read()
            take(data)

        await self._reply.pump(first, reader, shortcut)

    async def read(self, limit_bytes: int = 64 << 20) -> bytes:
        data = await self._reply.read(limit_bytes)
        self._turn.read()
        return data

    def abort(self) -> None:
        self._reply.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()


class Leaders:
    """The waiting of one target's requests for their leaders."""

    def __init__(self, *, wait_s: float, clock: Callable[[], float]) -> None:
        self._wait_s = wait_s
        self._clock = clock
        self._beginnings = Beginnings()
        self._waiting: dict[int, asyncio.Event] = {}

    async def turn(self, ask: Ask) -> Turn:
        """Returns when the request may go, at the latest after the wait that is allowed."""
        beginning = shared_mark(ask)
        if beginning is None:
            return Turn()
        turn, until = Turn(self, beginning), self._clock() + self._wait_s
        while (said := self._beginnings.arrive(beginning, turn, self._clock())) == FOLLOWS:
            if not await self._ended(beginning, until - self._clock()):
                return Turn()
        return turn if said == LEADS else Turn()

    async def _ended(self, beginning: int, within_s: float) -> bool:
        """Whether the one that leads has got its first token, or ended, in time."""
        event = self._waiting.setdefault(beginning, asyncio.Event())
        try:
            async with asyncio.timeout(within_s):
                await event.wait()
        except TimeoutError:
            return False
        return True

    def ended(self, turn: Turn, beginning: int, *, is_read: bool) -> None:
        """Lets those go that wait for it."""
        self._beginnings.end(beginning, turn, self._clock(), is_read=is_read)
        if (event := self._waiting.pop(beginning, None)) is not None:
            event.set()


def shared_mark(ask: Ask) -> int | None:
    """What stands for the beginning of a prompt; None for one too short to wait for."""
    digest, size = blake2b(digest_size=8), 0
    for name in ask.route.prompt_fields:
        if (raw := ask.body.fields.get(name)) is not None:
            part = memoryview(raw)[:SHARED_BYTES]
            size += len(part)
            digest.update(part)
            digest.update(b"\0")
    return int.from_bytes(digest.digest()) if size >= SHARED_BYTES else None
