"""Engines elsewhere: any URL that speaks the OpenAI protocol, a vLLM next door or a paid provider.

Plain http goes through the small client of `base.http`; https through aiohttp, which knows TLS and
proxies. Both give the same Reply.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

import aiohttp

from haneul.base import http
from haneul.base.errors import CommandError, EngineFailed, EngineUnavailable

Headers = Mapping[str, str]
NO_HEADERS: Headers = MappingProxyType({})
KEY_MAX_BYTES = 4096
HEAD_S = 600.0  # the gateway's own deadlines are shorter; this one only bounds a leak


class Reply(Protocol):
    """The head of an answer, and its body as it arrives."""

    status: int
    headers: dict[bytes, bytes]

    def chunks(self) -> AsyncIterator[bytes]: ...
    async def pump(self, take: Callable[[bytes], None], reader: http.Reader) -> None:
        """Gives every piece of the body to `take` as it comes, no faster than it is read."""
        ...

    async def read(self, limit_bytes: int = ...) -> bytes: ...
    def abort(self) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Transport(Protocol):
    """How requests reach one engine."""

    async def send(
        self, method: str, path: str, *, body: bytes = b"", headers: Headers = NO_HEADERS
    ) -> Reply: ...
    def without_key(self, data: bytes) -> bytes:
        """What the engine said, without our key to it where it repeats that."""
        ...

    @property
    def server(self) -> tuple[str, int] | None:
        """The host and port that are asked; None for a socket of this machine."""
        ...


class PlainTransport:
    """Over a Unix socket or plain http."""

    def __init__(
        self, client: http.Client, to: http.Address, headers: dict[str, str] | None = None
    ) -> None:
        self._client = client
        self._to = to
        self._headers = headers or {}

    async def send(
        self, method: str, path: str, *, body: bytes = b"", headers: Headers = NO_HEADERS
    ) -> Reply:
        all_headers = {**self._headers, **headers}
        return await self._client.send(self._to, method, path, body=body, headers=all_headers)

    def without_key(self, data: bytes) -> bytes:
        return _without_key(data, self._headers)

    @property
    def server(self) -> tuple[str, int] | None:
        return (self._to.host, self._to.port) if not self._to.uds else None


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
            raise http.Disconnected() from cause

    async def pump(self, take: Callable[[bytes], None], reader: http.Reader) -> None:
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

    def __init__(
        self, session: aiohttp.ClientSession, url: str, headers: dict[str, str] | None = None
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._headers = headers or {}

    async def send(
        self, method: str, path: str, *, body: bytes = b"", headers: Headers = NO_HEADERS
    ) -> Reply:
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
        return _without_key(data, self._headers)

    @property
    def server(self) -> tuple[str, int] | None:
        parts = urlsplit(self._url)
        return (parts.hostname or "", parts.port or 443)


def _without_key(data: bytes, headers: Headers) -> bytes:
    key = headers.get("authorization", "").removeprefix("Bearer ").encode()
    return data.replace(key, b"[key]") if key else data


def read_key_file(path: str | None) -> dict[str, str]:
    """The authorization header for the provider's key in a file. Raises CommandError."""
    if path is None:
        return {}
    try:
        key = Path(path).expanduser().read_text()[:KEY_MAX_BYTES].strip()
    except (OSError, UnicodeDecodeError) as cause:
        raise CommandError(f"the key file {path} cannot be read") from cause
    if not key or not key.isprintable() or not key.isascii():
        raise CommandError(f"the key file {path} does not hold a key")
    return {"authorization": f"Bearer {key}"}
