"""A gateway that tells watchers what becomes of each request; without any the plain one is built.

A story grows while its request is answered: who asked in which dialect, each engine that was tried,
how the answer ended, and the terminal record. Watchers read it; they are called on the event loop
and must not wait.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from msgspec import Struct

from haneul.base.config import Config
from haneul.base.errors import HaneulError
from haneul.base.http_connection import Reader, Shortcut, Sink
from haneul.base.log import logger
from haneul.services.ask import Ask
from haneul.services.call import Call
from haneul.services.chat import Gateway, Request
from haneul.services.dialect import Dialect
from haneul.services.leaders import Turn
from haneul.services.metrics import Metrics
from haneul.services.offers import CLIENT_CLOSED
from haneul.services.remote import Headers, Reply
from haneul.services.targets import Target
from haneul.store.ledger import RequestRow

REASON = re.compile(rb'(?<!\\)"finish_reason"\s*:\s*"(\w{1,32})"')
REASONS_MAX = 16
REACH_BYTES = 64  # of the piece before, which the name of a reason may begin in
log = logger("telemetry")


class Trial(Struct, kw_only=True, eq=False):
    """One engine that was tried."""

    target: Target
    began_us: int
    ended_us: int = 0
    error: str | None = None
    status: int | None = None
    headers: Headers = {}  # that its engine is told
    span: Any = None  # a watcher's own


class Story(Struct, kw_only=True, eq=False):
    """What is known of one request so far."""

    call: Call
    route: str
    ask: Ask | None = None
    reason: str | None = None  # why it went where it went first
    trials: list[Trial] = []
    finished: list[str] = []  # why its answers ended, as the engine says
    row: RequestRow | None = None
    error: str | None = None
    status: int = 200
    answer: bytearray | None = None  # what the engine said, where a watcher wants that
    span: Any = None  # a watcher's own


class Watcher(Protocol):
    """Is told of requests as they go."""

    def opened(self, story: Story) -> None:
        """A request has come."""

    def trying(self, story: Story, trial: Trial) -> None:
        """An engine is asked; what is put into the trial's headers goes along."""

    def tried(self, story: Story, trial: Trial) -> None:
        """It has answered, or failed."""

    def counted(self, row: RequestRow, story: Story | None) -> None:
        """The terminal record is made; a request of another life has no story."""

    def ended(self, story: Story) -> None:
        """The request is over."""


class Watched(Gateway):
    """The gateway with watchers."""

    def __init__(
        self, config: Config, *, watchers: Sequence[Watcher], metrics: Metrics, **parts: Any
    ) -> None:
        super().__init__(config, **parts)
        self._watchers = tuple(watchers)
        self._stories: dict[str, Story] = {}
        metrics.watchers.append(self._counted)

    async def serve(self, call: Call, dialect: Dialect) -> None:
        story = self._stories[call.id] = Story(call=call, route=dialect.name)
        self._tell("opened", story)
        try:
            await super().serve(call, dialect)
        except BaseException as error:
            story.error, story.status = _code(call, error)
            raise
        finally:
            del self._stories[call.id]
            self._tell("ended", story)

    async def _relay(self, request: Request) -> None:
        if (story := self._stories.get(request.call.id)) is not None:
            story.ask, story.reason = request.ask, request.plan.reason
        await super()._relay(request)

    async def _at(self, request: Request, target: Target, turn: Turn | None = None) -> None:
        story = self._stories.get(request.call.id)
        if story is None:
            await super()._at(request, target, turn)
            return
        trial = Trial(target=target, began_us=request.call.now_us())
        story.trials.append(trial)
        self._tell("trying", story, trial)
        try:
            await super()._at(request, target, turn)
        except BaseException as error:
            trial.error, trial.status = _code(request.call, error)
            raise
        finally:
            trial.ended_us = request.call.now_us()
            self._tell("tried", story, trial)

    async def _ask(self, request: Request, target: Target) -> Reply:
        reply = await super()._ask(request, target)
        story = self._stories.get(request.call.id)
        return reply if story is None else Seen(reply, story)

    def _headers(self, request: Request, target: Target) -> Headers:
        headers = super()._headers(request, target)
        story = self._stories.get(request.call.id)
        if story is None or not story.trials:
            return headers
        return {**headers, **story.trials[-1].headers}

    def _counted(self, row: RequestRow) -> None:
        story = self._stories.get(row.id)
        if story is not None:
            story.row = row
        self._tell("counted", row, story)

    def _tell(self, what: str, *facts: Any) -> None:
        """Tells every watcher; one that fails costs a line of the log, and no request."""
        for watcher in self._watchers:
            try:
                getattr(watcher, what)(*facts)
            except Exception:  # whatever it was, the request goes on
                log.exception("watcher_failed", watcher=type(watcher).__name__, at=what)


class Seen:
    """An engine's reply whose ending is noted, and all of it where somebody wants that."""

    def __init__(self, reply: Reply, story: Story) -> None:
        self._reply = reply
        self._story = story
        self._reach = b""
        self.status = reply.status
        self.headers = reply.headers
        story.finished.clear()

    def _look(self, data: bytes) -> None:
        story = self._story
        if len(story.finished) < REASONS_MAX and b"_reason" in self._reach + data:
            found = REASON.findall(self._reach + data)
            story.finished += [reason.decode() for reason in found][:REASONS_MAX]
            self._reach = b"" if found else data[-REACH_BYTES:]
        else:
            self._reach = data[-REACH_BYTES:]
        if story.answer is not None:
            story.answer += data

    async def chunks(self) -> AsyncIterator[bytes]:
        async for data in self._reply.chunks():
            self._look(data)
            yield data

    async def pump(self, take: Sink, reader: Reader, shortcut: Shortcut | None = None) -> None:
        def both(data: bytes) -> None:
            self._look(data)
            take(data)

        await self._reply.pump(both, reader)

    async def read(self, limit_bytes: int = 64 << 20) -> bytes:
        data = await self._reply.read(limit_bytes)
        self._look(data)
        return data

    def abort(self) -> None:
        self._reply.abort()

    async def __aenter__(self) -> Self:
        await self._reply.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._reply.__aexit__(kind, error, trace)


def _code(call: Call, error: BaseException) -> tuple[str, int]:
    """How an error is named and numbered, whatever it is."""
    if isinstance(error, asyncio.CancelledError):
        if call.expired is not None:
            return call.expired.code, call.expired.status
        return ("client_gone", CLIENT_CLOSED) if call.gone else ("cloud_stopped", 503)
    if isinstance(error, HaneulError):
        return error.code, error.status
    return HaneulError.code, HaneulError.status
