"""One HTTP exchange: its body, its answer, its hang-up, its deadlines.

A client that goes away, or a deadline that passes, cancels the task that serves the call; `gone`
and `expired` tell which it was. One sweep over all calls keeps every deadline, so that a streamed
token costs no timer. A client that does not read its answer is hung up on at its deadline.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from haneul.base.errors import (
    BadRequest,
    DeadlineExceeded,
    HaneulError,
    RequestTimeout,
    TooLarge,
)
from haneul.base.ids import new_id
from haneul.base.units import now_us
from haneul.services.dialect import Errors

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SWEEP_S = 0.25
PIECE_BYTES = 256 << 10
FAIL_S = 5.0  # for a client to take the error that ends its call
ABORT = "haneul.abort"  # the ASGI extension by which a call cuts its connection (see protocol)
JSON = b"application/json"


class Call:
    """One exchange."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, errors: Errors) -> None:
        self.errors = errors  # how its client is told what failed
        self.id = new_id("req")
        self.received_us = now_us()
        self.scope = scope
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.has_begun = False  # the head of the answer is out
        self.gone = False
        self.expired: HaneulError | None = None
        self.extra_headers: list[tuple[bytes, bytes]] = []
        self._receive = receive
        self._send = send
        self._task = asyncio.current_task()
        self._watch: asyncio.Task[None] | None = None
        self._is_stream = False
        self._within_s = float("inf")
        self._deadline = float("inf")
        self._late: HaneulError | None = None

    @property
    def is_local(self) -> bool:
        """Whether it came over the Unix socket, whose file only its owner can open."""
        server = self.scope["server"]
        return server is not None and server[1] is None

    # deadlines and hang-ups
    def within(self, seconds: float, late: HaneulError | None = None) -> None:
        """From now the call has so long until the next `within`; then `late` ends it.

        Without it, DeadlineExceeded does.
        """
        self._within_s = seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._late = late

    def check(self, now: float) -> None:
        """Ends the call if its deadline has passed."""
        if now > self._deadline and not self.is_interrupted and self._task is not None:
            self.expired = self._late or DeadlineExceeded()
            self._task.cancel()

    @property
    def is_interrupted(self) -> bool:
        """Whether a hang-up or a deadline cancelled the task, and not the cloud's own end."""
        return self.gone or self.expired is not None

    def absorb(self) -> None:
        """Takes every cancellation back, so that the task can end in order."""
        while self._task is not None and self._task.cancelling():
            self._task.uncancel()

    async def _watch_hang_up(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        """Cuts the connection, whatever is still unsent on it."""
        extension = self.scope.get("extensions", {}).get(ABORT)
        if extension is not None:
            extension["abort"]()

    def close(self) -> None:
        """Stops watching."""
        if self._watch is not None:
            self._watch.cancel()

    # the request
    async def body(self, *, max_bytes: int, within_s: float) -> bytes:
        """The whole body; from then on the client is watched. Raises TooLarge, RequestTimeout."""
        self._check_head(max_bytes)
        self.within(within_s, RequestTimeout())
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive_body()
            if message["type"] == "http.disconnect":
                self.gone = True
                raise asyncio.CancelledError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > max_bytes:
                raise TooLarge(f"The request body is larger than {max_bytes} bytes.")
            if not message.get("more_body", False):
                break
        self._watch = asyncio.create_task(self._watch_hang_up())
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _receive_body(self) -> MutableMapping[str, Any]:
        try:
            return await self._receive()
        except asyncio.CancelledError:
            if self.expired is None:
                raise
            self.absorb()
            raise self.expired from None

    def _check_head(self, max_bytes: int) -> None:
        length = self.headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > max_bytes:
            raise TooLarge(f"The request body is larger than {max_bytes} bytes.")
        if self.headers.get(b"content-encoding", b"identity") != b"identity":
            raise BadRequest("A compressed request body is not taken here.")

    # the answer
    async def begin(self, status: int, content_type: bytes, length: int | None = None) -> None:
        """Sends the head."""
        headers = [
            (b"content-type", content_type),
            (b"x-request-id", self.id.encode()),
            *self.extra_headers,
        ]
        self._is_stream = length is None
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        self.has_begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def send(self, data: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(self, status: int, data: bytes, content_type: bytes = JSON) -> None:
        """A whole answer, a piece at a time: each has as long as the last `within` gave."""
        await self.begin(status, content_type, len(data))
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
            await self.send(self.errors.event(error, self.id), more=False)
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
        call.close()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            now = loop.time()
            for call in list(self._open):
                call.check(now)

    async def aclose(self) -> None:
        """Stops keeping deadlines."""
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, return_exceptions=True)
