"""The least that a gateway in Python costs: `python -m bench.floor PORT MOCK_PORT`.

uvloop and httptools as haneul has them, both sides of a relay parsed, connections kept, and nothing
else: no keys, no limits, no routing, no JSON, no ledger, not even a task for a request. What haneul
costs beyond it is what haneul does; what it costs beyond nginx is Python.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httptools
import uvloop

HEAD = (
    b"POST %b HTTP/1.1\r\nhost: mock\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n"
)


class Upstream(asyncio.Protocol):
    """A kept connection to the mock, and the client whose answer comes over it."""

    def __init__(self, kept: list[Upstream]) -> None:
        self.client: Client | None = None
        self.transport: Any = None
        self._kept = kept
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._kept:
            self._kept.remove(self)

    # httptools
    def on_message_begin(self) -> None:
        self._headers: dict[bytes, bytes] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self.client is not None:
            self.client.begin(self._parser.get_status_code(), self._headers)

    def on_body(self, data: bytes) -> None:
        if self.client is not None:
            self.client.write(data)

    def on_message_complete(self) -> None:
        client, self.client = self.client, None
        self._kept.append(self)
        if client is not None:
            client.end()


class Client(asyncio.Protocol):
    """A client's connection, one request after another."""

    def __init__(self, mock_port: int, kept: list[Upstream]) -> None:
        self._mock_port = mock_port
        self._kept = kept
        self._is_chunked = False
        self._head = b""
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    # httptools
    def on_message_begin(self) -> None:
        self._body = b""
        self._headers: dict[bytes, bytes] = {}

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        if self._kept:
            self._ask(self._kept.pop())
        else:
            self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, upstream = await loop.create_connection(
            lambda: Upstream(self._kept), "127.0.0.1", self._mock_port
        )
        self._ask(upstream)

    def _ask(self, upstream: Upstream) -> None:
        upstream.client = self
        upstream.transport.write(HEAD % (self._url, len(self._body)) + self._body)

    # what the upstream does
    def begin(self, status: int, headers: dict[bytes, bytes]) -> None:
        length = headers.get(b"content-length")
        self._is_chunked = length is None
        framing = b"transfer-encoding: chunked" if length is None else b"content-length: " + length
        kind = headers.get(b"content-type", b"application/json")
        self._head = b"HTTP/1.1 %d OK\r\ncontent-type: %b\r\n%b\r\n\r\n" % (status, kind, framing)

    def write(self, data: bytes) -> None:
        head, self._head = self._head, b""
        if self._is_chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._transport.write(head + data)

    def end(self) -> None:
        if self._is_chunked:
            self._transport.write(b"0\r\n\r\n")


async def serve(port: int, mock_port: int) -> None:
    kept: list[Upstream] = []
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Client(mock_port, kept), "127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
