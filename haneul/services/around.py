"""A dialect around another: it hears the engine before the other does, and changes nothing else."""

from __future__ import annotations

from haneul.base.errors import HaneulError
from haneul.services.ask import Ask
from haneul.services.dialect import Dialect, Errors, Told
from haneul.services.flights import Counters
from haneul.services.keys import Key


class AroundTold:
    """A streamed answer, told as the inner one tells it. Implements Told."""

    is_plain = False

    def __init__(self, inner: Told) -> None:
        self.inner = inner

    @property
    def content_type(self) -> bytes:
        return self.inner.content_type

    @property
    def upstream_id(self) -> str | None:
        return self.inner.upstream_id

    @property
    def is_done(self) -> bool:
        return self.inner.is_done

    @property
    def has_usage(self) -> bool:
        return self.inner.has_usage

    @property
    def failure(self) -> HaneulError | None:
        return self.inner.failure

    @property
    def errors(self) -> Errors | None:
        return self.inner.errors

    def passes(self, chunk: bytes) -> bool:
        return False

    def feed(self, data: bytes) -> bytes:
        return self.inner.feed(data)

    def ending(self, *, cost_nano: int, currency: str) -> bytes:
        return self.inner.ending(cost_nano=cost_nano, currency=currency)


class Around:
    """Another dialect, for one request. Implements Dialect."""

    def __init__(self, inner: Dialect) -> None:
        self.name = inner.name
        self.inner = inner

    async def open(self, key: Key, data: bytes) -> Ask:
        return await self.inner.open(key, data)

    def stream(self, ask: Ask, counters: Counters) -> Told:
        return self.inner.stream(ask, counters)

    def whole(self, ask: Ask, data: bytes, *, cost_nano: int, currency: str) -> bytes:
        return self.inner.whole(ask, data, cost_nano=cost_nano, currency=currency)

    async def keep(self, key: Key, ask: Ask, answer: Told | bytes) -> None:
        """The inner dialect gets what it told itself."""
        told = answer.inner if isinstance(answer, AroundTold) else answer
        await self.inner.keep(key, ask, told)

    def body(self, error: HaneulError, request_id: str) -> bytes:
        return self.inner.body(error, request_id)

    def event(self, error: HaneulError, request_id: str) -> bytes:
        return self.inner.event(error, request_id)
