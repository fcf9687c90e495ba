"""An engine of sound and pictures: OpenAI's addresses over real HTTP, its answers as it is told."""

from __future__ import annotations

import asyncio
import socket
from types import TracebackType
from typing import Any, Self

import msgspec
import uvicorn

from haneul.base.multipart import Part, read_form


class MediaEngine:
    """Gives `answers[path]`: content type, pieces of the body, more headers; notes what came."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str, list[bytes], dict[str, str]]] = {}
        self.status = 200
        self.forms: list[list[Part]] = []
        self.bodies: list[dict[str, Any]] = []
        self.hang_ups = 0
        self.pause_s = 0.0
        self._socket = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(self._app, interface="asgi3", log_level="critical", lifespan="off")
        self._server = uvicorn.Server(config)
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
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

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        kind = dict(scope["headers"]).get(b"content-type", b"").decode()
        if kind.startswith("multipart/"):
            self.forms.append(read_form(body, kind))
        elif body:
            self.bodies.append(msgspec.json.decode(body))
        content_type, pieces, more = self.answers[scope["path"]]
        if self.status != 200:
            content_type, pieces = "application/json", [b'{"error":{"message":"no","code":"bad"}}']
        headers = [(b"content-type", content_type.encode())]
        headers += [(name.encode(), value.encode()) for name, value in more.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(self.pause_s)
        await send({"type": "http.response.body", "body": b""})
