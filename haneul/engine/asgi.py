"""The little of ASGI that the front needs: one request in, one answer or one stream out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from haneul.base.errors import (
    DeadlineExceeded,
    EngineUnavailable,
    HaneulError,
    RequestTimeout,
    TooLarge,
)
from haneul.engine.sse import DONE

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_MAX_BYTES = 32 << 20
BODY_S = 30.0  # for a body to arrive whole
WRITE_S = 60.0  # for a client to take what is written


class ClientGone(Exception):
    """The client hung up; nobody is left to answer."""


async def read_body(receive: Receive) -> bytes:
    """The whole body. Raises TooLarge, RequestTimeout, ClientGone."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > BODY_MAX_BYTES:
                    raise TooLarge(f"The request body is larger than {BODY_MAX_BYTES >> 20} MiB.")
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError as cause:
        raise RequestTimeout() from cause


async def while_connected(receive: Receive, doing: asyncio.Task[None]) -> None:
    """Waits for the task, but drops it the moment the client hangs up. Raises ClientGone then.

    A task that someone else cancelled raises EngineUnavailable: only a stop does that.
    """
    watching = asyncio.ensure_future(_hang_up(receive))
    try:
        await asyncio.wait({doing, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientGone
        if doing.cancelled():
            raise EngineUnavailable("The engine is shutting down.", retry_after_s=5)
        doing.result()
    finally:
        for task in (doing, watching):
            task.cancel()
        await asyncio.gather(doing, watching, return_exceptions=True)


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Answer:
    """Writes one answer: JSON at once, or events as they come."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0  # nothing sent yet

    async def json(self, value: Any, status: int = 200, **headers: str) -> None:
        await self.whole(msgspec.json.encode(value), "application/json", status, **headers)

    async def whole(self, body: bytes, kind: str, status: int = 200, **headers: str) -> None:
        named = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
        length = (b"content-length", str(len(body)).encode())
        await self._start(status, [(b"content-type", kind.encode()), length, *named])
        await self._write({"type": "http.response.body", "body": body})

    async def event(self, value: Any) -> None:
        """One server-sent event; the first one opens the stream."""
        await self._event(msgspec.json.encode(value), more=True)

    async def done(self) -> None:
        """The last event of a stream."""
        await self._event(DONE, more=False)

    async def error(self, error: HaneulError) -> None:
        """The error as OpenAI shows it: a status, or an event when the stream is open."""
        if self.status:
            await self._event(msgspec.json.encode(error.as_openai()), more=False)
            return
        wait = {} if error.retry_after_s is None else {"retry_after": str(int(error.retry_after_s))}
        await self.json(error.as_openai(), error.status, **wait)

    async def _event(self, data: bytes, *, more: bool) -> None:
        if not self.status:
            kind = (b"content-type", b"text/event-stream; charset=utf-8")
            await self._start(200, [kind, (b"cache-control", b"no-cache")])
        body = b"data: " + data + b"\n\n"
        await self._write({"type": "http.response.body", "body": body, "more_body": more})

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        await self._write({"type": "http.response.start", "status": status, "headers": headers})

    async def _write(self, message: MutableMapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(WRITE_S):
                await self._send(message)
        except TimeoutError as cause:
            raise DeadlineExceeded("The client does not read.") from cause
