"""The further processes that answer on the public port: started, watched, recovered, ended.

While one of them is not up, the first process takes the connections of its socket, so that nobody
waits for it. What one leaves when it is killed is settled and recorded before its post is filled
again: its pages become rows, its reservations return, its requests leave the engines' places.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from haneul import sockets
from haneul.base import http, places
from haneul.base.config import Config
from haneul.base.errors import AlreadyRunning, HaneulError, ModelNotFound
from haneul.base.log import logger
from haneul.listener import Listener, room_for
from haneul.protocol import Answer, Connection, ErrorsOf
from haneul.services.call import FAIL_S
from haneul.services.flights import KILLED, PAGES_EACH, Flights
from haneul.services.ledger import recover
from haneul.services.metrics import Metrics
from haneul.services.targets import Targets
from haneul.services.workers.accounts import give_back
from haneul.services.workers.counts import summed
from haneul.services.workers.embedded import tell
from haneul.services.workers.peer import (
    Inner,
    Peer,
    first_socket,
    forward_socket,
    worker_socket,
)
from haneul.services.workers.shared import Shared, flights_path
from haneul.store.database import Database

UP_S = 60.0  # for a worker to answer
LOOK_S = 1.0  # how often each is asked for its counts
LOOK_WITHIN_S, MISSES_MAX = 5.0, 3
PAUSE_FIRST_S, PAUSE_MAX_S = 0.1, 30.0
STABLE_S = 10.0  # a worker that lived so long is started again at once
CUT_OFF_S = FAIL_S + 1
STOP_S = CUT_OFF_S + 5  # beyond the drain, for its last records
RETRY_S = 1.0
ORPHAN_S = 10.0
STARTING, READY, LOST = "starting", "ready", "lost"
log = logger("workers")


class Forwarded(Connection):
    """A worker's connection with a client's requests: no more rights than at the public port."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._is_local = False


class Post:
    """One worker's post: its socket, and the process that fills it now."""

    def __init__(self, number: int, listening: socket.socket) -> None:
        self.number = number
        self.listening = listening
        self.process: asyncio.subprocess.Process | None = None
        self.state = STARTING
        self.restarts = 0
        self.counted = b""  # its last page of counts
        self.keeper: asyncio.Task[None] | None = None


class Workers:
    """All of them."""

    def __init__(
        self,
        config: Config,
        *,
        shared: Shared | None,
        database: Database,
        client: http.Client,
        metrics: Metrics,
        targets: Targets,
    ) -> None:
        self._config = config
        self._shared = shared
        self._database = database
        self._client = client
        self._metrics = metrics
        self._targets = targets
        self._posts: list[Post] = []
        self._past: list[bytes] = []  # the counts of those that ended

    async def hear(self, stack: AsyncExitStack, answer: Answer, errors_of: ErrorsOf) -> None:
        """Opens the sockets at which workers ask, and hand their clients' requests on."""
        config = self._config
        asked = Listener(self._answers(), errors_of)
        stack.push_async_callback(asked.close, drain_s=0.0, cut_off_s=0.0)
        await asked.open([sockets.own(first_socket(config))])
        most = room_for(config.connections_max)
        handed = Listener(answer, errors_of, kind=Forwarded, connections_max=most)
        stack.push_async_callback(handed.close, drain_s=0.0, cut_off_s=CUT_OFF_S)
        await handed.open([sockets.own(forward_socket(config))])

    def open(self, listener: Listener, listening: list[socket.socket]) -> None:
        """Begins to keep a worker at each listening socket; returns at once."""
        self._listener = listener
        self._posts = [Post(number, one) for number, one in enumerate(listening, start=1)]
        for post in self._posts:
            name = f"worker {post.number}"
            post.keeper = asyncio.create_task(self._keep(post), name=name)

    def _answers(self) -> Inner:
        """What they are answered when they ask."""

        async def targets(_: bytes) -> bytes:
            return msgspec.json.encode(tell(self._targets.every()))

        async def ready(body: bytes) -> bytes:
            target = self._targets.embedded(body.decode())
            if target is None:
                raise ModelNotFound()
            await target.ready(self._config.first_token_s)
            return msgspec.json.encode(tell([target])[0])

        return Inner({"/targets": targets, "/ready": ready})

    # what the first process asks of all
    def shown(self) -> list[dict[str, Any]]:
        """Number, process, state and restarts of each."""
        return [
            {
                "number": post.number,
                "pid": post.process.pid if post.process else None,
                "state": post.state,
                "restarts": post.restarts,
            }
            for post in self._posts
        ]

    async def refresh(self) -> None:
        """Returns when they know of what was changed."""
        await self._ask_all("/refresh")

    async def flush(self) -> None:
        """Returns when they have committed their records."""
        await self._ask_all("/flush")

    async def summed(self, page: bytes) -> bytes:
        """A page of counts with those of all workers in it, living and dead."""
        if not self._posts:
            return page
        await asyncio.gather(*(self._count(post) for post in self._ready()))
        return summed([page, *(post.counted for post in self._posts), *self._past])

    async def _ask_all(self, what: str) -> None:
        await asyncio.gather(*(self._ask(post, what) for post in self._ready()))

    async def _ask(self, post: Post, what: str) -> bytes | None:
        peer = Peer(self._client, worker_socket(self._config, post.number))
        try:
            return await peer.ask(what, within_s=LOOK_WITHIN_S)
        except HaneulError:  # it has just died: it knows nothing, and keeps nothing back
            return None

    async def _count(self, post: Post) -> bool:
        """Whether it answers; its counts are known then."""
        page = await self._ask(post, "/metrics")
        post.counted = page or post.counted
        return page is not None

    def _ready(self) -> list[Post]:
        return [post for post in self._posts if post.state == READY]

    # one worker
    async def _keep(self, post: Post) -> None:
        pause_s = 0.0
        while True:
            began = time.monotonic()
            try:
                await self._fill(post, pause_s)
            except Exception:  # whatever it was, the post is to be filled again
                log.exception("worker_not_started", number=post.number)
            is_stable = time.monotonic() - began > STABLE_S
            pause_s = 0.0 if is_stable else min(max(PAUSE_FIRST_S, 2 * pause_s), PAUSE_MAX_S)
            post.state = LOST
            post.restarts += 1

    async def _fill(self, post: Post, pause_s: float) -> None:
        """One life of a worker: from what the one before it left to its own end."""
        async with self._instead(post):
            if post.process is not None:
                code, found = await self._bury(post)
                log.warning("worker_lost", number=post.number, code=code, recovered=found)
            await asyncio.sleep(pause_s)
            began = time.monotonic()
            await self._start(post)
            if not await self._is_up(post):
                return
        post.state = READY
        log.info("worker_ready", number=post.number, wait_s=time.monotonic() - began)
        await self._until_lost(post)

    @asynccontextmanager
    async def _instead(self, post: Post) -> AsyncIterator[None]:
        """The first process answers at a worker's socket, as long as nobody else does."""
        server = await self._listener.also(post.listening.dup())
        try:
            yield
        finally:
            self._listener.no_more(server)

    async def _start(self, post: Post) -> None:
        post.state = STARTING
        config, listening = self._config, post.listening.fileno()
        orders = {
            "config": config,
            "number": post.number,
            "listening": listening,
            "parent": os.getpid(),
        }
        folder = places.logs(config.home)
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        with await asyncio.to_thread((folder / f"worker-{post.number}.log").open, "ab") as output:
            post.process = process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "haneul.worker"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                pass_fds=(listening,),
                start_new_session=True,  # Ctrl-C in the terminal is for the first process
            )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(orders, enc_hook=str) + b"\n")

    async def _is_up(self, post: Post) -> bool:
        """Whether it answers now; False where it ended, or took too long."""
        assert post.process is not None
        assert post.process.stdout is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(UP_S):
                return bool(await post.process.stdout.readline())
        return False

    async def _until_lost(self, post: Post) -> None:
        """Returns when the process has ended or no longer answers."""
        assert post.process is not None
        ended = asyncio.create_task(post.process.wait())
        misses = 0
        try:
            while misses < MISSES_MAX:
                await asyncio.wait([ended], timeout=LOOK_S)
                if ended.done():
                    return
                misses = 0 if await self._count(post) else misses + 1
        finally:
            ended.cancel()

    async def _bury(self, post: Post) -> tuple[int, int]:
        """Ends the process for good, and settles and records what it left.

        Gives its exit code and how many requests it was cut off from.
        """
        process = post.process
        assert process is not None
        if process.returncode is None:
            process.kill()
        code = await process.wait()
        self._client.forget(http.unix(str(worker_socket(self._config, post.number))))
        if post.counted:
            self._past = [summed([*self._past, post.counted])]
            post.counted = b""
        found = await self._recover(post.number)
        post.process = None
        return code, found

    async def _recover(self, number: int) -> int:
        """How many requests a dead worker had left; they are settled and recorded now."""
        config, shared = self._config, self._shared
        assert shared is not None
        pages = PAGES_EACH * config.in_flight_max
        flights = await asyncio.to_thread(Flights, flights_path(config, number), pages)
        try:
            rows = {row.id: row for _, row in flights.left()}
            give_back(shared.book, shared.entries(number), list(rows.values()))
            shared.empty(number)
            while rows:
                try:
                    await asyncio.to_thread(recover, self._database, flights)
                    break
                except Exception:  # the store is away: its pages wait
                    log.exception("worker_not_recovered", number=number)
                await asyncio.sleep(RETRY_S)
            for row in rows.values():
                if row.error_code == KILLED:  # the others it had counted itself
                    self._metrics.count(row)
            return len(rows)
        finally:
            flights.close()

    async def aclose(self) -> None:
        """Lets the running requests end, as the first process does, and then the processes."""
        keepers = [post.keeper for post in self._posts if post.keeper is not None]
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        for post in self._posts:
            post.listening.close()
        await asyncio.gather(*(self._end(post) for post in self._posts))

    async def _end(self, post: Post) -> None:
        process = post.process
        if process is None:
            return
        with suppress(ProcessLookupError, TimeoutError):
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(self._config.drain_s + STOP_S):
                await process.wait()
        await self._bury(post)


def recover_all(database: Database, config: Config) -> int:
    """Records what the workers of an earlier cloud left in their pages; returns how many."""
    found = 0
    for path in sorted(config.home.glob("flights-*")):
        with _opened(path) as flights:
            found += recover(database, flights)
        path.unlink()
    return found


def _opened(path: Path) -> Flights:
    """The pages of a worker that ends with its cloud, perhaps a moment later."""
    late_s = time.monotonic() + ORPHAN_S
    while True:
        try:
            return Flights(path, 1)
        except AlreadyRunning:
            if time.monotonic() > late_s:
                raise
        time.sleep(0.05)
