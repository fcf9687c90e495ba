"""An engine whose every byte the test decides, to see what a gateway makes of it.

    async def play(exchange: Exchange) -> None:
        exchange.begin()
        exchange.chunk(b"data: …\\n\\n")
        exchange.cut()

    async with RawEngine(play) as engine:
        ...  engine.url, engine.exchanges ...

It reads whole requests and keeps them as they came; what it answers, when, and whether it hangs up
is the play's. A play is cancelled when its client goes away, and that moment is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, cast

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


class Exchange(asyncio.Protocol):
    """One connection with one request."""

    def __init__(self, engine: RawEngine) -> None:
        self.head = self.body = b""
        self.sent_bytes = 0  # given to the kernel
        self.lost_s: float | None = None  # when the client went away, by the loop's clock
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._data = b""
        self._running: asyncio.Task[None] | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._engine.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, blank, rest = self._data.partition(b"\r\n\r\n")
        if self._running is not None or not blank:
            return
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if len(rest) >= int(length or b"0"):
            self.head, self.body = head, rest
            self._engine.exchanges.append(self)
            self._running = self._loop.create_task(self._play())

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost_s = self._loop.time()
        self._engine.connections.discard(self)
        if self._running is not None:
            self._running.cancel()

    async def _play(self) -> None:
        await self._engine.play(self)
        self._transport.close()

    # what a play does
    def write(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self.sent_bytes += len(data)
        self._transport.write(data)

    def begin(self) -> None:
        """The head of a stream of chunks."""
        self.write(STREAM_HEAD)

    def chunk(self, data: bytes) -> None:
        """One chunk of the body."""
        self.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        """The chunk that says that the body is whole."""
        self.write(b"0\r\n\r\n")

    def whole(self, data: bytes, status: int = 200, *headers: bytes) -> None:
        """An answer in one piece."""
        lines = b"".join(line + b"\r\n" for line in headers)
        self.write(
            b"HTTP/1.1 %d Status\r\n%bcontent-length: %d\r\n\r\n%b"
            % (status, lines, len(data), data)
        )

    async def drained(self) -> None:
        """Returns when the kernel takes more."""
        await asyncio.sleep(0)
        await self._may_write.wait()

    @property
    def unsent_bytes(self) -> int:
        """Still in this process."""
        return self._transport.get_write_buffer_size()

    def cut(self) -> None:
        """Ends the connection without a word."""
        self._transport.abort()


class RawEngine:
    """A free loopback port where each request is answered by the play."""

    def __init__(self, play: Callable[[Exchange], Awaitable[None]]) -> None:
        self.play = play
        self.exchanges: list[Exchange] = []  # requests that came whole
        self.connections: set[Exchange] = set()
        self.url = ""

    @property
    def running(self) -> int:
        """Requests whose client is still there."""
        return sum(1 for each in self.exchanges if each.lost_s is None)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Exchange(self), "127.0.0.1", 0, backlog=1024
        )
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for exchange in list(self.connections):
            exchange.cut()
        while self.connections:  # noqa: ASYNC110 - each says when it is lost
            await asyncio.sleep(0.005)
