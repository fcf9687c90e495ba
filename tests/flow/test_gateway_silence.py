"""Real engine processes that stop or die before their first byte: others answer, billed once."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time

import pytest
import pytest_asyncio

from haneul.services.watch import LOOK_S, QUIET_S, SIGN_S, SIGNS_MAX
from haneul.testing.raw import RawEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOWNESS = float(os.environ.get("HANEUL_TEST_SLOWNESS", "3"))
BOUND_S = LOOK_S + QUIET_S + SIGNS_MAX * SIGN_S  # until a silent engine is left
DONE = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"word "}}]}\n\ndata: [DONE]\n\n'


@pytest_asyncio.fixture(loop_scope="module")
async def pair(cloud, tiny_model, start_engine):
    """Two real engines under one name, own hardware asked first: the name and both processes."""
    name = f"twin-{secrets.token_hex(4)}"
    found = []
    for number, terms in ((1, {"own_slots": 2}), (2, {})):
        flags = ("--slots", "4", "--context", "2048", "--threads", "1")
        engine = start_engine(tiny_model, *flags, name=name)
        await engine.ready()
        url = f"http://127.0.0.1:{engine.to.port}"
        await cloud.put_engine(f"{name}-{number}", url, (name,), **terms)
        found.append(engine)
    yield name, *found
    for engine in found:
        engine.stop()


def target_of(cloud, engine):
    return next(each for each in cloud.cloud.targets.every() if each.engine == engine)


async def ask_both(cloud, secret, name, count=1, **fields):
    """So many streamed answers and as many whole ones, all at once."""
    asked = [
        cloud.chat(secret, name, f"text {number}", stream=is_stream, max_tokens=5, **fields)
        for is_stream in (True, False)
        for number in range(count)
    ]
    return await asyncio.gather(*asked)


async def test_requests_at_an_engine_that_stands_still_go_elsewhere_in_bounded_time(
    cloud, key, pair
):
    name, first, _ = pair
    first.process.send_signal(signal.SIGSTOP)  # with two inside, and two in its queue
    began = time.monotonic()
    answers = await ask_both(cloud, key.secret, name, 2)
    took_s = time.monotonic() - began
    first.process.send_signal(signal.SIGCONT)
    assert [answer.status for answer in answers] == [200] * 4
    assert took_s < BOUND_S + 2 * SLOWNESS, "all leave at once, not one after another"
    rows = await cloud.rows(key.key.id)
    assert len(rows) == 4, "one record each"
    for row in rows:
        assert (row.state, row.engine, row.routed) == ("done", f"{name}-2", "fallback")
        assert row.tried == f"{name}-1=engine_silent"
        assert row.completion_tokens == 5
        assert row.cost_nano == cloud.cost(row.prompt_tokens, 5, row.cached_tokens)
    again = await cloud.chat(key.secret, name, max_tokens=2)
    assert again.headers["x-haneul-engine"] == f"{name}-2", "it is known to stand still"


async def test_requests_at_an_engine_that_is_killed_go_elsewhere_at_once(cloud, key, pair):
    name, first, _ = pair
    target_of(cloud, f"{name}-1").gate.inside_max = 8
    first.process.send_signal(signal.SIGSTOP)  # so that none gets its first byte before
    asked = asyncio.create_task(ask_both(cloud, key.secret, name, 8, user="u"))
    await cloud.until(lambda: target_of(cloud, f"{name}-1").gate.busy.inside == 8)
    killed = time.monotonic()
    first.process.kill()
    answers = await asked
    assert [answer.status for answer in answers] == [200] * 16
    assert time.monotonic() - killed < 10 * SLOWNESS
    rows = await cloud.rows(key.key.id)
    assert len(rows) == 16
    assert {row.state for row in rows} == {"done"}
    moved = [row for row in rows if row.tried]
    assert len(moved) == 16, "those in its queue too"
    assert all(row.tried.startswith(f"{name}-1=engine_") for row in moved)
    me = await cloud.me(key.secret)
    assert me["spent_nano"] == sum(row.cost_nano for row in rows), "nothing is billed twice"
    assert me["reserved_nano"] == 0


@pytest.mark.slow
async def test_an_embedded_engine_that_stands_still_is_left_killed_and_started_again(
    start_cloud, tiny_model, start_engine
):
    cloud = await start_cloud()
    key = await cloud.make_key()
    served = await cloud.cloud.serve(str(tiny_model))
    other = start_engine(tiny_model, "--slots", "4", "--threads", "1", name=served.model)
    await other.ready()
    await cloud.put_engine("other", f"http://127.0.0.1:{other.to.port}", (served.model,))
    os.kill(served.replica.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    answers = await ask_both(cloud, key.secret, served.model)
    assert [answer.status for answer in answers] == [200, 200]
    assert time.monotonic() - began < BOUND_S + 2 * SLOWNESS
    rows = await cloud.rows(key.key.id)
    assert {(row.engine, row.tried) for row in rows} == {("other", "embedded=engine_silent")}
    await cloud.until(lambda: served.replica.restarts == 1, 30, "it was killed")
    assert "did not answer" in served.replica.reason

    async def answers_again():
        answer = await cloud.chat(key.secret, served.model, max_tokens=2)
        return answer.headers["x-haneul-engine"] == "embedded"

    await cloud.until(answers_again, 20, "the engine is back")


async def test_an_engine_that_is_slow_but_alive_keeps_its_requests(cloud, key):
    async def play(exchange):
        if b"POST" in exchange.head[:4]:
            await asyncio.sleep(QUIET_S + 1.5)
        exchange.begin()
        exchange.chunk(DONE)
        exchange.end()

    name = f"slow-{secrets.token_hex(4)}"
    async with RawEngine(play) as engine:
        await cloud.put_engine(f"{name}-1", engine.url, (name,), price=cloud.cheaper)
        other = await cloud.add_engine(name=f"{name}-2", models=(name,))
        answer = await cloud.chat(key.secret, name, stream=True)
        assert answer.headers["x-haneul-engine"] == f"{name}-1"
        assert other.seen.requests == 0
    assert (await cloud.row(answer.id)).tried is None


async def test_a_request_without_another_engine_stays_until_its_deadline(start_cloud, tiny_model):
    """Nobody else could answer it: it may still come."""
    cloud = await start_cloud(first_token_s=1.5)
    key = await cloud.make_key()
    engine = await cloud.add_engine(hang_after=0)
    answer = await cloud.chat(key.secret, engine.models[0], stream=True)
    assert (answer.status, answer.error()["code"]) == (504, "deadline_exceeded")
    assert (await cloud.row(answer.id)).tried is None
