"""The door of an engine: so many inside, so many waiting, each for so long.

Also keeps the engine's time: while k requests are inside, each is charged 1/k of every second, so
that the shares of all requests add up to the time the engine was busy.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from haneul.base.config import Config
from haneul.base.errors import Overloaded
from haneul.services.health import Health

KEPT = 31 / 32  # of what older requests say about how long one stays, at each that leaves
LEFT_MIN = 3.5  # requests that must have left, older ones counting less, before that is known
RETRY_S = 5.0  # where nothing was measured yet
RETRY_MAX_S = 600.0


class Full(Overloaded):
    """The queue of this model's engine is full: that says nothing against the engine."""


class Busy:
    """The engine's clock: `share` of a request is the difference of two readings."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.inside = 0
        self.busy_s = 0.0  # the time that at least one request was inside
        self._clock = clock
        self._share_s = 0.0
        self._stays_s = 0.0  # the sum of all stays, recent ones counting more
        self._left = 0.0  # of so many requests
        self._at = clock()

    def reading_s(self) -> float:
        """What a request inside since the beginning would have been charged."""
        now = self._clock()
        if inside := self.inside:
            passed_s = now - self._at
            self._share_s += passed_s / inside
            self._stays_s += passed_s * inside
            self.busy_s += passed_s
        self._at = now
        return self._share_s

    @property
    def stay_s(self) -> float | None:
        """How long a request stays inside, by those of late; None until some have left."""
        return self._stays_s / self._left if self._left > LEFT_MIN else None

    @property
    def idle_s(self) -> float:
        """Since the last request left; 0 while one is inside."""
        return 0.0 if self.inside else self._clock() - self._at

    def enter(self) -> float:
        reading = self.reading_s()
        self.inside += 1
        return reading

    def leave(self) -> None:
        self.reading_s()
        self.inside -= 1
        self._stays_s *= KEPT
        self._left = self._left * KEPT + 1


class Gate:
    """Bounded entry to one engine, first come, first served."""

    def __init__(self, *, inside_max: int, queue_max: int, queue_s: float) -> None:
        self.inside_max = inside_max
        self.queue_max = queue_max
        self.queue_s = queue_s
        self.busy = Busy()
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    @property
    def has_place(self) -> bool:
        """Whether one who comes now gets in at once."""
        return self._taken < self.inside_max and not self._waiting

    @property
    def is_full(self) -> bool:
        """Whether one who comes now is turned away."""
        return not self.has_place and len(self._waiting) >= self.queue_max

    @property
    def wait_s(self) -> float | None:
        """How long one who comes now would wait, by the stays of late; None: not measured yet."""
        if self.has_place:
            return 0.0
        stay_s = self.busy.stay_s
        return None if stay_s is None else (len(self._waiting) + 1) * stay_s / self.inside_max

    @property
    def retry_after_s(self) -> float:
        """When it is worth to come again: the queue as it stands is through by then."""
        wait_s = self.wait_s
        return RETRY_S if wait_s is None else min(max(1.0, wait_s), RETRY_MAX_S)

    async def enter(self) -> float:
        """Waits for a place; gives the busy clock's reading at entry. Raises Overloaded.

        Whoever has entered must `leave`.
        """
        if self._taken < self.inside_max and not self._waiting:
            self._taken += 1
        else:
            await self._wait_for_place()
        return self.busy.enter()

    def leave(self) -> None:
        """Gives the place to the next in the queue."""
        self.busy.leave()
        if self._waiting:
            self._give_back()
        else:
            self._taken -= 1

    async def _wait_for_place(self) -> None:
        if len(self._waiting) >= self.queue_max:
            message = "The queue of this model's engine is full."
            raise Full(message, retry_after_s=self.retry_after_s)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self.queue_s):
                await turn
        except BaseException as cause:
            self._leave_queue(turn)
            if isinstance(cause, TimeoutError):
                message = "Waited too long for this model's engine."
                raise Full(message, retry_after_s=self.retry_after_s) from cause
            raise

    def _leave_queue(self, turn: asyncio.Future[None]) -> None:
        """Gives back a place that was granted in the moment its taker went away."""
        if turn.done() and not turn.cancelled():
            self._give_back()
        elif turn in self._waiting:
            self._waiting.remove(turn)

    def _give_back(self) -> None:
        self._taken -= 1
        while self._waiting and self._taken < self.inside_max:
            turn = self._waiting.popleft()
            if not turn.done():
                self._taken += 1  # before its taker runs, so that nobody slips in between
                turn.set_result(None)


class Gates:
    """Makes the doors of engines, by the settings of the cloud."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def of(self, name: str, inside_max: int) -> Gate:
        """A gate; the name tells it from others where several processes share them."""
        config = self._config
        return Gate(inside_max=inside_max, queue_max=config.queue_max, queue_s=config.queue_s)

    def health(self, gate: Gate, of: str) -> Health:
        """That of the target behind a gate, where several processes share them; `of`: the engine.

        Another engine that takes the gate's name over begins well.
        """
        return Health()
