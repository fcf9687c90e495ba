"""A cloud that is told to stop under load, a clock that is set, an engine that stands still."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from haneul.testing.raw import RawEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOWNESS = float(os.environ.get("HANEUL_TEST_SLOWNESS", "3"))
JUMPING = Path(__file__).parent / "serve_jumping.py"
STANDING = """
import asyncio
from haneul.testing.engine import FakeEngine

async def main():
    async with FakeEngine(words=["a", "b", "c"], delay_s=0.3) as engine:
        print(engine.url, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""
HOUR_US = 3_600_000_000
EVENT = b'data: {"id":"c1","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
DONE = b"data: [DONE]\n\n"


def chat(secret, *, user, is_stream=True):
    """A request as bytes."""
    fields = {"messages": [{"role": "user", "content": "go on"}], "user": user}
    body = json.dumps({"model": "echo", "stream": is_stream, **fields}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        f"authorization: Bearer {secret}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def ask(port, data):
    """All that comes until the answer has ended; b"" where nothing was taken."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return None
    got = b""
    with suppress(ConnectionError):
        writer.write(data)
        while not got.endswith((b"\r\n0\r\n\r\n", b"}")) and (more := await reader.read(65536)):
            got += more
    writer.transport.abort()
    return got


# told to stop
async def test_told_to_stop_under_load_every_request_ends_once_and_is_told(process):
    async def play(exchange):
        exchange.begin()
        for _ in range(2000 if b'"user":"long' in exchange.body else 20):
            exchange.chunk(EVENT)
            await asyncio.sleep(0.02)
        exchange.chunk(DONE)
        exchange.end()

    async with RawEngine(play) as engine:
        made = process.prepare(engine.url, ("echo",))
        await process.start("drain_s=1")
        answers = {}

        async def run(name):
            answers[name] = await ask(process.port, chat(made.secret, user=name))

        running = [asyncio.create_task(run(f"long {number}")) for number in range(10)]
        running += [asyncio.create_task(run(f"short {number}")) for number in range(20)]
        await process.until(lambda: len(engine.exchanges) == 30, 10)
        began = time.monotonic()
        process.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
        assert await ask(process.port, chat(made.secret, user="late")) in (None, b"")
        await process.process.wait()
        assert time.monotonic() - began < 1 + 3 * SLOWNESS
        assert process.process.returncode == 0
        await asyncio.gather(*running)
        for name, answer in answers.items():
            if name.startswith("short"):
                assert answer.count(b"word") == 20
                assert DONE in answer
            else:
                assert b"The cloud is stopping." in answer
                assert b"[DONE]" not in answer
        await process.until(lambda: engine.running == 0, what="no engine goes on")
    rows = process.rows()
    assert Counter((row["end_user"].split()[0], row["state"]) for row in rows) == {
        ("long", "aborted"): 10,
        ("short", "done"): 20,
    }
    assert len({row["id"] for row in rows}) == 30
    await process.start("drain_s=1")
    assert process.recovered == 0


# the clock
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2], ids=["back", "forward"])
async def test_a_clock_that_is_set_by_an_hour_loses_no_row_and_bends_no_time(process, number):
    """Deadlines, rates and durations go by a clock that nobody sets."""
    is_set = asyncio.Event()

    async def play(exchange):
        exchange.begin()
        exchange.chunk(EVENT)
        await is_set.wait()
        exchange.chunk(EVENT + DONE)
        exchange.end()

    async with RawEngine(play) as engine:
        made = process.prepare(engine.url, ("echo",), requests_per_minute=8)
        await process.start(script=JUMPING)
        asked = [chat(made.secret, user=f"running {number}") for number in range(4)]
        running = [asyncio.create_task(ask(process.port, data)) for data in asked]
        await process.until(lambda: len(engine.exchanges) == 4, 10)
        process.process.send_signal(number)
        await asyncio.sleep(0.4)
        assert not any(task.done() for task in running), "a deadline went by the wall"
        is_set.set()
        assert all(DONE in answer for answer in await asyncio.gather(*running))
        later = [await ask(process.port, chat(made.secret, user=str(n))) for n in range(8)]
        statuses = Counter(answer.split()[1] for answer in later)
        assert statuses[b"200"] in (4, 5), "an hour would have filled the rate again"
        process.process.send_signal(number)
        await process.end(signal.SIGTERM)
    assert process.process.returncode == 0
    rows = process.rows()
    assert len(rows) == 12
    assert Counter(row["state"] for row in rows)["done"] == statuses[b"200"] + 4
    for row in rows:
        known = ("received_us", "started_us", "first_token_us", "finished_us")
        times = [row[name] for name in known if row[name] is not None]
        assert times == sorted(times), row
        assert times[-1] - times[0] < 60_000_000, row
        assert row["busy_us"] >= 0
    first = [row["received_us"] for row in rows if str(row["end_user"]).startswith("running")]
    last = [row["received_us"] for row in rows if row["state"] == "refused"]
    assert abs(min(last) - max(first)) > 0.9 * HOUR_US, "the clock was set"


async def test_what_a_killed_cloud_left_under_another_clock_has_no_negative_time(process):
    async def play(exchange):
        exchange.begin()
        exchange.chunk(EVENT)
        await asyncio.sleep(60)

    async with RawEngine(play) as engine:
        made = process.prepare(engine.url, ("echo",))
        await process.start(script=JUMPING)
        process.process.send_signal(signal.SIGUSR2)
        await asyncio.sleep(0.2)
        running = asyncio.create_task(ask(process.port, chat(made.secret, user="cut")))
        await process.until(lambda: len(engine.exchanges) == 1, 10)
        await asyncio.sleep(0.2)
        await process.end()
        await running
    await process.start()
    assert process.recovered == 1
    (row,) = process.rows()
    assert (row["state"], row["error_code"]) == ("aborted", "cloud_killed")
    assert row["received_us"] <= row["finished_us"] < row["received_us"] + 60_000_000


# an engine that stands still
@pytest_asyncio.fixture(loop_scope="module")
async def standing():
    """A fake engine in a process of its own: its URL and its process."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STANDING, stdout=asyncio.subprocess.PIPE
    )
    url = (await child.stdout.readline()).decode().strip()
    yield url, child
    child.kill()
    await child.communicate()


@pytest.mark.parametrize("is_stream", [True, False])
async def test_requests_of_an_engine_that_stands_still_fail_clearly_at_their_deadline(
    start_cloud, standing, is_stream
):
    url, child = standing
    cloud = await start_cloud(first_token_s=1, answer_s=1.5, idle_s=1)
    key = await cloud.make_key()
    await cloud.put_engine("standing", url, ("echo",))
    assert (await cloud.chat(key.secret, "echo", stream=is_stream)).status == 200
    child.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    answers = await asyncio.gather(
        *(cloud.chat(key.secret, "echo", stream=is_stream) for _ in range(10))
    )
    assert time.monotonic() - began < 1 + SLOWNESS
    codes = {(answer.status, answer.error()["code"]) for answer in answers}
    assert codes == {(504, "deadline_exceeded")}
    child.send_signal(signal.SIGCONT)
    assert (await cloud.chat(key.secret, "echo", stream=is_stream)).status == 200
    states = Counter(row.state for row in await cloud.rows(key.key.id))
    assert states == {"done": 2, "failed": 10}


async def test_a_stream_whose_engine_stands_still_ends_with_an_error_at_its_deadline(
    start_cloud, standing
):
    url, child = standing
    cloud = await start_cloud(idle_s=1)
    key = await cloud.make_key()
    await cloud.put_engine("standing", url, ("echo",))
    running = asyncio.create_task(cloud.chat(key.secret, "echo", stream=True))
    await asyncio.sleep(0.5)
    child.send_signal(signal.SIGSTOP)
    answer = await asyncio.wait_for(running, 2 + SLOWNESS)
    assert json.loads(answer.events()[-1])["error"]["code"] == "deadline_exceeded"
    other = await cloud.add_engine()
    assert (await cloud.chat(key.secret, other.models[0])).status == 200


async def test_beside_an_engine_that_stands_still_another_soon_answers_all(start_cloud, standing):
    url, child = standing
    cloud = await start_cloud(first_token_s=0.5)
    key = await cloud.make_key()
    await cloud.put_engine("a-standing", url, ("echo",))
    await cloud.add_engine(name="b-moving", models=("echo",))
    child.send_signal(signal.SIGSTOP)
    asked = [await cloud.chat(key.secret, "echo", stream=True) for _ in range(8)]
    statuses = [answer.status for answer in asked]
    assert set(statuses) <= {200, 504}
    assert statuses.count(504) <= 3, statuses
    assert (await cloud.rows(key.key.id))[-1].engine == "b-moving"
