"""A thousand streams, a thousand idle connections, twenty thousand requests: memory stays flat.

The cloud runs in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import time
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from haneul.base.units import now_us
from haneul.store import engines
from haneul.store.database import open_database
from haneul.store.engines import EngineRow
from haneul.testing.raw import RawEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOWNESS = float(os.environ.get("HANEUL_TEST_SLOWNESS", "3"))
CROWD = 1000
DOORS = 5  # names of the one engine: each lets 256 in at a time
IDLE_BYTES = 16 << 10  # of memory, of a connection without a request
STREAM_BYTES = 96 << 10  # of memory, of one whose answer is streamed
EVENT = b'data: {"id":"c1","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
END = (
    b'data: {"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\ndata: [DONE]\n\n'
)


@pytest.fixture(scope="module", autouse=True)
def _files():
    """Files for both ends of every connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def memory_bytes(process):
    """What the cloud's process holds in memory."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


async def connect(process, data=b""):
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    writer.write(data)
    return reader, writer


async def connect_all(process, datas):
    """Fifty at a time."""
    opened = []
    for at in range(0, len(datas), 50):
        opened += await asyncio.gather(*(connect(process, data) for data in datas[at : at + 50]))
    return opened


async def hang_up(connections):
    for _, writer in connections:
        writer.transport.abort()
    for _, writer in connections:
        with suppress(OSError):
            await writer.wait_closed()


def chat(secret, model, *, is_stream=True):
    """A request as bytes."""
    messages = [{"role": "user", "content": "go on"}]
    body = json.dumps({"model": model, "messages": messages, "stream": is_stream}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        f"authorization: Bearer {secret}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def served_after_s(process):
    """Seconds until a new client has its answer."""
    began = time.monotonic()
    reader, writer = await connect(process, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    line = await asyncio.wait_for(reader.readline(), 5 * SLOWNESS)
    assert line.startswith(b"HTTP/1.1 200 ")
    await hang_up([(reader, writer)])
    return time.monotonic() - began


@pytest_asyncio.fixture(loop_scope="module")
async def crowded(process):
    """A cloud in a process, an engine that is told when to end, and a key."""
    ending = asyncio.Event()

    async def play(exchange):
        if b'"stream":true' not in exchange.body:
            exchange.whole(b'{"id":"c1","choices":[],"usage":{"prompt_tokens":3}}')
            return
        exchange.begin()
        exchange.chunk(EVENT)
        while b"until-told" in exchange.body and not ending.is_set():
            await asyncio.sleep(0.5)
            exchange.chunk(EVENT)
        exchange.chunk(EVENT)
        await asyncio.sleep(0)
        exchange.chunk(END)
        exchange.end()

    async with RawEngine(play) as engine:
        made = process.prepare(engine.url, ("quick",))
        database = open_database("", process.home)
        for number in range(DOORS):
            models = json.dumps([f"until-told-{number}"])
            row = EngineRow(
                name=f"door-{number}",
                url=engine.url,
                key_file=None,
                models=models,
                created_us=now_us(),
            )
            database.run(engines.put, row)
        database.close()
        # One arena: how the allocator divides memory among threads is not what is asked here.
        await process.start("in_flight_max=1200", "queue_max=1000", MALLOC_ARENA_MAX="1")
        yield process, engine, made.secret, ending


async def test_a_thousand_idle_connections_cost_little_and_hinder_nobody(crowded):
    process, _, _, _ = crowded
    for _ in range(20):
        await served_after_s(process)
    before = memory_bytes(process)
    for _ in range(2):
        idle = await connect_all(process, [b""] * (CROWD // 2))
        begun = await connect_all(process, [b"GET / HTTP/1.1\r\n"] * (CROWD // 2))
        assert await served_after_s(process) < 0.5 * SLOWNESS
        assert memory_bytes(process) - before < CROWD * IDLE_BYTES
        await hang_up([*idle, *begun])
    assert await served_after_s(process) < 0.5 * SLOWNESS


async def test_a_thousand_streams_at_once_are_all_answered_in_flat_memory(crowded):
    process, engine, secret, ending = crowded

    async def round_of(count):
        """The memory while all are streamed, at the beginning and after a while."""
        ending.clear()
        asked = [chat(secret, f"until-told-{number % DOORS}") for number in range(count)]
        streams = await connect_all(process, asked)
        await asyncio.gather(*(reader.readuntil(b"word") for reader, _ in streams))
        assert engine.running == count
        sizes = [memory_bytes(process)]
        assert await served_after_s(process) < SLOWNESS
        await asyncio.sleep(1.5)
        sizes.append(memory_bytes(process))
        ending.set()
        ends = await asyncio.gather(*(reader.readuntil(b"[DONE]") for reader, _ in streams))
        assert all(b"error" not in end for end in ends)
        await hang_up(streams)
        return sizes

    await round_of(50)
    before = memory_bytes(process)
    at_first, later = await round_of(CROWD)
    assert later - before < CROWD * STREAM_BYTES
    assert later - at_first < 0.05 * at_first
    await process.until(lambda: len(process.rows()) == 50 + CROWD, 10)
    assert {row["state"] for row in process.rows()} == {"done"}


async def ask_on(process, secret, dice, count):
    """One client: requests one after another on a connection; one in ten is hung up on."""
    connection = None
    for _ in range(count):
        if connection is None:
            connection = await connect(process)
        reader, writer = connection
        is_stream = dice.random() < 0.5
        writer.write(chat(secret, "quick", is_stream=is_stream))
        if dice.random() < 0.1:
            if dice.random() < 0.7:
                await reader.readuntil(b"\r\n\r\n")
            await hang_up([connection])
            connection = None
        else:
            await reader.readuntil(
                b"\r\n0\r\n\r\n" if is_stream else b'_nano":309,"currency":"USD"}}'
            )
    if connection is not None:
        await hang_up([connection])


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_twenty_thousand_requests_and_two_thousand_hang_ups_leave_nothing(crowded):
    process, engine, secret, _ = crowded
    dice = random.Random(5)

    async def many(count):
        await asyncio.gather(*(ask_on(process, secret, dice, count // 20) for _ in range(20)))
        engine.exchanges.clear()

    await many(20_000)  # the warm-up: collections and the allocator have found their level
    await process.until(lambda: len(process.rows()) >= 17_000, 10)
    before = memory_bytes(process)
    sizes = []
    for _ in range(5):
        await many(4000)
        sizes.append(memory_bytes(process))
    assert sizes[-1] < 1.05 * before, (before, sizes)
