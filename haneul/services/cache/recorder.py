"""A dialect that also hears what the engine says, so that it can be kept once it is whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from haneul.base.errors import HaneulError
from haneul.services.ask import Ask
from haneul.services.cache.forms import is_whole, whole_of
from haneul.services.dialect import Dialect, Errors, Told
from haneul.services.flights import Counters
from haneul.services.keys import Key
from haneul.services.targets import Target

HEARD_MAX_BYTES = 4 << 20  # of a stream, whose events are many times its text
Keep = Callable[[Target, bytes], Awaitable[None]]


class Heard:
    """A streamed answer, told as ever, whose bytes are gathered. Implements Told."""

    def __init__(self, inner: Told) -> None:
        self.inner = inner
        self.content_type = inner.content_type
        self.data: bytearray | None = bytearray()

    def feed(self, data: bytes) -> bytes:
        if self.data is not None:
            self.data += data
            if len(self.data) > HEARD_MAX_BYTES:
                self.data = None
        return self.inner.feed(data)

    def ending(self, *, cost_nano: int, currency: str) -> bytes:
        return self.inner.ending(cost_nano=cost_nano, currency=currency)

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


class Recorder:
    """Another dialect, for one request whose answer is to be kept. Implements Dialect."""

    def __init__(self, inner: Dialect, keep: Keep) -> None:
        self.name = inner.name
        self.target: Target | None = None  # the one that was asked last
        self._inner = inner
        self._keep = keep
        self._whole: bytes | None = None

    def shape(self, before: Callable[[bytes, Target], bytes] | None) -> object:
        """What makes an engine's body, after `before`; by it the target is known that answers."""

        def shape(data: bytes, target: Target) -> bytes:
            self.target = target
            return data if before is None else before(data, target)

        return shape

    async def open(self, key: Key, data: bytes) -> Ask:
        return await self._inner.open(key, data)

    def stream(self, ask: Ask, counters: Counters) -> Told:
        return Heard(self._inner.stream(ask, counters))

    def whole(self, ask: Ask, data: bytes, *, cost_nano: int, currency: str) -> bytes:
        self._whole = data
        return self._inner.whole(ask, data, cost_nano=cost_nano, currency=currency)

    async def keep(self, key: Key, ask: Ask, answer: Told | bytes) -> None:
        """Keeps the answer, which is whole, unless its end was not its own."""
        if isinstance(answer, Heard):
            await self._inner.keep(key, ask, answer.inner)
            data = whole_of(ask, bytes(answer.data)) if answer.data is not None else None
        else:
            await self._inner.keep(key, ask, answer)
            data = self._whole
        if data is not None and self.target is not None and is_whole(ask, data):
            await self._keep(self.target, data)

    def body(self, error: HaneulError, request_id: str) -> bytes:
        return self._inner.body(error, request_id)

    def event(self, error: HaneulError, request_id: str) -> bytes:
        return self._inner.event(error, request_id)
