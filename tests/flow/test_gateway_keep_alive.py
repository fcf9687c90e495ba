"""Engines that sleep when nobody asks, wake when somebody does, and make room for one another."""

from __future__ import annotations

import asyncio
import re
import shutil

import pytest

from haneul.services.replica import READY, STOPPED
from haneul.services.rules import MODEL, decide
from haneul.store import forecasts

pytestmark = pytest.mark.asyncio(loop_scope="module")
PROMISED = re.compile(r"([\d.]+); low=([\d.]+); high=([\d.]+)")


def promised(answer):
    """Middle, low and high, in seconds."""
    return tuple(map(float, PROMISED.fullmatch(answer.headers["x-haneul-promised-s"]).groups()))


async def asleep(cloud, target, within_s=10):
    await cloud.until(lambda: target.state == STOPPED, within_s, "it sleeps")


async def test_an_idle_engine_sleeps_and_those_who_ask_wake_it_once_with_a_promise(
    start_cloud, tiny_model
):
    cloud = await start_cloud(keep_alive_s=0.3)
    key = await cloud.make_key()
    served = await cloud.cloud.serve(str(tiny_model))
    await asleep(cloud, served)
    answers = await asyncio.gather(
        *(
            cloud.chat(key.secret, served.model, max_tokens=2, stream=is_stream)
            for is_stream in (True, False)
            for _ in range(3)
        )
    )
    assert {answer.status for answer in answers} == {200}
    for answer in answers:
        mid, low, high = promised(answer)
        assert 0 < low <= mid <= high
    rows = await cloud.cloud.database.ask(forecasts.measurements)
    loads = [row.value / 1000 for row in rows if row.kind == "load"]
    assert len(loads) == 2, "at the start and for all six together"
    whole = served.awake.forecast() if served.state == STOPPED else None
    await asleep(cloud, served)
    whole = served.awake.forecast()
    assert whole.low <= min(loads) <= max(loads) <= whole.high
    assert "2 measured loads" in whole.source


async def test_a_client_that_cannot_wait_so_long_is_told_when_to_come_and_the_engine_wakes(
    start_cloud, tiny_model
):
    cloud = await start_cloud(keep_alive_s=0.3)
    key = await cloud.make_key()
    served = await cloud.cloud.serve(str(tiny_model))
    await asleep(cloud, served)
    body = {"model": served.model, "messages": [{"role": "user", "content": "hi"}]}
    path, hurry = "/v1/chat/completions", {"x-haneul-within-s": "0.001"}
    answer = await cloud.ask("POST", path, body, secret=key.secret, **hurry)
    assert (answer.status, answer.error()["code"]) == (503, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    await cloud.until(lambda: served.state == READY, 30, "it was woken for the next who asks")
    answer = await cloud.ask("POST", path, {**body, "max_tokens": 2}, secret=key.secret, **hurry)
    assert answer.status == 200
    assert "x-haneul-promised-s" not in answer.headers, "it began at once"
    hurry = {"x-haneul-within-s": "soon"}
    answer = await cloud.ask("POST", path, body, secret=key.secret, **hurry)
    assert (answer.status, answer.error()["param"]) == (400, "x-haneul-within-s")


async def test_a_models_rule_goes_before_the_configuration_and_a_wish_can_only_prolong(
    start_cloud, tiny_model
):
    cloud = await start_cloud(keep_alive_s=3600)
    served = await cloud.cloud.serve(str(tiny_model))
    keeper = cloud.cloud.keeper
    assert keeper.keep_s(served) == 3600

    async def rule(value):
        await cloud.cloud.database.call(
            lambda c: decide(c, MODEL, served.model, "keep_alive_s", value, actor="test")
        )
        await cloud.cloud.rules.refresh()

    await rule("1")
    assert keeper.keep_s(served) == 1
    key = await cloud.make_key()
    wish = {"model": served.model, "keep_alive": "5m"}
    answer = await cloud.ask("POST", "/api/generate", wish, secret=key.secret)
    assert answer.status == 200
    assert keeper.keep_s(served) == 300
    await cloud.ask("POST", "/api/generate", {**wish, "keep_alive": -1}, secret=key.secret)
    assert keeper.keep_s(served) is None
    await rule("0")
    assert keeper.keep_s(served) is None


@pytest.mark.slow
async def test_a_model_that_is_asked_for_puts_the_longest_idle_out_but_none_that_is_busy(
    start_cloud, tiny_model, tmp_path
):
    first = await start_cloud()
    need = (await first.cloud.serve(str(tiny_model))).awake.need.total.mid
    cloud = await start_cloud(memory_max_bytes=int(2.5 * need))
    key = await cloud.make_key()
    served = []
    for name in ("one", "two", "three"):
        path = tmp_path / f"{name}.gguf"
        shutil.copy(tiny_model, path)
        served.append(await cloud.cloud.serve(str(path)))
    one, two, three = served
    assert (one.state, two.state, three.state) == (STOPPED, READY, READY)
    assert (await cloud.chat(key.secret, two.model, max_tokens=2)).status == 200
    assert (await cloud.chat(key.secret, one.model, max_tokens=2)).status == 200
    assert (one.state, two.state, three.state) == (READY, READY, STOPPED), "the longest idle went"
    long = [
        asyncio.create_task(
            cloud.chat(key.secret, each.model, max_tokens=1500, ignore_eos=True, stream=True)
        )
        for each in (one, two)
    ]
    await cloud.until(lambda: one.gate.busy.inside == two.gate.busy.inside == 1)
    answer = await cloud.chat(key.secret, three.model, max_tokens=2)
    assert (answer.status, answer.error()["code"]) == (503, "insufficient_memory")
    assert int(answer.headers["retry-after"]) >= 1
    ended = await asyncio.gather(*long)
    assert all("[DONE]" in each.events() for each in ended), "who was there was not disturbed"
    assert (await cloud.chat(key.secret, three.model, max_tokens=2)).status == 200


@pytest.mark.slow
async def test_no_request_fails_while_an_engine_falls_asleep_and_wakes(start_cloud, tiny_model):
    cloud = await start_cloud(keep_alive_s=0.01)
    key = await cloud.make_key()
    served = await cloud.cloud.serve(str(tiny_model))
    for pause_s in (0.0, 0.4, 0.7, 0.99, 1.0, 1.01, 1.3):
        await asyncio.sleep(pause_s)
        answer = await cloud.chat(key.secret, served.model, max_tokens=2)
        assert answer.status == 200, (pause_s, answer.data)
    assert len({row.id for row in await cloud.rows(key.key.id)}) == 7
