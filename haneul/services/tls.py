"""Engines behind https, by aiohttp, which knows TLS and proxies.

A module of its own because it is loaded late: with the first such engine (see `targets`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp

from haneul.base import http
from haneul.base.errors import EngineFailed, EngineUnavailable
from haneul.base.http_connection import Disconnected, Reader, Shortcut, Sink
from haneul.services.remote import NO_HEADERS, Headers, without_key

HEAD_S = 600.0  # the gateway's own deadlines are shorter; this one only bounds a leak


class Connections:
    """Those to all providers, kept open."""

    def __init__(self, *, most: int) -> None:
        self._session = aiohttp.ClientSession(
            trust_env=True,
            auto_decompress=True,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=most),
        )

    def to(self, url: str, headers: Headers) -> TlsTransport:
        """How requests reach the engine at an https URL."""
        return TlsTransport(self._session, url, headers)

    async def aclose(self) -> None:
        """Closes them."""
        await self._session.close()


class TlsReply:
    """An aiohttp answer in the shape of Reply."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.raw_headers}

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for data in self._response.content.iter_any():
                yield data
        except (aiohttp.ClientError, TimeoutError) as cause:
            raise Disconnected() from cause

    async def pump(self, take: Sink, reader: Reader, shortcut: Shortcut | None = None) -> None:
        async for data in self.chunks():
            take(data)
            if reader.is_stalled:
                await reader.drained()

    async def read(self, limit_bytes: int = 64 << 20) -> bytes:
        parts, size = [], 0
        async for data in self.chunks():
            parts.append(data)
            size += len(data)
            if size > limit_bytes:
                raise EngineFailed("The engine's answer is larger than this gateway takes.")
        return b"".join(parts)

    def abort(self) -> None:
        self._response.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()


class TlsTransport:
    """Over https."""

    def __init__(self, session: aiohttp.ClientSession, url: str, headers: Headers) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._headers = headers

    async def send(
        self, method: str, path: str, *, body: bytes = b"", headers: Headers = NO_HEADERS
    ) -> TlsReply:
        all_headers = {"content-type": "application/json", **self._headers, **headers}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=http.CONNECT_S, sock_read=HEAD_S)
        try:
            response = await self._session.request(
                method,
                self._url + path,
                data=body or None,
                headers=all_headers,
                timeout=timeout,
                allow_redirects=False,  # the provider's key goes to the address that was given
            )
        except (TimeoutError, aiohttp.ClientError, OSError) as cause:
            raise EngineUnavailable("The provider cannot be reached.", retry_after_s=5) from cause
        return TlsReply(response)

    def without_key(self, data: bytes) -> bytes:
        return without_key(data, self._headers)

    @property
    def server(self) -> tuple[str, int] | None:
        parts = urlsplit(self._url)
        return (parts.hostname or "", parts.port or 443)
