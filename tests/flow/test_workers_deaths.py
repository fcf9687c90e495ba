"""Workers that are killed, stand still or are told to stop: the real processes."""

from __future__ import annotations

import asyncio
import os
import random
import signal

import pytest
import pytest_asyncio
from crowd import WORKERS, crowd_at, is_gone, stream

from haneul.base.units import parse_money
from haneul.services.flights import Flights
from haneul.testing.engine import FakeEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIENTS = 12


@pytest_asyncio.fixture(loop_scope="module")
async def crowd(process):
    async with crowd_at(process) as found:
        yield found


async def kill_workers(crowd, made, *, kills, clients=8):
    """Kills workers one by one while clients stream; gives what the clients saw."""
    seen, dice, is_over = [], random.Random(7), False

    async def client():
        while not is_over:
            await stream(crowd, made.secret, seen)

    tasks = [asyncio.create_task(client()) for _ in range(clients)]
    done = 0
    while done < kills:
        await asyncio.sleep(dice.uniform(0.05, 0.3))
        ready = [each for each in await crowd.workers() if each["state"] == "ready"]
        if ready:
            os.kill(dice.choice(ready)["pid"], signal.SIGKILL)
            done += 1
    is_over = True
    await asyncio.wait_for(asyncio.gather(*tasks), 60)
    await crowd.all_up()
    return seen


async def check_killed(crowd, made, seen):
    """Each request has one row, what was seen is billed, and nothing is reserved any more."""
    rows = {row.id: row for row in await crowd.rows(made)}
    me = await crowd.me(made.secret)
    assert len(rows) == len(await crowd.rows(made))
    assert {one.id for one in seen} <= rows.keys()
    for one in seen:
        row = rows[one.id]
        assert row.completion_tokens >= one.pieces, "what was delivered is billed"
        assert not one.is_whole or row.state == "done"
        assert row.state in ("done", "aborted")
    assert any(row.error_code == "cloud_killed" for row in rows.values())
    assert any(one.is_whole for one in seen)
    cost = sum(row.cost_nano for row in rows.values())
    assert (me["spent_nano"], me["reserved_nano"]) == (cost, 0)
    status = await crowd.status()
    (target,) = status["models"]
    assert (status["in_flight"], target["running"], target["waiting"]) == (0, 0, 0)


async def killing(crowd, kills):
    async with FakeEngine(words=["w"] * 20, delay_s=0.01) as slow:
        crowd.prepare(slow)
        made = crowd.make_key(budget_nano=parse_money("5"))
        await crowd.start()
        seen = await kill_workers(crowd, made, kills=kills)
        await crowd.process.until(lambda: slow.seen.running == 0, 10, "the engine is free")
        await check_killed(crowd, made, seen)
        await crowd.process.end(signal.SIGTERM)
        check_stopped(crowd)


def check_stopped(crowd):
    """It ended in order, and no process left a page."""
    assert crowd.process.process.returncode == 0
    paths = list(crowd.process.home.glob("flights*"))
    assert len(paths) == WORKERS
    for path in paths:
        with Flights(path, 1) as flights:
            assert flights.left() == []


async def test_workers_killed_while_clients_stream_leave_one_row_each_and_come_back(crowd):
    await killing(crowd, 3)


@pytest.mark.slow
async def test_many_kills_of_workers_leave_one_row_each(crowd):
    await killing(crowd, 12)


@pytest.mark.slow
async def test_the_same_with_postgresql(process, postgres):
    url = await asyncio.to_thread(postgres.new_database)
    async with crowd_at(process, url) as crowd:
        await killing(crowd, 3)


async def test_a_kill_of_the_first_process_ends_all_and_a_stop_lets_all_answers_end(crowd):
    async with FakeEngine(words=["w"] * 60, delay_s=0.02) as slow:
        crowd.prepare(slow)
        made = crowd.make_key()
        await crowd.start()
        cut = await end_while_streaming(crowd, made, slow, signal.SIGKILL)
        await crowd.start()
        assert crowd.process.recovered == len(cut)
        rows = {row.id: row for row in await crowd.rows(made)}
        assert rows.keys() == {one.id for one in cut}
        assert {row.error_code for row in rows.values()} == {"cloud_killed"}
        assert all(rows[one.id].completion_tokens >= one.pieces > 1 for one in cut)
        me = await crowd.me(made.secret)
        assert me["spent_nano"] == sum(row.cost_nano for row in rows.values()) > 0
        assert me["reserved_nano"] == 0
        whole = await end_while_streaming(crowd, made, slow, signal.SIGTERM)
        check_stopped(crowd)
        assert all(one.is_whole for one in whole)
        rows = {row.id: row for row in crowd.kept_rows(made)}
        assert {rows[one.id].state for one in whole} == {"done"}
        assert len(rows) == len(cut) + len(whole)


async def end_while_streaming(crowd, made, slow, number):
    """Ends the first process while clients stream; gives what they saw."""
    pids, seen = [each["pid"] for each in await crowd.workers()], []
    tasks = [asyncio.create_task(stream(crowd, made.secret, seen)) for _ in range(CLIENTS)]
    all_stream = lambda: len(seen) == CLIENTS and min(one.pieces for one in seen) > 1  # noqa: E731
    await crowd.process.until(all_stream, 10)
    await crowd.process.end(number)
    await asyncio.gather(*tasks)
    await crowd.process.until(lambda: all(is_gone(pid) for pid in pids), 5, "all are gone")
    return seen


@pytest.mark.slow
async def test_a_worker_that_stands_still_is_replaced(crowd):
    async with FakeEngine() as engine:
        crowd.prepare(engine)
        await stands_still(crowd, crowd.make_key())


async def stands_still(crowd, made):
    await crowd.start()
    stopped = (await crowd.workers())[0]["pid"]
    os.kill(stopped, signal.SIGSTOP)

    async def is_replaced():
        found = (await crowd.workers())[0]
        return found["pid"] != stopped and found["state"] == "ready"

    await crowd.process.until(is_replaced, 30, "another one is there")
    answers = await asyncio.gather(*(crowd.chat(made.secret) for _ in range(12)))
    assert {status for status, _ in answers} == {200}
