"""A small pooled HTTP/1.1 client for engines, over TCP or a Unix socket.

It exists because the client decides what a relayed request costs: parsing with httptools and
nothing else is an order of magnitude cheaper than the general clients. It speaks only what an
engine on this machine or network needs: no TLS, no redirects, no cookies.

    reply = await client.send(address, "POST", "/v1/chat/completions", body=body)
    async for data in reply.chunks():
        ...

A reply must be read to its end or aborted; `async with reply:` does the latter on the way out.
Reading pauses at 256 KiB unread, so a slow reader holds the engine back instead of memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from haneul.base.errors import BadRequest, EngineFailed, EngineUnavailable
from haneul.base.http_connection import Connection, Disconnected, Reader, Shortcut, Sink

CONNECT_S = 5.0


class Address(NamedTuple):
    """Where an engine listens: a Unix socket's path, or a host and port; and a path prefix."""

    host: str
    port: int = 80
    uds: str = ""
    prefix: str = ""

    def __str__(self) -> str:
        return f"unix:{self.uds}" if self.uds else f"http://{self.host}:{self.port}{self.prefix}"


def unix(path: str) -> Address:
    """The address of a Unix socket."""
    return Address(host="engine", uds=path)


def address(url: str) -> Address:
    """The address of an http URL. Raises BadRequest."""
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError as cause:  # a port or an IPv6 address that is none
        raise BadRequest(f"'{url}' is not an http URL") from cause
    if parts.scheme != "http" or not parts.hostname or parts.query or parts.username:
        raise BadRequest(f"'{url}' is not an http URL")
    return Address(parts.hostname, port, prefix=parts.path.rstrip("/"))


class Reply:
    """The head of an answer, and its body as it arrives."""

    def __init__(
        self, connection: Connection, client: Client | None = None, to: Address | None = None
    ) -> None:
        self._connection = connection
        self._client = client  # which keeps the connection for others; without one it is closed
        self._to = to
        self._is_released = False  # from then on the connection may carry another's answer
        self.status = connection.status
        self.headers = connection.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in the pieces it came in. Raises Disconnected when it was cut."""
        connection = self._connection
        while True:
            if connection.body:
                yield connection.take()
            elif connection.complete:
                self._give_back()
                return
            elif connection.error is not None:
                raise connection.error
            else:
                await connection.changed()

    async def pump(self, take: Sink, reader: Reader, shortcut: Shortcut | None = None) -> None:
        """Gives every piece of the body to `take` as it comes, no faster than it is read.

        What follows whole chunks is offered to the shortcut first, as it came.
        """
        await self._connection.pump(take, reader, shortcut)
        self._give_back()

    def _give_back(self) -> None:
        if not self._is_released:
            self._is_released = True
            if self._client is None or self._to is None:
                self._connection.abort()
            else:
                self._client.keep(self._to, self._connection)

    async def read(self, limit_bytes: int = 64 << 20) -> bytes:
        """The whole body. Raises EngineFailed beyond the limit."""
        connection, parts, size = self._connection, [], 0
        if connection.complete and len(connection.body) == 1 and connection.unread <= limit_bytes:
            data = connection.take()
            self._give_back()
            return data
        while connection.body or not connection.complete:  # a generator would cost as much again
            if not connection.body:
                if connection.error is not None:
                    raise connection.error
                await connection.changed()
                continue
            parts.append(connection.take())
            size += len(parts[-1])
            if size > limit_bytes:
                self.abort()
                raise EngineFailed("The engine's answer is larger than this gateway takes.")
        self._give_back()
        return b"".join(parts)

    def abort(self) -> None:
        """Hangs up unless the answer has been read to its end."""
        if not self._is_released:
            self._connection.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()


class Client:
    """Keeps idle connections per address and opens what is missing."""

    def __init__(self, *, idle_max: int = 64) -> None:
        self._idle: dict[Address, list[Connection]] = {}
        self._idle_max = idle_max

    async def send(
        self,
        to: Address,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Sends one request and returns when the head of its answer is here.

        A kept connection that the engine had closed meanwhile is replaced once, which is safe
        because not one byte of an answer came over it. Raises EngineUnavailable, EngineFailed.
        """
        head = _head(to, method, path, len(body), headers or {})
        is_new = False
        while True:
            connection = None if is_new else self._kept(to)
            if connection is None:
                connection, is_new = await self._connect(to), True
            try:
                connection.write(head + body)
                while not connection.got_head and connection.error is None:
                    await connection.changed()
            except Disconnected:
                if is_new:
                    raise
                continue  # it was closed already: nothing was sent
            except BaseException:
                connection.abort()
                raise
            if connection.got_head:
                return Reply(connection, self, to)
            assert connection.error is not None
            if is_new or connection.got_any:
                raise connection.error
            is_new = True

    def _kept(self, to: Address) -> Connection | None:
        """A connection that is open and idle."""
        idle = self._idle.get(to)
        while idle:
            connection = idle.pop()
            if not connection.closed:
                return connection
        return None

    async def _connect(self, to: Address) -> Connection:
        """A new one. Raises EngineUnavailable."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                if to.uds:
                    _, made = await loop.create_unix_connection(Connection, to.uds)
                else:
                    _, made = await loop.create_connection(Connection, to.host, to.port)
        except (OSError, TimeoutError) as cause:
            raise EngineUnavailable("The engine cannot be reached.", retry_after_s=2) from cause
        return made

    def keep(self, to: Address, connection: Connection) -> None:
        """Takes a connection back whose answer was read to its end."""
        if (idle := self._idle.get(to)) is None:
            idle = self._idle[to] = []
        if connection.keep_alive and not connection.closed and len(idle) < self._idle_max:
            idle.append(connection)
        else:
            connection.abort()

    def forget(self, to: Address) -> None:
        """Drops the idle connections of an address that is gone."""
        for connection in self._idle.pop(to, []):
            connection.abort()

    async def aclose(self) -> None:
        """Closes every idle connection."""
        for to in list(self._idle):
            self.forget(to)


def _head(to: Address, method: str, path: str, length: int, headers: Mapping[str, str]) -> bytes:
    head = _beginning(to, method, path)
    if length or method == "POST":
        head += b"content-length: %d\r\n" % length
        if "content-type" not in headers:
            head += b"content-type: application/json\r\n"
    for name, value in headers.items():
        head += f"{name}: {value}\r\n".encode("latin-1")
    return head + b"\r\n"


@lru_cache(maxsize=256)
def _beginning(to: Address, method: str, path: str) -> bytes:
    """The lines that all requests to an address have in common."""
    return f"{method} {to.prefix}{path} HTTP/1.1\r\nhost: {to.host}\r\n".encode("latin-1")
