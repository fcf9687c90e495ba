"""An engine of sound and pictures: OpenAI's addresses over real HTTP, its answers as it is told."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from haneul.base.multipart import Part, read_form
from haneul.testing.served import Served, body_of


class MediaEngine(Served):
    """Gives `answers[path]`: content type, pieces of the body, more headers; notes what came."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, tuple[str, list[bytes], dict[str, str]]] = {}
        self.status = 200
        self.forms: list[list[Part]] = []
        self.bodies: list[dict[str, Any]] = []
        self.hang_ups = 0
        self.pause_s = 0.0

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """The answer that is set for the address."""
        body = await body_of(receive)
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
