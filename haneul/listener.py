"""The open ports: connections come in, and end in order when the cloud does."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence

from haneul.protocol import Answer, Connection, ErrorsOf

SWEEP_S = 0.25
LOOK_S = 0.02


class Listener:
    """Sockets whose clients are answered; `close` lets the running requests end first."""

    def __init__(
        self, answer: Answer, errors_of: ErrorsOf, *, kind: type[Connection] = Connection
    ) -> None:
        self._answer = answer
        self._errors_of = errors_of
        self._kind = kind
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None
        self.connections: set[Connection] = set()

    async def open(self, sockets: Sequence[socket.socket]) -> None:
        """Begins to answer on listening sockets."""
        loop = asyncio.get_running_loop()
        for one in sockets:
            kind = loop.create_unix_server if one.family == socket.AF_UNIX else loop.create_server
            self._servers.append(await kind(self._connect, sock=one))
        self._sweeper = asyncio.create_task(self._sweep(), name="connections")

    def _connect(self) -> Connection:
        return self._kind(self._answer, self._errors_of, self.connections)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            for connection in list(self.connections):
                connection.check(now)

    async def close(self, *, drain_s: float, cut_off_s: float) -> None:
        """No new request; the running ones have `drain_s` to end, and are then cut off.

        Those still tell their clients and are billed, within `cut_off_s`.
        """
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.finish()
        await self._emptied(drain_s)
        for connection in list(self.connections):
            if connection.call is not None:
                connection.call.stop()
        await self._emptied(cut_off_s)
        for connection in list(self.connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)

    async def _emptied(self, within_s: float) -> None:
        """Returns when no request runs, or the time is up."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        while loop.time() < until and any(one.call is not None for one in self.connections):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)
