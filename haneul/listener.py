"""The open ports: connections come in, so many at most, and end in order when the cloud does."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Sequence
from heapq import nsmallest

from haneul.protocol import Answer, Connection, ErrorsOf
from haneul.sockets import BACKLOG

SWEEP_S = 0.25
LOOK_S = 0.02
CONNECTIONS_MAX = 4096
OTHER_FILES = 512  # of the store, the logs, the engines


class Listener:
    """Sockets whose clients are answered; `close` lets the running requests end first.

    One connection more than the most takes the place of the one that has waited longest without a
    request; where all have one, it is told so and closed.
    """

    def __init__(
        self,
        answer: Answer,
        errors_of: ErrorsOf,
        *,
        kind: type[Connection] = Connection,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        self._answer = answer
        self._errors_of = errors_of
        self._kind = kind
        self._connections_max = connections_max
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None
        self.connections: set[Connection] = set()

    async def open(self, sockets: Sequence[socket.socket]) -> None:
        """Begins to answer on listening sockets."""
        loop = asyncio.get_running_loop()
        for one in sockets:
            kind = loop.create_unix_server if one.family == socket.AF_UNIX else loop.create_server
            self._servers.append(await kind(self._connect, sock=one, backlog=BACKLOG))
        self._sweeper = asyncio.create_task(self._sweep(), name="connections")

    async def also(self, one: socket.socket) -> asyncio.Server:
        """Answers on another listening socket, until what comes back is closed."""
        server = await asyncio.get_running_loop().create_server(
            self._connect, sock=one, backlog=BACKLOG
        )
        self._servers.append(server)
        return server

    def no_more(self, server: asyncio.Server) -> None:
        """Ends that; its connections stay."""
        server.close()
        self._servers.remove(server)

    def _connect(self) -> Connection:
        made = self._kind(self._answer, self._errors_of, self.connections)
        if len(self.connections) >= self._connections_max:
            made.is_too_many = not self._make_room()
        return made

    def _make_room(self) -> bool:
        """Ends some of those that have waited longest without a request; False: all have one.

        Some, so that many who come at once do not each look through all.
        """
        idle = [one for one in self.connections if one.call is None]
        some = 1 + self._connections_max // 64
        for one in nsmallest(some, idle, key=lambda one: one.since):
            self.connections.discard(one)
            one.abort()
        return bool(idle)

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


def room_for(connections: int) -> int:
    """How many connections this process can hold: each takes a file, its engine's another.

    The system's soft limit is raised as far as it lets us.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * connections + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return connections
    return max(16, min(connections, (soft - OTHER_FILES) // 2))
