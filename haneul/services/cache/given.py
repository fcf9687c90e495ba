"""A kept answer as an engine would send it, so that it takes the path of every other answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from haneul.base.http_connection import Reader, Shortcut, Sink
from haneul.services.ask import Ask
from haneul.services.cache.forms import stream_of
from haneul.services.gate import Gate
from haneul.services.health import Health
from haneul.services.remote import NO_HEADERS, Headers
from haneul.services.targets import Target, always_ready

INSIDE_MAX = 1 << 20  # nobody waits for what is there already


class Given:
    """The reply that is there already. A Reply, and the transport that gives it."""

    status = 200

    def __init__(self, body: bytes) -> None:
        self.headers: dict[bytes, bytes] = {}
        self._body = body

    async def send(
        self, method: str, path: str, *, body: bytes = b"", headers: Headers = NO_HEADERS
    ) -> Given:
        """Whatever is asked: what may be asked was looked at before."""
        return self

    def without_key(self, data: bytes) -> bytes:
        return data

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._body

    async def pump(self, take: Sink, reader: Reader, shortcut: Shortcut | None = None) -> None:
        take(self._body)

    async def read(self, limit_bytes: int = 64 << 20) -> bytes:
        return self._body

    def abort(self) -> None:
        """Nothing is under way."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is held."""


def giving(target: Target, ask: Ask, body: bytes) -> Target:
    """The target as it answered before: no chip is busy with it, and nobody waits."""
    free = None if target.price is None else replace(target.price, hour_nano=0)
    return replace(
        target,
        transport=Given(stream_of(ask, body) if ask.is_stream else body),
        gate=Gate(inside_max=INSIDE_MAX, queue_max=0, queue_s=1),
        health=Health(),
        ready=always_ready,
        price=free,
        upcoming=(),
        leaders=None,
        terms={},
        replica=None,
    )
