"""Clients that go away, at every moment, and clients that stay but do not read."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
from contextlib import suppress

import pytest
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = [f"w{number}" for number in range(400)]
READ_AHEAD_EVENTS = 30  # between the engine and the client: one read of each at 10 ms an event


class Stream:
    """A streamed chat over a socket of its own, to read, to leave unread, to cut."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        self.id = ""

    @classmethod
    async def open(cls, cloud, secret, model, *, is_stream=True, receive_bytes=None):
        plain = socket.socket()
        if receive_bytes:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", cloud.cloud.port))
        reader, writer = await asyncio.open_connection(sock=plain, limit=1 << 16)
        messages = [{"role": "user", "content": "go on"}]
        body = json.dumps({"model": model, "messages": messages, "stream": is_stream}).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"authorization: Bearer {secret}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        return cls(reader, writer)

    async def head(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        self.id = head.partition("x-request-id: ")[2].partition("\r\n")[0]
        return head

    async def events(self, count):
        for _ in range(count):
            await self.reader.readuntil(b"data: ")
            await self.reader.readuntil(b"\n\n")

    def cut(self):
        """As a process that is killed does it: the kernel answers further bytes with a reset."""
        self.writer.transport.abort()


@pytest_asyncio.fixture(loop_scope="module")
async def open_stream():
    """Opens streams; all of them are cut at the end."""
    opened = []

    async def start(*arguments, **options):
        opened.append(await Stream.open(*arguments, **options))
        return opened[-1]

    yield start
    for stream in opened:
        stream.cut()
        with suppress(OSError):
            await stream.writer.wait_closed()


@pytest.mark.parametrize("count", [1, 10])
async def test_a_hang_up_stops_the_engine_and_bills_what_was_sent(cloud, key, count, open_stream):
    engine = await cloud.add_engine(words=WORDS, delay_s=0.01)
    stream = await open_stream(cloud, key.secret, engine.models[0])
    await stream.head()
    await stream.events(count)
    stream.cut()
    await cloud.until(lambda: engine.seen.running == 0, 2, "the engine was told")
    assert engine.seen.hang_ups == 1
    row = await cloud.row(stream.id)
    assert (row.state, row.status, row.error_code) == ("aborted", 499, "client_gone")
    assert count <= row.completion_tokens <= count + READ_AHEAD_EVENTS
    assert row.completion_tokens <= engine.seen.completion_tokens
    assert row.cost_nano == cloud.cost(row.prompt_tokens, row.completion_tokens)
    me = await cloud.me(key.secret)
    assert (me["reserved_nano"], me["spent_nano"]) == (0, row.cost_nano)


@pytest.mark.parametrize("is_stream", [True, False])
async def test_a_hang_up_before_the_first_byte_costs_nothing(cloud, key, is_stream, open_stream):
    engine = await cloud.add_engine(hang_after=0)
    stream = await open_stream(cloud, key.secret, engine.models[0], is_stream=is_stream)
    await cloud.until(lambda: engine.seen.running == 1)
    stream.cut()
    await cloud.until(lambda: engine.seen.running == 0, 2, "the engine was told")
    (row,) = await cloud.rows(key.key.id)
    assert (row.state, row.cost_nano, row.completion_tokens) == ("aborted", 0, 0)
    assert row.started_us is not None
    assert (await cloud.me(key.secret))["reserved_nano"] == 0


async def test_a_hang_up_in_the_queue_gives_its_place_back(cloud, key, open_stream):
    engine = await cloud.add_engine(words=WORDS, delay_s=0.01)
    (target,) = cloud.cloud.targets.find(engine.models[0])
    target.gate.inside_max = 1
    inside = await open_stream(cloud, key.secret, engine.models[0])
    await inside.head()
    waiting = [await open_stream(cloud, key.secret, engine.models[0]) for _ in range(3)]
    await cloud.until(lambda: target.gate.waiting == 3)
    waiting[1].cut()
    await cloud.until(lambda: target.gate.waiting == 2)
    inside.cut()
    await waiting[0].head()
    waiting[0].cut()
    await waiting[2].head()
    waiting[2].cut()
    rows = await cloud.rows(key.key.id)
    (never_inside,) = [row for row in rows if row.started_us is None]
    assert (never_inside.state, never_inside.cost_nano) == ("aborted", 0)
    assert never_inside.busy_us == 0
    assert [row.state for row in rows] == ["aborted"] * 4
    assert engine.seen.requests == 3
    assert (target.gate.waiting, target.gate.busy.inside) == (0, 0)


async def test_a_hang_up_in_the_middle_of_the_body_leaves_nothing(cloud, key):
    _, writer = await asyncio.open_connection("127.0.0.1", cloud.cloud.port)
    head = f"host: localhost\r\nauthorization: Bearer {key.secret}\r\ncontent-length: 1000\r\n\r\n"
    writer.write(f"POST /v1/completions HTTP/1.1\r\n{head}{{".encode())
    await cloud.until(lambda: len(cloud.cloud.gateway.calls) == 1)
    writer.transport.abort()
    assert await cloud.rows(key.key.id) == []


async def test_a_hang_up_is_heard_though_a_second_request_waits_behind_the_first(
    cloud, key, open_stream
):
    engine = await cloud.add_engine(words=WORDS, delay_s=0.01)
    stream = await open_stream(cloud, key.secret, engine.models[0])
    await stream.head()
    stream.writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await stream.events(5)
    stream.cut()
    await cloud.until(lambda: engine.seen.running == 0, 2, "the engine was told")
    assert (await cloud.row(stream.id)).state == "aborted"


async def test_fifty_hang_ups_leave_no_task_no_file_and_no_page(cloud, key, open_stream):
    engine = await cloud.add_engine(words=WORDS, delay_s=0.002)
    await cloud.chat(key.secret, engine.models[0], max_tokens=1)
    await cloud.settle()
    dice = random.Random(50)

    async def one():
        stream = await open_stream(cloud, key.secret, engine.models[0])
        await asyncio.sleep(dice.random() * 0.05)
        stream.cut()

    tasks, files = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await asyncio.gather(*(one() for _ in range(10)))
    await cloud.until(lambda: engine.seen.running == 0, 2, "the engine was told")
    await cloud.settle()
    assert cloud.cloud.gateway.biller.flights.in_flight == 0
    await cloud.until(lambda: len(asyncio.all_tasks()) <= tasks, 2, "no task is left")
    # Idle connections to the engine may be kept, at most one for each of the ten at a time.
    await cloud.until(lambda: len(os.listdir("/proc/self/fd")) <= files + 10)
    rows = await cloud.rows(key.key.id)
    assert {row.state for row in rows[1:]} <= {"aborted"}
    me = await cloud.me(key.secret)
    assert (me["reserved_nano"], me["spent_nano"]) == (0, sum(row.cost_nano for row in rows))


async def test_a_client_that_does_not_read_is_held_back_cut_off_and_alone_in_it(
    start_cloud, open_stream
):
    cloud = await start_cloud(idle_s=1.5)
    key = await cloud.make_key()
    word = "x" * 10_000
    torrent = await cloud.add_engine(words=[word] * 20_000)
    other = await cloud.add_engine()
    stream = await open_stream(cloud, key.secret, torrent.models[0], receive_bytes=4096)
    await cloud.until(lambda: torrent.seen.completion_tokens > 5)
    await asyncio.sleep(0.3)
    held_back_at = torrent.seen.completion_tokens
    assert held_back_at < 2000, "a stalled reader must hold its engine back"
    answer = await cloud.chat(key.secret, other.models[0])
    assert answer.status == 200
    assert torrent.seen.completion_tokens - held_back_at < 100
    await cloud.until(lambda: torrent.seen.running == 0, 4, "the deadline ended it")
    await cloud.settle(within_s=8)
    stalled, answered = await cloud.rows(key.key.id)
    assert answered.state == "done"
    assert (stalled.state, stalled.error_code) == ("failed", "deadline_exceeded")
    assert 0 < stalled.completion_tokens <= torrent.seen.completion_tokens
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(stream.reader.readexactly(50_000_000), 5)


async def test_a_client_that_does_not_read_a_whole_answer_is_cut_off(start_cloud, open_stream):
    cloud = await start_cloud(idle_s=0.5)
    key = await cloud.make_key()
    engine = await cloud.add_engine(words=["x" * 20_000_000])
    stream = await open_stream(
        cloud, key.secret, engine.models[0], is_stream=False, receive_bytes=4096
    )
    await cloud.until(lambda: engine.seen.completion_tokens == 1)
    await cloud.settle(within_s=8)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(stream.reader.readexactly(20_000_000), 5)
    (row,) = await cloud.rows(key.key.id)
    assert row.state == "done", "it was made, and it has its price"
