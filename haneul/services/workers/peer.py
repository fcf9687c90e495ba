"""What the processes of one cloud ask each other, at sockets in a folder only they can enter.

The first process is asked which engines there are and to wake one; a worker is asked for its
counts, to follow the store now, and to commit its records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from haneul.base import http
from haneul.base.config import Config
from haneul.base.errors import EngineUnavailable, HaneulError, NotFound, Unavailable
from haneul.base.log import logger
from haneul.base.places import socket_folder
from haneul.services.call import Call

BODY_MAX_BYTES = 64 << 10
BODY_S = 10.0
ASK_S = 10.0
log = logger("workers")
Handler = Callable[[bytes], Awaitable[bytes]]


class Refusal(Struct, frozen=True):
    """An error, as one process tells another."""

    status: int
    code: str
    message: str
    retry_after_s: float | None = None

    def error(self) -> HaneulError:
        """The same error here: what an engine cannot now, or what nobody can."""
        kind = EngineUnavailable if self.status == Unavailable.status else HaneulError
        error = kind(self.message, retry_after_s=self.retry_after_s)
        error.status, error.code = self.status, self.code
        return error


class Inner:
    """Answers other processes."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers

    async def __call__(self, call: Call) -> None:
        try:
            data = await call.body(max_bytes=BODY_MAX_BYTES, within_s=BODY_S)
            if call.path not in self._handlers:
                raise NotFound()
            status, answer = 200, await self._handlers[call.path](data)
        except HaneulError as error:
            refusal = Refusal(error.status, error.code, error.message, error.retry_after_s)
            status, answer = error.status, msgspec.json.encode(refusal)
        except Exception:  # whatever it was, who asks must be told
            log.exception("not_answered", what=call.path)
            status, answer = 500, msgspec.json.encode(Refusal(500, HaneulError.code, "failed"))
        await call.answer(status, answer)


class Peer:
    """Another process of this cloud."""

    def __init__(self, client: http.Client, path: Path) -> None:
        self._client = client
        self._to = http.unix(str(path))

    async def ask(self, what: str, body: bytes = b"", *, within_s: float = ASK_S) -> bytes:
        """Its answer. Raises what it refused with, Unavailable where it does not answer."""
        try:
            async with asyncio.timeout(within_s):
                async with await self._client.send(self._to, "POST", what, body=body) as reply:
                    data = await reply.read()
        except TimeoutError as cause:
            message = "Another process of this cloud does not answer."
            raise Unavailable(message, retry_after_s=2) from cause
        if reply.status != 200:
            raise msgspec.json.decode(data, type=Refusal).error()
        return data


def first_socket(config: Config) -> Path:
    """Where the first process is asked by its workers."""
    return socket_folder(config.home) / "first.sock"


def forward_socket(config: Config) -> Path:
    """Where the first process takes the requests of clients that its workers hand on."""
    return socket_folder(config.home) / "forward.sock"


def worker_socket(config: Config, number: int) -> Path:
    """Where a worker is asked by the first process."""
    return socket_folder(config.home) / f"worker-{number}.sock"
