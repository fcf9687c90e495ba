"""One HTTP exchange: its body, its answer, its hang-up, its deadlines.

A client that goes away, or a deadline that passes, cancels the task that serves the call; `gone`
and `expired` tell which it was. One sweep over all calls keeps every deadline, so that a streamed
token costs no timer. A client that does not read its answer is hung up on at its deadline.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Set
from typing import Any, Protocol

from haneul.base.again import Known
from haneul.base.errors import (
    BadRequest,
    DeadlineExceeded,
    HaneulError,
    RequestTimeout,
    TooLarge,
)
from haneul.base.ids import new_id
from haneul.base.log import REQUEST
from haneul.base.units import Moment
from haneul.services.dialect import Errors
from haneul.services.keys import Key

SWEEP_S = 0.25
PIECE_BYTES = 256 << 10
ORIGIN_MAX = 64  # characters of what a proxy says of its client
FAIL_S = 5.0  # for a client to take the error that ends its call
JSON = b"application/json"


class Line(Protocol):
    """The connection that carries a call."""

    on_drained: Callable[[], None] | None

    def peer(self) -> str | None: ...
    def want_body(self, *, is_expected: bool) -> None: ...
    def begin(self, call: Call, head: bytes, status: int, length: int | None) -> bytes: ...
    def write(self, head: bytes, data: bytes, *, is_last: bool) -> None: ...
    def chunks(self) -> Callable[[bytes], None] | None:
        """What takes whole chunks of the answer that has begun; None where those are not sent."""
        ...

    @property
    def is_stalled(self) -> bool: ...
    async def drained(self) -> None: ...
    def ended(self) -> None: ...
    def abort(self) -> None: ...


class Found:
    """A head that comes again over its connection, and what the gateway has made of it."""

    __slots__ = ("asker", "errors", "headers", "known", "method", "path", "query")

    def __init__(self, known: Known, call: Call) -> None:
        self.known = known
        self.errors = call.errors
        self.method, self.path, self.query = call.method, call.path, call.query
        self.headers = call.headers
        self.asker: Any = None  # see services.asker


class Call:
    """One exchange."""

    def __init__(
        self,
        line: Line,
        errors: Errors,
        *,
        method: str,
        path: str,
        query: str,
        headers: Mapping[bytes, bytes],
        repeated: Set[bytes],
        is_local: bool,
        is_old: bool = False,
        found: Found | None = None,
        body: bytes | None = None,
    ) -> None:
        self.id = new_id("req")
        self._received = Moment()
        self.received_us = self._received.at_us  # when its head was there
        # The time, for this call: never before what was noted of it.
        self.now_us: Callable[[], int] = self._received.now_us
        self.errors = errors  # how its client is told what failed
        self.method = method
        self.path = path  # decoded
        self.query = query
        self.headers = headers  # the last of each name, in lower case
        self.repeated = repeated  # names that came more than once
        self.is_local = is_local  # over the Unix socket, whose file only its owner can open
        self.is_old = is_old  # HTTP/1.0
        self.found = found  # what was made of a head that comes again; None for one not known
        self.key: Key | None = None  # of a call that the cloud makes itself for one
        self.has_begun = False  # the head of the answer is out
        self.is_answered = False  # and all of its body
        self.gone = False
        self.expired: HaneulError | None = None
        self.extra_headers: list[tuple[bytes, bytes]] = []
        self.at_end: Callable[[], None] | None = None  # called when its task has ended
        self.at_sweep: Callable[[], None] | None = None  # called if it has moved since the last
        self.has_moved = False  # a piece of its answer went out: its time begins anew
        self.limits = b""  # lines of the head that tell the client its rates
        self.wants_body = False
        self._line = line
        self._task: asyncio.Task[None] | None = None
        self._head = b""  # not yet written
        self._body: list[bytes] = [] if body is None else [body]
        self._size = 0 if body is None else len(body)
        self._taken = 0  # bytes of the body that were given on, piece by piece
        self._is_piecewise = False
        self._most = 0  # bytes of a body that are taken
        self._is_whole = body is not None
        self._waiter: asyncio.Future[None] | None = None
        self._is_stream = False
        self._within_s = float("inf")
        self._deadline = float("inf")
        self._late: HaneulError | None = None

    @property
    def origin(self) -> str:
        """From where it came, for records of who did what."""
        if self.is_local:
            return "unix socket"
        peer = self._line.peer() or "inside"
        said = self.headers.get(b"x-forwarded-for", b"")[:ORIGIN_MAX].decode("latin-1")
        return f"{peer}, says for {said}" if said.isprintable() and said else peer

    # what the connection does
    def start(self, answer: Callable[[Call], Awaitable[None]]) -> None:
        """Begins to be answered, in a task of its own."""
        self._task = asyncio.get_running_loop().create_task(self._run(answer))

    async def _run(self, answer: Callable[[Call], Awaitable[None]]) -> None:
        REQUEST.set(self.id)  # of this task alone
        try:
            await answer(self)
        finally:
            if self.at_end is not None:
                self.at_end()
            if not self.gone:
                if not self.is_answered:
                    self._line.abort()
                self.is_answered = True
                self._line.ended()

    def take(self, data: bytes) -> int:
        """A piece of the body has come; gives the bytes that wait to be read."""
        self._body.append(data)
        self._size += len(data)
        if self._is_piecewise or (self.wants_body and self._size > self._most):
            self._wake()
        return self._size - self._taken

    def whole(self) -> None:
        """The body is there."""
        self._is_whole = True
        self._wake()

    def hang_up(self) -> None:
        """The client went away."""
        if not self.is_answered:
            self.gone = True
            self.stop()

    def stop(self) -> None:
        """Cancels the task; the client is told, if it is still there."""
        if self._task is not None:
            self._task.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # deadlines and hang-ups
    def within(self, seconds: float, late: HaneulError | None = None) -> None:
        """From now the call has so long until the next `within`; then `late` ends it.

        Without it, DeadlineExceeded does.
        """
        self._within_s = seconds
        self._deadline = time.monotonic() + seconds
        self._late = late

    def check(self, now: float) -> None:
        """Ends the call if its deadline has passed."""
        if self.has_moved:
            self.has_moved = False
            self._deadline = now + self._within_s
            if self.at_sweep is not None:
                self.at_sweep()
        elif now > self._deadline:
            self.end(self._late or DeadlineExceeded())

    def end(self, error: HaneulError) -> None:
        """Ends the call with an error, unless it is ending already."""
        if not self.is_interrupted and self._task is not None:
            self.expired = error
            self._task.cancel()

    @property
    def is_interrupted(self) -> bool:
        """Whether a hang-up or a deadline cancelled the task, and not the cloud's own end."""
        return self.gone or self.expired is not None

    def absorb(self) -> None:
        """Takes every cancellation back, so that the task can end in order."""
        while self._task is not None and self._task.cancelling():
            self._task.uncancel()

    def abort(self) -> None:
        """Cuts the connection, whatever is still unsent on it."""
        self.is_answered = True
        self._line.abort()

    # the request
    async def body(self, *, max_bytes: int, within_s: float) -> bytes:
        """The whole body. Raises TooLarge, RequestTimeout."""
        self.check_head(max_bytes)
        self.wants_body, self._most = True, max_bytes
        if not self._is_whole and self._size <= max_bytes:
            self.within(within_s, RequestTimeout())
            self._line.want_body(
                is_expected=self.headers.get(b"expect", b"").lower() == b"100-continue"
            )
            await self._wait_for_body()
        if self._size > max_bytes:
            raise TooLarge(f"The request body is larger than {max_bytes} bytes.")
        return self._body[0] if len(self._body) == 1 else b"".join(self._body)

    def body_at_hand(self, max_bytes: int) -> bytes | None:
        """The body, where all of it is there and nothing is to be said against it."""
        if not self._is_whole or self._size > max_bytes or b"content-encoding" in self.headers:
            return None
        return self._body[0] if len(self._body) == 1 else b"".join(self._body)

    async def pieces(self, *, max_bytes: int, within_s: float) -> AsyncIterator[bytes]:
        """The body as it comes, no faster than it is read. Raises TooLarge, RequestTimeout."""
        self.check_head(max_bytes)
        self._is_piecewise = True
        self.within(within_s, RequestTimeout())
        is_expected = self.headers.get(b"expect", b"").lower() == b"100-continue"
        while not self._is_whole or self._body:
            if not self._body:
                self._line.want_body(is_expected=is_expected)
                is_expected = False
                await self._wait_for_body()
            if self._size > max_bytes:
                raise TooLarge(f"The request body is larger than {max_bytes} bytes.")
            data = b"".join(self._body)
            self._body.clear()
            self._taken += len(data)
            if data:
                yield data

    async def _wait_for_body(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            if self.expired is None:
                raise
            self.absorb()
            raise self.expired from None
        finally:
            self._waiter = None

    @property
    def has_body(self) -> bool:
        """Whether all of the body is there."""
        return self._is_whole

    @property
    def arrived_bytes(self) -> int:
        """Of the body, so far."""
        return self._size

    def check_head(self, max_bytes: int) -> None:
        """Raises TooLarge, BadRequest for a body that is not taken, before it comes."""
        length = self.headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > max_bytes:
            raise TooLarge(f"The request body is larger than {max_bytes} bytes.")
        if self.headers.get(b"content-encoding", b"identity") != b"identity":
            raise BadRequest("A compressed request body is not taken here.")

    # the answer
    def begin(self, status: int, content_type: bytes, length: int | None = None) -> None:
        """Makes the head, which goes out with the first of the body."""
        extra = self.limits
        if self.extra_headers:
            extra += b"".join([b"%b: %b\r\n" % header for header in self.extra_headers])
        head = b"content-type: %b\r\nx-request-id: %b\r\nopenai-processing-ms: %d\r\n%b" % (
            content_type,
            self.id.encode(),
            (self.now_us() - self.received_us) // 1000,
            extra,
        )
        self._is_stream = length is None
        self.has_begun = True
        self._head = self._line.begin(self, head, status, length)

    def write(self, data: bytes, *, is_last: bool = False) -> None:
        """Sends a piece; whoever sends many waits for `drained` where the line is stalled."""
        head, self._head = self._head, b""
        if self.method == "HEAD":
            data = b""
        self._line.write(head, data, is_last=is_last)
        self.is_answered = is_last

    @property
    def line(self) -> Line:
        """The connection, for whoever has to hold back for it."""
        return self._line

    def through(self, line: Line) -> None:
        """From now on the answer goes over another line, which leads to the first."""
        self._line = line

    async def send(self, data: bytes, *, more: bool) -> None:
        self.write(data, is_last=not more)
        if self._line.is_stalled and more:
            await self._line.drained()

    async def answer(self, status: int, data: bytes, content_type: bytes = JSON) -> None:
        """A whole answer, a piece at a time: each has as long as the last `within` gave."""
        self.begin(status, content_type, len(data))
        if len(data) <= PIECE_BYTES or self.method == "HEAD":
            self.write(data, is_last=True)
            return
        rest = memoryview(data)
        while len(rest) > PIECE_BYTES:
            await self.send(bytes(rest[:PIECE_BYTES]), more=True)
            rest = rest[PIECE_BYTES:]
            self.within(self._within_s, self._late)
        await self.send(bytes(rest), more=False)

    async def fail(self, error: HaneulError) -> None:
        """The error: as the answer, or as the last event of a stream that has begun.

        Other answers that have begun are cut off, as is a client that does not read the error.
        """
        try:
            async with asyncio.timeout(FAIL_S):
                await self._tell(error)
        except TimeoutError:
            self.abort()

    async def _tell(self, error: HaneulError) -> None:
        if self.has_begun and self._is_stream:
            await self._line.drained()
            self.write(self.errors.event(error, self.id), is_last=True)
            return
        if self.has_begun:
            self.abort()
            return
        if error.retry_after_s is not None:
            seconds = max(1, math.ceil(error.retry_after_s))
            self.extra_headers.append((b"retry-after", str(seconds).encode()))
        if error.status == 401:
            self.extra_headers.append((b"www-authenticate", b"Bearer"))
        await self.answer(error.status, self.errors.body(error, self.id))


class Calls:
    """The calls in progress."""

    def __init__(self) -> None:
        self._open: set[Call] = set()
        self._sweeper = asyncio.create_task(self._sweep(), name="deadlines")

    def __len__(self) -> int:
        return len(self._open)

    def add(self, call: Call) -> None:
        self._open.add(call)

    def remove(self, call: Call) -> None:
        self._open.discard(call)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            for call in list(self._open):
                call.check(now)

    async def aclose(self) -> None:
        """Stops keeping deadlines."""
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, return_exceptions=True)
