"""An ASGI application on a free loopback port, for the fakes that speak over real HTTP."""

from __future__ import annotations

import asyncio
import socket
from types import TracebackType
from typing import Any, Self

import uvicorn


class Served:
    """Serves `app` while its block runs; what it still does at the end is cut off."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            self.app, interface="asgi3", log_level="critical", lifespan="off", ws="none"
        )
        self._server = uvicorn.Server(config)
        self._task: asyncio.Task[None] | None = None

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """What it answers; without an own one it is not found."""
        await answer_whole(send, 404, b"")

    @property
    def url(self) -> str:
        """Its address, up to where /v1 begins."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._server._serve([self._socket]))
        while not self._server.started:  # noqa: ASYNC110 - uvicorn offers no event for it
            await asyncio.sleep(0.005)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.should_exit = self._server.force_exit = True
        if self._task is not None:
            await self._task


async def body_of(receive: Any) -> bytes:
    """The whole body of a request."""
    body, is_more = b"", True
    while is_more:
        message: dict[str, Any] = await receive()
        body += message.get("body", b"")
        is_more = bool(message.get("more_body"))
    return body


async def answer_whole(
    send: Any, status: int, data: bytes, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    """A whole answer of JSON."""
    head = [(b"content-type", b"application/json"), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": data})
