"""Engines that fail for a while: how often they are asked again, who is asked instead, for whom."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from haneul.services.health import BREAKS_MAX
from haneul.services.retries import OF_A_KEY, SHARE
from haneul.testing.engine import Faults

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def pair(cloud, first=None, second=None):
    """Two engines for one model name: the first is asked first and has the faults."""
    name = f"twin-{secrets.token_hex(4)}"
    cheaper = {**(first or {}), "price": cloud.cheaper}
    one = await cloud.add_engine(name=f"{name}-1", models=(name,), **cheaper)
    two = await cloud.add_engine(name=f"{name}-2", models=(name,), **(second or {}))
    return name, one, two


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_what_is_the_requests_own_fault_is_asked_once(cloud, key, status):
    name, one, two = await pair(cloud, {"status": status})
    for _ in range(5):
        assert (await cloud.chat(key.secret, name)).status in (400, 404, 413)
    assert (one.seen.requests, two.seen.requests) == (5, 0)


@pytest.mark.parametrize("status", [429, 503])
async def test_an_engine_with_too_much_to_do_is_let_rest_while_another_answers(cloud, key, status):
    name, one, two = await pair(cloud, {"status": status, "retry_after_s": 60})
    answers = await asyncio.gather(*(cloud.chat(key.secret, name) for _ in range(4)))
    for _ in range(40):
        answers.append(await cloud.chat(key.secret, name))
    assert {answer.status for answer in answers} == {200}
    assert two.seen.requests == 44
    assert one.seen.requests <= 4, "it was asked again before the time it named"


async def test_an_engine_is_first_again_after_the_time_it_named(cloud, key):
    name, one, two = await pair(cloud, {"status": 429, "retry_after_s": 1})
    assert (await cloud.chat(key.secret, name)).status == 200
    one.faults = Faults()
    assert (await cloud.chat(key.secret, name)).status == 200
    assert (one.seen.requests, two.seen.requests) == (1, 2)
    await asyncio.sleep(1.1)
    assert (await cloud.chat(key.secret, name)).status == 200
    assert (one.seen.requests, two.seen.requests) == (2, 2)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_engine_without_another_beside_it_is_always_asked(cloud, key, status):
    engine = await cloud.add_engine(status=status, retry_after_s=60)
    for _ in range(10):
        await cloud.chat(key.secret, engine.models[0])
    engine.faults = Faults()
    other = await cloud.make_key()
    assert (await cloud.chat(other.secret, engine.models[0])).status == 200
    assert (await cloud.chat(key.secret, engine.models[0])).status == 200
    assert engine.seen.requests == 12


async def test_where_all_engines_fail_the_extra_calls_are_a_tenth_beside_the_stock(cloud, key):
    name, one, two = await pair(cloud, {"status": 500}, {"status": 500})
    for _ in range(12):
        answers = await asyncio.gather(*(cloud.chat(key.secret, name) for _ in range(10)))
        assert {answer.status for answer in answers} == {502}
    extra = one.seen.requests + two.seen.requests - 120
    assert OF_A_KEY.most <= extra <= OF_A_KEY.most + SHARE * 120 + 2
    other = await cloud.make_key()
    one.faults, two.faults = Faults(status=500), Faults()
    assert (await cloud.chat(other.secret, name)).status == 200, "another key has its own retries"


async def test_one_clients_poison_closes_no_model_and_moves_nobody(cloud):
    """Its requests break the engine's answers, others' do not."""
    name, one, two = await pair(cloud)
    bad, good = await cloud.make_key(), await cloud.make_key()
    for _ in range(10):
        one.faults = two.faults = Faults(garbage=True)
        for _ in range(BREAKS_MAX - 1):
            assert (await cloud.chat(bad.secret, name)).status == 502
        one.faults = two.faults = Faults()
        assert (await cloud.chat(good.secret, name)).status == 200
    rows = await cloud.rows(good.key.id)
    assert [(row.state, row.engine) for row in rows] == [("done", f"{name}-1")] * 10
