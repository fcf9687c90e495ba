"""uvicorn's HTTP protocol with what it lacks: bounds on a head and on a body nobody reads, errors
in the shape of all others, and a hang-up that reaches the running one of pipelined requests.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from haneul.base.errors import BadRequest, HaneulError, HeadTooLarge, RequestTimeout
from haneul.base.ids import new_id
from haneul.services.call import ABORT

HEAD_MAX_BYTES = 64 << 10
HEADERS_MAX = 256


class BoundedHttp(HttpToolsProtocol):
    """A connection whose request heads must come within 15 s, 64 KiB and 256 headers."""

    head_s = 15.0
    linger_s = 5.0  # for a client that is still sending what will not be read
    stall_s = 60.0  # for a client to take some more of an answer that is made

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._running: RequestResponseCycle | None = None  # self.cycle may be one that waits
        self._refused: HaneulError | None = None
        self._head_bytes = 0  # that came before the head was whole
        self._head_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._stop_lingering()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        super().connection_lost(exc)
        self.pipeline.clear()
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()

    def data_received(self, data: bytes) -> None:
        if self._refused is not None:
            return
        if self._running is None and self._linger_timer is None and self._head_timer is None:
            self._expect_head()  # the next request of a kept connection
        if self._head_timer is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_bytes > HEAD_MAX_BYTES:
            self._refuse(HeadTooLarge())

    # httptools
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"abort": self.abort}}
        if self._head_timer is None:
            self._expect_head()  # one that comes while another is answered

    def on_headers_complete(self) -> None:
        self._stop_head_timer()
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > HEAD_MAX_BYTES or len(self.headers) > HEADERS_MAX:
            self._refuse(HeadTooLarge())
        if self._refused is None:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._refused is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._refused is None:
            super().on_message_complete()
        if self._linger_timer is not None and self._refused is None:
            self._stop_lingering()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    # uvicorn
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        answered, self._running = self._running, None
        if answered is not None and answered.more_body:
            self._linger_timer = self.loop.call_later(self.linger_s, self.abort)
        if self._stall_timer is None and (unsent := self.transport.get_write_buffer_size()):
            self._stall_timer = self.loop.call_later(self.stall_s, self._check_stall, unsent)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(BadRequest("That is not an HTTP request."))

    # bounds
    def abort(self) -> None:
        """Cuts the connection, whatever is still unsent on it."""
        if self._running is not None:
            self._running.disconnected = True
        self.transport.abort()

    def _check_stall(self, unsent_before: int) -> None:
        """Cuts a client that took nothing since; while a request runs, its deadlines do that."""
        self._stall_timer = None
        unsent = self.transport.get_write_buffer_size()
        if self._running is None and unsent >= unsent_before:
            self.abort()
        elif unsent:
            self._stall_timer = self.loop.call_later(self.stall_s, self._check_stall, unsent)

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self.head_s, self._head_is_late)

    def _head_is_late(self) -> None:
        if self._head_bytes or self._running is not None:
            self._refuse(RequestTimeout())
        else:
            self.transport.close()  # a connection opened in advance and never used

    def _refuse(self, error: HaneulError) -> None:
        """Answers what is no request, or, in the middle of an answer, only ends the connection.

        The client may still be sending: closing at once would take the answer from it.
        """
        if self._refused is not None or self.transport.is_closing():
            return
        self._refused = error
        self._stop_head_timer()
        if self._running is not None:
            self.transport.close()
            return
        self.transport.write(_answer(error))
        self.transport.write_eof()
        self._linger_timer = self.loop.call_later(self.linger_s, self.abort)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_lingering(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None


def _answer(error: HaneulError) -> bytes:
    """A whole HTTP answer, for where there is no request to answer."""
    body = msgspec.json.encode(error.as_openai())
    head = (
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
        f"content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
        f"x-request-id: {new_id('req')}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body
