"""What is no request, or hardly one: thousands of inputs, and crowds of bad clients."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import time
from contextlib import suppress

import httptools
import pytest
import pytest_asyncio

from haneul.base.errors import HaneulError
from haneul.listener import Listener
from haneul.protocol import Connection
from haneul.server import Server
from haneul.services.openai import OpenAIErrors

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOWNESS = float(os.environ.get("HANEUL_TEST_SLOWNESS", "3"))
INPUTS = 5000
BODY_MAX = 100_000
ERRORS = OpenAIErrors()
HOST = b"host: localhost\r\n"
SEEDS = [
    b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /a%20b?x=1 HTTP/1.0\r\n" + HOST + b"connection: keep-alive\r\n\r\n",
    b"HEAD http://localhost/v1/models HTTP/1.1\r\n" + HOST + b"\r\n",
    b"POST /v1/x HTTP/1.1\r\n" + HOST + b"content-length: 11\r\n\r\nhello world",
    b"POST /v1/x HTTP/1.1\r\n" + HOST + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\nhi",
    b"POST /v1/x HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n3;x=y\r\nyou\r\n0\r\ntrailer: 1\r\n\r\n",
    b"GET /ws HTTP/1.1\r\n" + HOST + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n\x81\x05",
    b"POST /v1/x HTTP/1.1\r\n" + HOST + b"content-length: 300000\r\n\r\n" + b"z" * 300_000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
]
PIECES = [
    b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"\0", b"\xff\xfe", b" ", b":", b"%", b"%zz", b"%00", b"..",
    b"content-length: 5\r\n", b"content-length: -5\r\n",
    b"content-length: 99999999999999999999\r\n",
    b"transfer-encoding: chunked\r\n", b"transfer-encoding: gzip, chunked\r\n", b"0\r\n\r\n",
    b"ffffffffffffffff\r\n", b"HTTP/1.1", b"HTTP/1.0", b"GET ", b"POST ", b"CONNECT x:1 ",
    b"connection: close\r\n", b"upgrade: h2c\r\nconnection: upgrade\r\n",
    b"expect: 100-continue\r\n",
    b"x: y\r\n" * 300, b"a" * 70_000, b"\xed\xa0\x80", "\u2028".encode(),
]  # fmt: skip


def mutated(dice):
    """One or several requests, with some bytes of them changed, moved, doubled, left out."""
    data = b"".join(dice.choices(SEEDS, k=dice.choice((1, 1, 1, 2, 3, 20))))
    for _ in range(dice.choice((0, 1, 1, 2, 3, 8))):
        at = dice.randrange(len(data) + 1) if dice.random() < 0.3 else dice.randrange(200)
        until = at + dice.choice((0, 0, 1, 2, 10, 100))
        data = data[:at] + dice.choice((dice.choice(PIECES), dice.randbytes(3))) + data[until:]
    if dice.random() < 0.1:
        data = dice.randbytes(dice.randrange(1, 2000))
    return data


class Pretended:
    """A transport into nothing, in asyncio's order of events."""

    def __init__(self, protocol):
        self.protocol = protocol
        self.written = b""
        self.is_reading, self.is_closed, self.is_half = True, False, False

    def get_extra_info(self, name):
        return ("127.0.0.1", 1) if name == "sockname" else None

    def write(self, data):
        assert not self.is_half, "written after the end"
        assert isinstance(data, bytes)
        self.written += b"" if self.is_closed else data

    def write_eof(self):
        self.is_half = True

    def pause_reading(self):
        self.is_reading = False

    def resume_reading(self):
        self.is_reading = True

    def get_write_buffer_size(self):
        return 0

    def is_closing(self):
        return self.is_closed

    def close(self):
        if not self.is_closed:
            self.is_closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close


class Watched(Connection):
    """Keeps what its callbacks raise: the parser makes a refusal of that, which would hide it."""

    raised: list[Exception]


def _watched(name):
    plain = getattr(Connection, name)

    def callback(self, *arguments):
        try:
            return plain(self, *arguments)
        except Exception as error:
            self.raised.append(error)
            raise

    return callback


for _name in ("message_begin", "url", "header", "headers_complete", "body", "message_complete"):
    setattr(Watched, f"on_{_name}", _watched(f"on_{_name}"))


async def echo(call):
    """Answers with what the body begins with."""
    try:
        data = await call.body(max_bytes=BODY_MAX, within_s=5)
        await call.answer(200, data[:10], b"text/plain")
    except HaneulError as error:
        await call.fail(error)


class Answers:
    """Reads what was written as a client does."""

    def __init__(self, written):
        self.statuses = []
        self.parser = httptools.HttpResponseParser(self)
        self.parser.feed_data(written)

    def on_headers_complete(self):
        self.statuses.append(self.parser.get_status_code())


async def play(data, dice, present):
    """Everything that was written for these bytes, given in pieces as a network would."""
    connection = Watched(echo, lambda path: ERRORS, present)
    connection.raised = []
    transport = Pretended(connection)
    connection.connection_made(transport)
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.choice((0, 0, 1, 3, 10))))
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        for _ in range(dice.choice((0, 1, 3))):
            await asyncio.sleep(0)
        if transport.is_closed:
            break
        if transport.is_reading and end > start:
            connection.data_received(data[start:end])
    for _ in range(4):
        await asyncio.sleep(0)
    transport.close()
    await asyncio.sleep(0)
    assert connection.raised == [], data
    return transport.written


async def test_five_thousand_broken_requests_are_refused_or_answered_and_leave_nothing():
    loop = asyncio.get_running_loop()
    unhandled, present, dice = [], set(), random.Random(20)
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    tasks = len(asyncio.all_tasks())
    seen = {}
    for _ in range(INPUTS):
        data = mutated(dice)
        written = await play(data, dice, present)
        is_head = b"HEAD " in data  # whose answers have a length and no body
        for status in Answers(written).statuses if not is_head else ():
            seen[status] = seen.get(status, 0) + 1
    await asyncio.sleep(0.05)
    loop.set_exception_handler(None)
    assert unhandled == []
    assert present == set()
    assert len(asyncio.all_tasks()) == tasks
    assert set(seen) == {100, 200, 400, 413, 431}, seen


async def test_the_whole_requests_among_them_are_answered():
    """The seeds as they are: the fuzz above would not see it if everything was refused."""
    whole = {0: [200], 1: [200], 3: [200], 4: [200], 5: [200], 6: [200], 7: [413], 8: [400]}
    for at, expected in whole.items():
        written = await play(SEEDS[at], random.Random(3), set())
        assert Answers(written).statuses == expected, SEEDS[at][:40]


class Quick(Connection):
    """The same bounds in a fraction of the time."""

    head_s = 1.0
    linger_s = 0.5


@pytest_asyncio.fixture(loop_scope="module")
async def listen(cloud):
    """Opens further ports of the running cloud: `listener, port = await listen(…)`."""
    opened = []

    async def start(**options):
        server = Server(cloud.cloud.gateway, cloud.cloud.api, cloud.cloud.dialects)
        listener = Listener(server, server.errors, kind=Quick, **options)
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        await listener.open([listening])
        opened.append(listener)
        return listener, listening.getsockname()[1]

    yield start
    for listener in opened:
        await listener.close(drain_s=0, cut_off_s=1)


@pytest_asyncio.fixture(loop_scope="module")
async def connect():
    """Opens connections; all of them end with the test."""
    opened = []

    async def start(port, data=b""):
        opened.append(await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))
        opened[-1][1].write(data)
        return opened[-1]

    yield start
    for _, writer in opened:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def rest(reader, within_s=5.0):
    """Everything until the other side ends it; a reset is an end too."""
    with suppress(ConnectionError):
        async with asyncio.timeout(within_s * SLOWNESS):
            return await reader.read(-1)
    return b""


async def is_served(port):
    """Seconds until a new client has a whole answer."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n")
    data = await rest(reader)
    writer.close()
    assert data.startswith(b"HTTP/1.1 200 "), data
    return time.monotonic() - began


async def test_broken_requests_over_sockets_leave_no_connection_and_no_error(
    cloud, listen, connect
):
    loop = asyncio.get_running_loop()
    unhandled, dice = [], random.Random(7)
    listener, port = await listen()
    loop.set_exception_handler(lambda _, context: unhandled.append(context))

    async def one():
        _, writer = await connect(port, mutated(dice))
        await asyncio.sleep(dice.random() * 0.01)
        if dice.random() < 0.5:
            writer.transport.abort()
        else:
            writer.close()

    for _ in range(25):
        await asyncio.gather(*(one() for _ in range(20)))
    await cloud.until(lambda: len(listener.connections) == 0, 3, "no connection is left")
    await cloud.until(lambda: len(cloud.cloud.gateway.calls) == 0)
    loop.set_exception_handler(None)
    assert unhandled == []
    assert await is_served(port) < SLOWNESS


async def test_200_slow_heads_and_50_slow_bodies_are_cut_in_time_and_hinder_nobody(
    start_cloud, connect
):
    cloud = await start_cloud(body_s=1)
    key = await cloud.make_key()
    engine = await cloud.add_engine()
    server = Server(cloud.cloud.gateway, cloud.cloud.api, cloud.cloud.dialects)
    listener = Listener(server, server.errors, kind=Quick)
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    await listener.open([listening])
    port = listening.getsockname()[1]
    head = b"POST /v1/completions HTTP/1.1\r\n" + HOST + b"content-length: 9999\r\n"
    head += f"authorization: Bearer {key.secret}\r\n\r\n{{".encode()
    heads = [await connect(port, b"GET / HTTP/1.1\r\nx: ") for _ in range(200)]
    bodies = [await connect(port, head) for _ in range(50)]
    began = time.monotonic()

    async def drip():
        while True:
            for _, writer in (*heads, *bodies):
                writer.write(b"y")
            await asyncio.sleep(0.2)

    dripping = asyncio.create_task(drip())
    for _ in range(5):
        assert await is_served(port) < 0.5 * SLOWNESS
        assert (await cloud.chat(key.secret, engine.models[0])).status == 200
    answers = await asyncio.gather(*(rest(reader) for reader, _ in (*heads, *bodies)))
    dripping.cancel()
    assert time.monotonic() - began < 3 * SLOWNESS
    assert sum(b" 408 " in answer for answer in answers) >= 240, "a few may lose it to a reset"
    await cloud.until(lambda: len(listener.connections) == 0, 3, "no connection is left")
    rows = await cloud.rows(key.key.id)
    assert [row.status for row in rows if row.state == "refused"] == [408] * 50
    await listener.close(drain_s=0, cut_off_s=1)


async def test_a_body_of_64_mib_is_cut_off_where_the_limit_is(cloud, key, listen, connect):
    _, port = await listen()
    head = b"POST /v1/completions HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n"
    head += f"authorization: Bearer {key.secret}\r\n\r\n".encode()
    reader, writer = await connect(port, head)
    piece, sent = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n", 0
    with suppress(ConnectionError, RuntimeError):
        for _ in range(64):
            writer.write(piece)
            sent += 1
            await writer.drain()
    answer = await rest(reader)
    assert b" 413 " in answer or not answer, "a reset may take the answer"
    (row,) = await cloud.rows(key.key.id)
    assert (row.state, row.status) == ("refused", 413)
    assert cloud.cloud.config.body_max_bytes == 32 << 20
    assert await is_served(port) < SLOWNESS


# how many
async def test_one_connection_too_many_takes_the_place_of_the_idlest(listen, connect, cloud):
    listener, port = await listen(connections_max=16)
    idle = [await connect(port) for _ in range(16)]
    await cloud.until(lambda: len(listener.connections) == 16)
    for _ in range(30):
        assert await is_served(port) < SLOWNESS
    assert await rest(idle[0][0]) == b""
    assert len(listener.connections) <= 16


async def test_where_all_connections_are_busy_one_more_is_told_503(cloud, key, listen, connect):
    engine = await cloud.add_engine(hang_after=1)
    listener, port = await listen(connections_max=16)
    body = {"model": engine.models[0], "prompt": "x", "stream": True}
    data = json.dumps(body).encode()
    head = f"authorization: Bearer {key.secret}\r\ncontent-length: {len(data)}\r\n\r\n".encode()
    busy = [
        await connect(port, b"POST /v1/completions HTTP/1.1\r\n" + HOST + head + data)
        for _ in range(16)
    ]
    for reader, _ in busy:
        await reader.readuntil(b"data: ")
    reader, _ = await connect(port)
    answer = await rest(reader)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 5\r\n" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "overloaded"
    busy[0][1].transport.abort()
    await cloud.until(lambda: len(listener.connections) == 15)
    assert await is_served(port) < SLOWNESS
    assert engine.seen.requests == 16
