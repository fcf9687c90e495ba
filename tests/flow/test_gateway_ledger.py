"""The ledger when processes are killed, databases are locked, full or broken, and homes are shared.

Here clouds run in processes of their own, so that the kernel can do to them what it does.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from haneul.base.errors import AlreadyRunning
from haneul.services.flights import Flights
from haneul.testing.engine import FakeEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVE = Path(__file__).parent / "serve_cloud.py"
KILLS = int(os.environ.get("HANEUL_TEST_KILLS", "15"))
CLIENTS = 16


@pytest_asyncio.fixture(loop_scope="module")
async def engine():
    async with FakeEngine(words=[f"w{number}" for number in range(60)], delay_s=0.005) as engine:
        yield engine


def chat(model="echo", **fields):
    return {"model": model, "messages": [{"role": "user", "content": "two words"}], **fields}


async def ask(port, secret, body):
    """Status and body of one chat."""
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {secret}"}) as web,
        web.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body) as answer,
    ):
        return answer.status, await answer.json()


class Lock:
    """Another process in the middle of a long write."""

    CODE = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('BEGIN IMMEDIATE')\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )

    def __init__(self, home):
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.CODE, str(home / "haneul.db")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout.readline() == b"locked\n"

    def release(self):
        self.process.communicate(b"")


async def test_a_locked_database_delays_records_but_no_answers(start_cloud):
    cloud = await start_cloud()
    known, unseen = await cloud.make_key(), await cloud.make_key()
    engine = await cloud.add_engine()
    lock = await asyncio.to_thread(Lock, cloud.cloud.config.home)
    began = time.monotonic()
    answers = []
    for number in range(25):
        key = known if number % 2 else unseen
        answers.append(await cloud.chat(key.secret, engine.models[0], stream=number % 3 == 0))
        await asyncio.sleep(0.05)
    assert [answer.status for answer in answers] == [200] * 25
    assert time.monotonic() - began < 4, "no answer waited for the lock"
    flights = cloud.cloud.gateway.biller.flights
    assert flights.in_flight >= 24, "what is not yet committed is kept in its page"
    await asyncio.sleep(max(0, began + 5 - time.monotonic()))
    await asyncio.to_thread(lock.release)
    rows = await cloud.rows(known.key.id) + await cloud.rows(unseen.key.id)
    assert {row.id for row in rows} == {answer.id for answer in answers}
    assert flights.in_flight == 0


async def test_a_full_disk_refuses_requests_before_it_loses_any(process, engine):
    made = process.prepare(engine.url, engine.models)
    engine.delay_s = 0
    await process.start("in_flight_max=2")
    assert (await ask(process.port, made.secret, chat(user="before")))[0] == 200
    await process.until(lambda: len(process.rows()) == 1, 10)
    pid = process.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    size = (process.home / "haneul.db-wal").stat().st_size
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, limits[1]))
    answers = [await ask(process.port, made.secret, chat(user=str(n))) for n in range(12)]
    statuses = [status for status, _ in answers]
    assert statuses == [200] * 8 + [503] * 4
    assert answers[-1][1]["error"]["code"] == "overloaded"
    assert len(process.rows()) == 1
    resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
    await process.until(lambda: len(process.rows()) == 13, 10)
    assert (await ask(process.port, made.secret, chat(user="after")))[0] == 200
    await process.end(signal.SIGTERM)
    assert process.process.returncode == 0
    states = Counter(row["state"] for row in process.rows())
    assert states == {"done": 10, "refused": 4}
    assert sum(row["completion_tokens"] for row in process.rows()) == engine.seen.completion_tokens


async def test_a_cloud_that_ends_on_a_full_disk_ends_and_records_at_its_next_start(process, engine):
    made = process.prepare(engine.url, engine.models)
    engine.delay_s = 0
    await process.start()
    assert (await ask(process.port, made.secret, chat()))[0] == 200
    await process.until(lambda: len(process.rows()) == 1, 10)
    pid = process.process.pid
    size = (process.home / "haneul.db-wal").stat().st_size
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    for _ in range(3):
        assert (await ask(process.port, made.secret, chat()))[0] == 200
    began = time.monotonic()
    await process.end(signal.SIGTERM)
    assert time.monotonic() - began < 15
    await process.start()
    assert process.recovered == 3
    rows = process.rows()
    assert [row["state"] for row in rows] == ["done"] * 4
    assert sum(row["completion_tokens"] for row in rows) == engine.seen.completion_tokens


async def test_a_second_cloud_on_a_home_is_refused_and_the_first_goes_on(start_cloud, cloud):
    first = await start_cloud()
    key = await first.make_key()
    engine = await first.add_engine()
    home = first.cloud.config.home
    with pytest.raises(AlreadyRunning, match="running on this home already"):
        await start_cloud(home=home)
    second = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVE), str(home), stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(second.communicate(), 60)
    assert second.returncode == 1
    assert b"refused: a cloud is running on this home already" in said
    assert b"Traceback" not in said
    answer = await first.chat(key.secret, engine.models[0])
    assert (await first.row(answer.id)).state == "done"


class Client:
    """Asks without end, and remembers what it was told and given."""

    def __init__(self, number, secret):
        self.number = number
        self.secret = secret
        self.ids = {}  # tag to request id
        self.received = {}  # tag to completion tokens
        self.whole = {}  # tag to whether it was received to its end

    async def run(self, port, round_number):
        dice = random.Random(1000 * round_number + self.number)
        headers = {"authorization": f"Bearer {self.secret}"}
        async with aiohttp.ClientSession(headers=headers) as web:
            for turn in range(1000):
                tag = f"r{round_number}-c{self.number}-{turn}"
                try:
                    await self.one(web, port, tag, dice)
                except (aiohttp.ClientError, ConnectionError):
                    return

    async def one(self, web, port, tag, dice):
        is_stream = dice.random() < 0.8
        body = chat(user=tag, stream=is_stream, max_tokens=dice.randint(1, 60))
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        async with web.post(url, json=body) as answer:
            self.ids[tag] = answer.headers["x-request-id"]
            assert answer.status == 200
            self.received[tag] = 0
            data = b""
            async for piece in answer.content.iter_any():
                data += piece
                self.received[tag] = data.count(b'"content":"w')
                if dice.random() < 0.002:
                    return  # this one hangs up
            if not is_stream:
                self.received[tag] = json.loads(data)["usage"]["completion_tokens"]
            self.whole[tag] = not is_stream or b"[DONE]" in data


@pytest.mark.slow
@pytest.mark.timeout(60 + 8 * KILLS)
async def test_kills_at_any_moment_leave_exactly_one_true_record_for_each_request(process, engine):
    made = process.prepare(engine.url, engine.models)
    clients = [Client(number, made.secret) for number in range(CLIENTS)]
    dice = random.Random(7)
    for round_number in range(KILLS):
        await process.start()
        asking = [asyncio.create_task(client.run(process.port, round_number)) for client in clients]
        await asyncio.sleep(dice.uniform(0.05, 0.8))
        await process.end(signal.SIGKILL)
        await asyncio.gather(*asking)
    await process.start()
    url = f"http://127.0.0.1:{process.port}/haneul/v1/me"
    headers = {"authorization": f"Bearer {made.secret}"}
    async with aiohttp.ClientSession(headers=headers) as web, web.get(url) as answer:
        me = await answer.json()
    await process.end(signal.SIGTERM)
    assert process.process.returncode == 0

    rows = process.rows()
    by_id = {row["id"]: row for row in rows}
    by_tag = Counter(row["end_user"] for row in rows)
    ids = {tag: found for client in clients for tag, found in client.ids.items()}
    assert len(ids) > KILLS * CLIENTS / 2, "the clients were at work"
    assert set(by_tag.values()) == {1}
    assert set(ids.values()) <= by_id.keys(), "an answered request has no record"
    cut = 0
    for client in clients:
        for tag, received in client.received.items():
            row = by_id[client.ids[tag]]
            given = engine.seen.given.get(tag, 0)
            assert received <= row["completion_tokens"] <= given, (tag, received, row, given)
            if client.whole.get(tag):
                assert (row["state"], row["completion_tokens"]) == ("done", received)
            cut += row["error_code"] == "cloud_killed"
    assert cut > 0, "no kill hit a running answer"
    for row in rows:
        assert row["state"] in ("done", "aborted")
        assert row["completion_tokens"] <= engine.seen.given.get(row["end_user"], 0)
        nano = row["prompt_tokens"] * 103 + row["completion_tokens"] * 407
        assert row["cost_nano"] == nano
        assert row["received_us"] <= row["finished_us"]
    total = sum(row["cost_nano"] for row in rows)
    assert (me["spent_nano"], me["reserved_nano"]) == (total, 0)
    with closing(sqlite3.connect(process.home / "haneul.db")) as connection:
        sums = "SELECT owner_kind, SUM(cost_nano) FROM spending GROUP BY 1 ORDER BY 1"
        assert connection.execute(sums).fetchall() == [("key", total), ("tenant", total)]
    with Flights(process.home / "flights", 512) as flights:
        assert flights.in_flight == 0


async def test_a_cloud_told_to_stop_lets_running_answers_end(process, engine):
    made = process.prepare(engine.url, engine.models)
    await process.start()
    running = [
        asyncio.create_task(ask(process.port, made.secret, chat(user=str(n)))) for n in range(5)
    ]
    await process.until(lambda: engine.seen.running == 5, 10)
    await process.end(signal.SIGTERM)
    assert [status for status, _ in await asyncio.gather(*running)] == [200] * 5
    assert Counter(row["state"] for row in process.rows()) == {"done": 5}
