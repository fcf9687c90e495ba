"""One connection to an engine: what was asked over it, and what comes of the answer.

httptools parses. A whole answer whose head was there before, with nothing but the length of the
body changed, is known by its bytes; of a stream, so are the chunks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

import httptools

from haneul.base.again import Known, body_at, learn
from haneul.base.chunked import END, whole_chunks
from haneul.base.errors import EngineFailed, EngineUnavailable

HIGH_WATER_BYTES = 256 << 10
OK = 200
FRAMING = {b"content-length", b"transfer-encoding"}  # headers that say where a body ends


class Disconnected(EngineUnavailable):
    """The engine closed the connection before its answer was complete."""

    def __init__(self) -> None:
        super().__init__(retry_after_s=2)


Sink = Callable[[bytes], None]
Shortcut = Callable[[bytes], bool]  # takes bytes that are one whole chunk, frame and all; or not


class Reader(Protocol):
    """Who a body goes to, and whether it has to take something before more comes."""

    on_drained: Callable[[], None] | None

    @property
    def is_stalled(self) -> bool: ...
    async def drained(self) -> None: ...


class Connection(asyncio.Protocol):
    """One connection: at most one request at a time; httptools calls the on_… methods."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.parser = httptools.HttpResponseParser(self)
        self._known: tuple[Known, dict[bytes, bytes]] | None = None  # the head of a whole answer
        self._is_asked = False  # and nothing has come since
        self._fresh()

    def _fresh(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body: deque[bytes] = deque()
        self.unread = 0
        self.got_any = self.got_head = self.complete = self.paused = False
        self._is_between = False  # the parser has whole chunks, and nothing of the next
        self.keep_alive = True
        self.error: Exception | None = None
        self._sink: Sink | None = None
        self._shortcut: Shortcut | None = None
        self._waiter: asyncio.Future[None] | None = None

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        is_first, self._is_asked = self._is_asked, False
        if self.complete:  # what nobody asked for would be taken for the next answer
            self.abort()
            return
        if is_first and self._known is not None:
            known, headers = self._known
            if start := body_at(known, data):
                self._answered_again(headers, data[start:])
                return
        self.got_any = True
        sink = self._sink
        if self._is_between:
            take = self._shortcut
            if take is not None and not (self.body or self._reader.is_stalled) and take(data):
                return
            body, end = whole_chunks(data)
            if body:
                self.on_body(body)
            data = data[end:]
        if data:
            self._parse(data)
        if sink is None:
            self._wake()
        else:
            self._pour(sink)
        if self.complete:
            self._learn(data, is_first=is_first)

    def _learn(self, data: bytes, *, is_first: bool) -> None:
        """Keeps the head of an answer that came in one piece, to know it when it comes again."""
        self._known = None
        if is_first and self.status == OK and self.keep_alive:
            known = learn(data, self.headers, len(self.headers))
            self._known = None if known is None else (known, self.headers)

    def _answered_again(self, headers: dict[bytes, bytes], body: bytes) -> None:
        """Takes a whole answer whose head is known."""
        if self._known is not None and len(body) != self._known[0].length:
            headers = {**headers, b"content-length": b"%d" % len(body)}
        self.status, self.headers = OK, headers
        self.got_any = self.got_head = self.complete = True
        self.body.append(body)
        self.unread = len(body)
        self._wake()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as cause:
            self.error = EngineFailed(f"The engine does not speak HTTP: {cause}")
            self.abort()
        self._is_between = self._is_between and not self.complete and data.endswith(END)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if exc is None and self.got_head and not FRAMING & self.headers.keys():
            self.complete, self.keep_alive = True, False  # HTTP/1.0: the end is the length
        if not self.complete and self.error is None:
            self.error = Disconnected()
        self._wake()
        del self.parser  # it refers back: a cycle would wait for a collection

    # httptools
    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()
        self.got_head = True

    def on_body(self, data: bytes) -> None:
        self.body.append(data)
        self.unread += len(data)
        if self.unread > HIGH_WATER_BYTES and not self.paused and self.transport:
            self.paused = True
            self.transport.pause_reading()

    def on_chunk_header(self) -> None:
        self._is_between = False

    def on_chunk_complete(self) -> None:
        self._is_between = True

    def on_message_complete(self) -> None:
        self.complete = True
        self.keep_alive = bool(self.parser.should_keep_alive())

    # one request
    def write(self, data: bytes) -> None:
        is_between = self.complete or (self.status == 0 and not self.got_any)
        self._fresh()
        if self.closed or self.transport is None:
            raise Disconnected()
        self._is_asked = is_between
        self.transport.write(data)

    def changed(self) -> asyncio.Future[None]:
        """Is done when anything has changed since."""
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def take(self) -> bytes:
        """Everything unread, in one piece."""
        data = self.body.popleft() if len(self.body) == 1 else b"".join(self.body)
        self.body.clear()
        self.unread = 0
        if self.paused and self.transport:
            self.paused = False
            self.transport.resume_reading()
        return data

    async def pump(self, sink: Sink, reader: Reader, shortcut: Shortcut | None) -> None:
        """Pours the body into `sink` from the connection's own callbacks until it has ended.

        What the sink raises ends the connection, and is raised here.
        """
        self._reader, self._sink, self._shortcut = reader, sink, shortcut
        reader.on_drained = self._go_on
        try:
            self._pour(sink)
            while not (self.complete and not self.body) and self.error is None:
                await self.changed()
        finally:
            self._sink = self._shortcut = reader.on_drained = None
        if self.error is not None:
            raise self.error

    def _pour(self, sink: Sink) -> None:
        """Gives on what is there, unless the reader is to be waited for."""
        try:
            if self.body and not self._reader.is_stalled:
                sink(self.take())
        except Exception as error:  # noqa: BLE001 - raised to whoever pumps
            self.error = error
            self.abort()
        if self.complete or self.error is not None:
            self._wake()

    def _go_on(self) -> None:
        """The reader has taken enough."""
        if self._sink is not None:
            self._pour(self._sink)

    def abort(self) -> None:
        """Closes at once; the engine sees the hang-up and frees its slot."""
        self.closed = True
        if self.transport is not None:
            self.transport.abort()
        if not self.complete and self.error is None:
            self.error = Disconnected()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
