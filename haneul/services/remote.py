"""Engines elsewhere: any URL that speaks the OpenAI protocol, a vLLM next door or a paid provider.

Plain http goes through the small client of `base.http`; https through `tls`. Both give the same
Reply.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Protocol, Self

from haneul.base import http
from haneul.base.errors import CommandError
from haneul.base.http_connection import Reader, Shortcut, Sink

Headers = Mapping[str, str]
NO_HEADERS: Headers = MappingProxyType({})
KEY_MAX_BYTES = 4096


class Reply(Protocol):
    """The head of an answer, and its body as it arrives."""

    status: int
    headers: dict[bytes, bytes]

    def chunks(self) -> AsyncIterator[bytes]: ...
    async def pump(self, take: Sink, reader: Reader, shortcut: Shortcut | None = None) -> None:
        """Gives every piece of the body to `take` as it comes, no faster than it is read.

        Where it came in chunks, the shortcut may be asked first, whether it took one as it came.
        """
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

    def send(
        self, method: str, path: str, *, body: bytes = b"", headers: Headers = NO_HEADERS
    ) -> Coroutine[Any, Any, Reply]:
        all_headers = {**self._headers, **headers} if headers else self._headers
        return self._client.send(self._to, method, path, body=body, headers=all_headers)

    def without_key(self, data: bytes) -> bytes:
        return without_key(data, self._headers)

    @property
    def server(self) -> tuple[str, int] | None:
        return (self._to.host, self._to.port) if not self._to.uds else None


def without_key(data: bytes, headers: Headers) -> bytes:
    """The same without the bearer key of the headers."""
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
