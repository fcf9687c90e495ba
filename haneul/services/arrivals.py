"""Bodies on their way in: so many and so many bytes of them, and of one key only a part of either.

A request counts as in flight once its body is there, so a client that sends slowly takes no place
from anybody. What is on its way has bounds of its own; where they are reached, the body that comes
slowest makes room, first of the same key's. The most that a body can become is set aside before it
comes: what its head says, or all that is allowed where that says nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from haneul.base.errors import Overloaded, RequestTimeout
from haneul.services.call import Call
from haneul.services.keys import Key

KEY_SHARE = 4  # a key has one of so many parts
GRACE_S = 1.0  # for a body, before it can be the slowest


class Arrival:
    """One body on its way."""

    __slots__ = ("began", "call", "key_id", "most_bytes")

    def __init__(self, call: Call, key_id: str, most_bytes: int, began: float) -> None:
        self.call = call
        self.key_id = key_id
        self.most_bytes = most_bytes
        self.began = began


class Arrivals:
    """All bodies on their way in."""

    def __init__(
        self, *, most: int, most_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most = most
        self.most_bytes = most_bytes
        self._clock = clock
        self._coming: dict[int, Arrival] = {}

    def __len__(self) -> int:
        return len(self._coming)

    async def body(self, call: Call, key: Key, *, max_bytes: int, within_s: float) -> bytes:
        """The whole body. Raises TooLarge, RequestTimeout, Overloaded."""
        if call.has_body:
            return await call.body(max_bytes=max_bytes, within_s=within_s)
        with self.place(call, key, max_bytes=max_bytes):
            return await call.body(max_bytes=max_bytes, within_s=within_s)

    @contextmanager
    def place(
        self, call: Call, key: Key, *, max_bytes: int, held_bytes: int | None = None
    ) -> Iterator[None]:
        """Room for a body, until the block is left. Raises TooLarge, Overloaded.

        `held_bytes`: what of it is in memory at a time, where that is not all of it.
        """
        call.check_head(max_bytes)
        length = call.headers.get(b"content-length", b"")
        most_bytes = int(length) if length.isdigit() else max_bytes
        if held_bytes is not None:
            most_bytes = min(most_bytes, held_bytes)
        arrival = Arrival(call, key.id, most_bytes, self._clock())
        self._make_room(arrival)
        self._coming[id(arrival)] = arrival
        try:
            yield
        finally:
            del self._coming[id(arrival)]

    def _make_room(self, arrival: Arrival) -> None:
        """Ends slower ones until it fits. Raises Overloaded where none is slow."""
        every = list(self._coming.values())
        mine = [other for other in every if other.key_id == arrival.key_id]
        mine = self._fit(arrival, mine, self.most // KEY_SHARE, self.most_bytes // KEY_SHARE)
        others = [other for other in every if other.key_id != arrival.key_id]
        self._fit(arrival, mine + others, self.most, self.most_bytes)

    def _fit(
        self, arrival: Arrival, among: list[Arrival], most: int, most_bytes: int
    ) -> list[Arrival]:
        """Those that stay. One alone always fits: its own size was checked before."""
        kept, ended = sorted(among, key=self._speed), []
        taken_bytes = arrival.most_bytes + sum(other.most_bytes for other in kept)
        while kept and (len(kept) >= max(1, most) or taken_bytes > most_bytes):
            if self._speed(kept[0]) == math.inf:
                raise Overloaded("Too many requests are on their way in.", retry_after_s=1)
            ended.append(kept.pop(0))
            taken_bytes -= ended[-1].most_bytes
        for other in ended:
            other.call.end(RequestTimeout("The request came too slowly while others waited."))
        return kept

    def _speed(self, arrival: Arrival) -> float:
        """Bytes per second; what has just begun, or is all there, is slower than nobody."""
        age_s = self._clock() - arrival.began
        if age_s < GRACE_S or arrival.call.has_body:
            return math.inf
        return arrival.call.arrived_bytes / age_s
