"""A dialect that also hears what the engine says, so that it can be kept once it is whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from haneul.services.around import Around, AroundTold
from haneul.services.ask import Ask
from haneul.services.cache.forms import is_whole, whole_of
from haneul.services.dialect import Dialect, Told
from haneul.services.flights import Counters
from haneul.services.keys import Key
from haneul.services.targets import Target

HEARD_MAX_BYTES = 4 << 20  # of a stream, whose events are many times its text
Keep = Callable[[Target, bytes], Awaitable[None]]
Shape = Callable[[bytes, Target], bytes]


class Heard(AroundTold):
    """A streamed answer whose bytes are gathered."""

    def __init__(self, inner: Told) -> None:
        super().__init__(inner)
        self.data: bytearray | None = bytearray()

    def feed(self, data: bytes) -> bytes:
        if self.data is not None:
            self.data += data
            if len(self.data) > HEARD_MAX_BYTES:
                self.data = None
        return self.inner.feed(data)


class Recorder(Around):
    """For one request whose answer is to be kept."""

    def __init__(self, inner: Dialect, keep: Keep) -> None:
        super().__init__(inner)
        self._target: Target | None = None  # the one that was asked last
        self._keep = keep
        self._whole: bytes | None = None

    def shape(self, before: Shape | None) -> Shape:
        """What makes an engine's body, after `before`; by it the target is known that answers."""

        def shape(data: bytes, target: Target) -> bytes:
            self._target = target
            return data if before is None else before(data, target)

        return shape

    def stream(self, ask: Ask, counters: Counters) -> Told:
        return Heard(self.inner.stream(ask, counters))

    def whole(self, ask: Ask, data: bytes, *, cost_nano: int, currency: str) -> bytes:
        self._whole = data
        return self.inner.whole(ask, data, cost_nano=cost_nano, currency=currency)

    async def keep(self, key: Key, ask: Ask, answer: Told | bytes) -> None:
        """Keeps the answer, which is whole, unless its end was not its own."""
        await super().keep(key, ask, answer)
        data = self._whole
        if isinstance(answer, Heard):
            data = whole_of(ask, bytes(answer.data)) if answer.data is not None else None
        if data is not None and self._target is not None and is_whole(ask, data):
            await self._keep(self._target, data)
