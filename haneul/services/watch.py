"""Requests that wait for a first byte, and engines that are asked whether they are still there.

A request that another target could answer does not wait out its deadline at an engine that stands
still. While it has no byte for a second, its engine is asked for a sign of life; after two that did
not come, all who wait there, in the queue too, go elsewhere at once. A whole answer has no byte
before its end, so the sign of life alone decides. A stream may also be left when its first byte
takes several times as long as the slowest of late, longer prompts more: then the engine answers,
but not this request.

    with watch.wait(target, ask, has_next=True) as wait:
        await gate.enter()
        wait.sent()
        …
        wait.heard()        # from here on nothing takes the request away

Leaving raises Silent inside the block, once, by cancelling what it awaits, as a timeout does.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from haneul.base.errors import EngineUnavailable, HaneulError
from haneul.base.log import logger
from haneul.services.ask import Ask
from haneul.services.targets import EMBEDDED, Target

LOOK_S = 0.25  # how often those who wait are looked at
QUIET_S = 1.0  # without a byte, before the engine is asked whether it is there
SIGN_S = 2.0  # for its sign of life
SIGNS_MAX = 2  # that may not come, one after another
EMBEDDED_SIGN, REMOTE_SIGN = "/health", "/v1/models"  # what every engine answers without work
PATIENCE_MIN_S = 10.0  # for a stream's first byte, whatever was seen
PATIENCE = 4  # times the slowest of late
SEEN, SEEN_MIN = 32, 8  # first bytes that are kept; so many must be before they say anything
TARGETS_MAX = 4096
log = logger("watch")


class Silent(EngineUnavailable):
    """The engine of this model does not answer; it stands still."""

    code = "engine_silent"


class First(NamedTuple):
    """How long a stream's first byte took, and after how long a prompt."""

    after_s: float
    prompt_bytes: int


class Wait:
    """One request at one target, until its first byte."""

    def __init__(
        self,
        watch: Watch | None = None,
        target: Target | None = None,
        *,
        prompt_bytes: int = 0,
        is_stream: bool = False,
    ) -> None:
        self.target = target
        self.since = math.inf  # when the engine got it, or was last heard of
        self.began = math.inf
        self.is_left = False
        self._watch = watch
        self._prompt_bytes = prompt_bytes
        self._is_stream = is_stream
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0

    def __enter__(self) -> Self:
        if self._watch is not None:
            self._task = asyncio.current_task()
            assert self._task is not None
            self._cancelling = self._task.cancelling()
            self._watch.add(self)
        return self

    def sent(self) -> None:
        """The engine has it now."""
        if self._watch is not None:
            self.since = self.began = self._watch.clock()

    def heard(self) -> None:
        """A byte has come: the request stays."""
        watch, self._watch = self._watch, None
        if watch is not None and self.target is not None:
            watch.remove(self)
            if self._is_stream:
                first = First(watch.clock() - self.began, self._prompt_bytes)
                watch.firsts(self.target).append(first)

    def lives(self) -> None:
        """A sign of life has come, though no byte of the answer."""
        if self._watch is not None:
            self.since = self._watch.clock()

    def patience_s(self) -> float:
        """How long its first byte may take; math.inf where nothing is known."""
        if not self._is_stream or self._watch is None or self.target is None:
            return math.inf
        return patience_s(self._watch.firsts(self.target), self._prompt_bytes)

    def leave(self) -> None:
        """Takes the request away from the target."""
        if self._watch is not None and self._task is not None:
            self._watch.remove(self)
            self._watch, self.is_left = None, True
            self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._watch is not None:
            self._watch.remove(self)
            self._watch = None
        if self.is_left and self._task is not None:
            is_only_ours = self._task.uncancel() <= self._cancelling
            if is_only_ours and isinstance(error, asyncio.CancelledError):
                raise Silent(retry_after_s=2) from error


def patience_s(seen: deque[First], prompt_bytes: int) -> float:
    """Several times the slowest first byte of late, more for a prompt longer than all of those."""
    if len(seen) < SEEN_MIN:
        return math.inf
    slowest_s = max(first.after_s for first in seen)
    longest = max(first.prompt_bytes for first in seen)
    return max(PATIENCE_MIN_S, PATIENCE * slowest_s) * max(1.0, prompt_bytes / max(longest, 1))


class Watch:
    """All who wait at targets that others stand beside."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._waits: dict[int, set[Wait]] = {}  # by target
        self._asking: dict[int, asyncio.Task[None]] = {}
        self._firsts: dict[str, deque[First]] = {}
        self._looker: asyncio.Task[None] | None = None
        self._stay = Wait()  # of all that have nowhere else to go: it is no state

    def wait(self, target: Target, ask: Ask, *, has_next: bool) -> Wait:
        """The wait of a request; one that has nowhere else to go stays where it is."""
        if not has_next:
            return self._stay
        if self._looker is None:
            self._looker = asyncio.create_task(self._look(), name="watch")
        return Wait(self, target, prompt_bytes=ask.prompt_bytes, is_stream=ask.is_stream)

    def firsts(self, target: Target) -> deque[First]:
        """The first bytes of late."""
        if (found := self._firsts.get(target.model)) is None:
            if len(self._firsts) >= TARGETS_MAX:
                self._firsts.clear()
            found = self._firsts[target.model] = deque(maxlen=SEEN)
        return found

    def add(self, wait: Wait) -> None:
        self._waits.setdefault(id(wait.target), set()).add(wait)

    def remove(self, wait: Wait) -> None:
        waits = self._waits.get(id(wait.target))
        if waits is not None:
            waits.discard(wait)
            if not waits:
                del self._waits[id(wait.target)]

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            now = self.clock()
            for number, waits in list(self._waits.items()):
                self._look_at(number, waits, now)

    def _look_at(self, number: int, waits: set[Wait], now: float) -> None:
        """Sends those elsewhere that were patient for long, and asks an engine that is quiet."""
        for wait in list(waits):
            if (quiet_s := now - wait.since) > QUIET_S and wait.target is not None:
                if quiet_s > wait.patience_s():
                    log.info("first_byte_late", engine=wait.target.engine, after_s=quiet_s)
                    wait.leave()
                elif number not in self._asking:
                    asking = asyncio.create_task(self._ask(number, wait.target), name="sign")
                    self._asking[number] = asking

    async def _ask(self, number: int, target: Target) -> None:
        """Asks an engine for signs of life while somebody waits there."""
        misses = 0
        try:
            while number in self._waits and misses < SIGNS_MAX:
                began = self.clock()
                misses = 0 if await has_sign(target) else misses + 1
                await asyncio.sleep(max(0.0, SIGN_S - (self.clock() - began)))
            waits = list(self._waits.get(number, ()))
            if misses >= SIGNS_MAX and waits:
                log.warning("engine_silent", engine=target.engine, model=target.model)
                for wait in waits:
                    wait.leave()
        finally:
            self._asking.pop(number, None)

    async def aclose(self) -> None:
        """Stops looking."""
        running = [task for task in (self._looker, *self._asking.values()) if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def has_sign(target: Target) -> bool:
    """Whether an engine answers anything at all, in time."""
    path = EMBEDDED_SIGN if target.engine == EMBEDDED else REMOTE_SIGN
    try:
        async with asyncio.timeout(SIGN_S):
            async with await target.transport.send("GET", path) as reply:
                return reply.status > 0
    except TimeoutError:
        return False
    except HaneulError:
        return False
