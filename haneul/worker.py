"""One further process that answers on the public port: python -m haneul.worker.

The first process starts it and tells it on standard input what it needs; when that input ends, the
first process has, and so does this one. It answers what engines are asked for, with pages, a
ledger's writer and a keyring of its own, and the hub, whose files are large; everything else it
hands to the first process.
"""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import uvloop
from msgspec import Struct

from haneul.base import places
from haneul.base.config import LOOPBACK, Config
from haneul.base.garbage import begin, settle
from haneul.base.lifeline import die_with_parent
from haneul.base.log import logger, open_log
from haneul.listener import Listener, room_for
from haneul.parts import Parts, open_parts
from haneul.services import dialects
from haneul.services.call import FAIL_S, Call
from haneul.services.chat import Gateway
from haneul.services.dialect import Errors
from haneul.services.dialects import Dialects
from haneul.services.flights import PAGES_EACH, Flights
from haneul.services.hub.addresses import HubAddresses
from haneul.services.loopback import check_loopback
from haneul.services.replays import HEADER as IDEMPOTENCY
from haneul.services.responses.dialect import Responses
from haneul.services.responses.kept import Kept
from haneul.services.sessions import PAGE_HEADER
from haneul.services.tei import Tei
from haneul.services.workers.embedded import Followed
from haneul.services.workers.follower import Follower
from haneul.services.workers.forward import KEYS, Forward
from haneul.services.workers.peer import Inner, Peer, first_socket, worker_socket
from haneul.services.workers.shared import Shared, flights_path, part_of
from haneul.sockets import own
from haneul.store.database import open_database

UP = b"up\n"  # said on standard output once it answers
CUT_OFF_S = FAIL_S + 1
log = logger("workers")


class Orders(Struct, frozen=True, kw_only=True):
    """What a worker is told at its start."""

    config: Config
    number: int
    listening: int  # the file number of its public socket
    parent: int


class Branch:
    """Answers the calls of this worker's clients."""

    def __init__(
        self, gateway: Gateway, known: Dialects, hub: HubAddresses, forward: Forward
    ) -> None:
        self._gateway = gateway
        self._dialects = known
        self._hub = hub
        self._forward = forward
        self._only_loopback = gateway.config.host in LOOPBACK

    async def __call__(self, call: Call) -> None:
        await self._gateway.guard(call, self._answer)

    def errors(self, path: str) -> Errors:
        return self._dialects.errors(path)

    async def _answer(self, call: Call) -> None:
        if self._only_loopback:
            check_loopback(call.headers.get(b"host", b""))
        dialect = self._dialects.at.get(call.path)
        if PAGE_HEADER not in call.headers and self._hub.takes(call):
            await self._hub.ways(call)  # its files are too large to be handed on
        elif dialect is None or call.method != "POST" or not _is_plain(call):
            await self._forward(call)
        else:
            await self._gateway.serve(call, dialect)


def _is_plain(call: Call) -> bool:
    """Whether it comes with a key, and not as a repetition: only the first process knows those."""
    headers = call.headers
    return IDEMPOTENCY not in headers and not headers.keys().isdisjoint(KEYS)


async def run(orders: Orders) -> None:
    """Answers until it is told to stop, or the first process is gone."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(sys.stdin.fileno(), _lifeline)
    async with AsyncExitStack() as stack:
        await _open(stack, orders)
        settle()
        os.write(sys.stdout.fileno(), UP)
        await stop.wait()
    log.info("worker_stopped", number=orders.number)


async def _open(stack: AsyncExitStack, orders: Orders) -> None:
    config, number = orders.config, orders.number
    database = await asyncio.to_thread(open_database, config.database_url, config.home)
    stack.callback(database.close)
    shared = Shared(config, slot=number)
    stack.push_async_callback(shared.aclose)
    path = flights_path(config, number)
    flights = stack.enter_context(Flights(path, PAGES_EACH * config.in_flight_max))
    parts = await open_parts(stack, config, database, flights, shared)
    first = Peer(parts.client, first_socket(config))
    embedded = Followed(
        config, targets=parts.targets, client=parts.client, gates=parts.gates, first=first
    )
    follower = Follower(
        config, database=database, targets=parts.targets, gates=parts.gates, embedded=embedded
    )
    stack.push_async_callback(follower.aclose)
    await follower.follow()
    inner = Listener(_inner(parts, follower), dialects.every().errors)
    stack.push_async_callback(inner.close, drain_s=0.0, cut_off_s=0.0)
    await inner.open([own(worker_socket(config, number))])
    kept = Kept(
        database,
        room_bytes=config.responses_max_bytes,
        days=config.responses_days,
        chain_max_bytes=config.body_max_bytes,
    )
    tei = Tei(lambda key, model: parts.gateway.find(key, model)[0].engine)
    known = dialects.every({"/v1/responses": Responses(kept), "/rerank": tei})
    hub = HubAddresses(parts.gateway, database)
    stack.push_async_callback(hub.aclose)
    branch = Branch(parts.gateway, known, hub, Forward(config, parts.client, parts.gateway))
    most = room_for(part_of(config, config.connections_max))
    listener = Listener(branch, branch.errors, connections_max=most)
    stack.push_async_callback(listener.close, drain_s=config.drain_s, cut_off_s=CUT_OFF_S)
    await listener.open([socket.socket(fileno=orders.listening)])
    log.info("worker_up", number=number)


def _inner(parts: Parts, follower: Follower) -> Inner:
    """What the first process asks."""
    gateway = parts.gateway

    async def refresh(_: bytes) -> bytes:
        await follower.refresh()
        return b""

    async def flush(_: bytes) -> bytes:
        await parts.ledger.flush()
        return b""

    async def metrics(_: bytes) -> bytes:
        return parts.metrics.text(parts.targets.every(), len(gateway.calls))

    return Inner({"/refresh": refresh, "/flush": flush, "/metrics": metrics})


def _lifeline() -> None:
    """Ends this process as a kill would when the first one is gone: its pages tell the rest."""
    if not os.read(sys.stdin.fileno(), 4096):
        os._exit(1)


def read_orders() -> Orders:
    """The first line of standard input."""
    line = io.FileIO(sys.stdin.fileno(), closefd=False).readline()  # no further than its end
    return msgspec.json.decode(line, type=Orders, dec_hook=_path)


def _path(kind: type, value: Any) -> Any:
    return kind(value)


if __name__ == "__main__":
    given = read_orders()
    die_with_parent(given.parent)
    open_log(places.logs(given.config.home) / f"worker-{given.number}.log", given.config.log_level)
    begin()
    uvloop.run(run(given))
