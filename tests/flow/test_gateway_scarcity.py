"""When all is busy: what is tried before a refusal, said in the head, kept in the ledger."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager

import pytest

from haneul.services.routes import parse, row_of
from haneul.services.rules import KEY, TENANT, decide
from haneul.store import routes
from haneul.testing.engine import Faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "say it"}]


def named():
    return f"m-{secrets.token_hex(4)}"


async def put_route(cloud, name, *members, scarce=(), fallbacks=()):
    await cloud.cloud.database.call(routes.put, row_of(parse(name, members, fallbacks, scarce)))
    await cloud.cloud.roster.refresh()


async def rule(cloud, kind, owner, name, value):
    await cloud.cloud.database.call(
        lambda connection: decide(connection, kind, owner, name, value, actor="test")
    )
    await cloud.cloud.rules.refresh()


@asynccontextmanager
async def busy(cloud, secret, name, engine, *, running=1):
    """Own hardware whose stays are known, and whose places are taken until the block is left."""
    target = next(each for each in cloud.cloud.targets.find(name) if each.is_own)
    engine.delay_s = 0.01
    for _ in range(4):
        assert (await cloud.chat(secret, target.model)).status == 200
    engine.faults = Faults(hang_after=0)
    tasks = [asyncio.create_task(cloud.chat(secret, target.model)) for _ in range(running)]
    await cloud.until(lambda: target.gate.busy.inside + target.gate.waiting == running)
    await cloud.until(lambda: engine.seen.running == 1)
    engine.faults = Faults()
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def scarce_cloud(start_cloud):
    return lambda **settings: start_cloud(**{"spill_wait_s": 0.001, **settings})


async def test_a_smaller_model_answers_at_once_and_says_so(scarce_cloud):
    cloud = await scarce_cloud()
    key = await cloud.make_key()
    big = await cloud.add_engine(own_slots=1)
    small = await cloud.add_engine()
    name = named()
    await put_route(cloud, name, big.models[0], scarce=small.models)
    free = await cloud.chat(key.secret, name)
    assert "x-haneul-scarcity" not in free.headers
    assert (big.seen.requests, small.seen.requests) == (1, 0)
    async with busy(cloud, key.secret, name, big):
        answer = await cloud.chat(key.secret, name)
    assert answer.status == 200
    assert answer.headers["x-haneul-scarcity"] == "model; reason=busy"
    assert answer.headers["x-haneul-route-reason"] == "scarce_model"
    row = await cloud.row(answer.id)
    assert (row.routed, row.model.endswith(small.models[0])) == ("scarce_model", True)
    assert row.cost_nano == cloud.cost(2, 4)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/messages", {"messages": MESSAGES, "max_tokens": 9}),
        ("/api/chat", {"messages": MESSAGES, "stream": False}),
        ("/v1/responses", {"input": "hello"}),
    ],
)
async def test_each_kind_of_answer_names_the_model_that_gave_it(scarce_cloud, path, fields):
    cloud = await scarce_cloud()
    key = await cloud.make_key()
    big, small = await cloud.add_engine(own_slots=1), await cloud.add_engine()
    name = named()
    await put_route(cloud, name, big.models[0], scarce=small.models)
    async with busy(cloud, key.secret, name, big):
        answer = await cloud.ask("POST", path, {"model": name, **fields}, secret=key.secret)
    assert answer.headers["x-haneul-scarcity"] == "model; reason=busy"
    assert answer.json()["model"] == small.models[0]
    answer = await cloud.ask("POST", path, {"model": name, **fields}, secret=key.secret)
    assert answer.json()["model"] == name


async def test_a_key_for_one_member_gets_no_other_model_in_its_place(scarce_cloud):
    cloud = await scarce_cloud()
    key = await cloud.make_key()
    big = await cloud.add_engine(own_slots=1)
    small = await cloud.add_engine()
    name = named()
    await put_route(cloud, name, big.models[0], scarce=small.models)
    only = await cloud.make_key(models=(cloud.cloud.targets.find(name)[0].model,))
    async with busy(cloud, key.secret, name, big):
        waiting = asyncio.create_task(cloud.chat(only.secret, name))
        await cloud.until(lambda: cloud.cloud.targets.find(name)[0].gate.waiting == 1)
    answer = await waiting
    assert answer.headers["x-haneul-scarcity"] == "queue; reason=busy"
    assert small.seen.requests == 0


async def test_without_a_smaller_model_the_wait_is_promised_and_a_full_queue_offers_a_batch(
    scarce_cloud,
):
    cloud = await scarce_cloud(queue_max=1)
    key = await cloud.make_key()
    engine = await cloud.add_engine(own_slots=1)
    name = engine.models[0]
    async with busy(cloud, key.secret, name, engine):
        waiting = asyncio.create_task(cloud.chat(key.secret, name))
        target = cloud.cloud.targets.find(name)[0]
        await cloud.until(lambda: target.gate.waiting == 1)
        refused = await cloud.chat(key.secret, name)
    assert (refused.status, refused.error()["code"]) == (503, "overloaded")
    assert refused.headers["x-haneul-scarcity"] == "batch; reason=busy"
    assert int(refused.headers["retry-after"]) >= 1
    offer = refused.error()["offer"]["batch"]
    assert offer == {"path": "/v1/batches", "completion_window": "24h", "price_share": 0.5}
    waited = await waiting
    assert waited.status == 200
    assert waited.headers["x-haneul-scarcity"] == "queue; reason=busy"
    assert "low=" in waited.headers["x-haneul-promised-s"]
    assert (await cloud.row(waited.id)).routed == "scarce_queue"
    row = await cloud.row(refused.id)
    assert (row.state, row.status, row.cost_nano) == ("refused", 503, 0)


async def test_while_a_remote_may_answer_nothing_is_scarce(scarce_cloud):
    cloud = await scarce_cloud()
    key = await cloud.make_key()
    name = named()
    own = await cloud.add_engine(models=(name,), own_slots=1)
    remote = await cloud.add_engine(models=(name,))
    async with busy(cloud, key.secret, name, own):
        answer = await cloud.chat(key.secret, name)
    assert answer.headers["x-haneul-route-reason"] == "spilled"
    assert "x-haneul-scarcity" not in answer.headers
    assert remote.seen.requests == 1


async def test_a_keys_steps_go_before_its_tenants_and_refuse_is_at_once(scarce_cloud):
    cloud = await scarce_cloud()
    key, other = await cloud.make_key(), await cloud.make_key()
    engine = await cloud.add_engine(own_slots=1)
    name = engine.models[0]
    await rule(cloud, TENANT, "default", "scarcity", "refuse")
    await rule(cloud, KEY, other.key.id, "scarcity", "queue")
    async with busy(cloud, key.secret, name, engine):
        refused = await cloud.chat(key.secret, name)
        assert refused.status == 503
        assert refused.headers["x-haneul-scarcity"] == "refuse; reason=busy"
        assert "offer" not in refused.error()
        waiting = asyncio.create_task(cloud.chat(other.secret, name))
        await cloud.until(lambda: cloud.cloud.targets.find(name)[0].gate.waiting == 1)
    waited = await waiting
    assert (waited.status, waited.headers["x-haneul-scarcity"]) == (200, "queue; reason=busy")


async def test_thoughts_are_bounded_where_the_engine_can_be_told(scarce_cloud):
    cloud = await scarce_cloud(scarcity_thinking_tokens=100)
    key = await cloud.make_key()
    engine = await cloud.add_engine(own_slots=1)
    name = engine.models[0]
    target = cloud.cloud.targets.find(name)[0]
    target.thinking_field = "thinking_budget"
    async with busy(cloud, key.secret, name, engine):
        waiting = asyncio.create_task(cloud.chat(key.secret, name, thinking_budget=5000))
        await cloud.until(lambda: target.gate.waiting == 1)
    answer = await waiting
    assert answer.headers["x-haneul-scarcity"] == "thinking=100, queue; reason=busy"
    assert engine.seen.bodies[-1]["thinking_budget"] == 100
    fewer = await cloud.chat(key.secret, name, thinking_budget=50)
    assert "x-haneul-scarcity" not in fewer.headers
    assert engine.seen.bodies[-1]["thinking_budget"] == 50


async def test_a_budget_that_is_nearly_spent_is_scarce_where_a_tenant_says_so(scarce_cloud):
    cloud = await scarce_cloud()
    big, small = await cloud.add_engine(), await cloud.add_engine()
    name = named()
    await put_route(cloud, name, big.models[0], scarce=small.models)
    cost = cloud.cost(2, 4)
    key = await cloud.make_key(budget_nano=100 * cost)
    first = await cloud.chat(key.secret, name, max_tokens=4)
    assert "x-haneul-scarcity" not in first.headers
    await rule(cloud, TENANT, "default", "scarcity_budget", "0.999")
    second = await cloud.chat(key.secret, name, max_tokens=4)
    assert second.headers["x-haneul-scarcity"] == "model; reason=budget"
    other = await cloud.make_key(budget_nano=10**15)
    third = await cloud.chat(other.secret, name, max_tokens=4)
    assert "x-haneul-scarcity" not in third.headers, "this one has its budget still"


async def test_a_client_that_waits_less_than_is_promised_is_not_kept_waiting(scarce_cloud):
    cloud = await scarce_cloud()
    key = await cloud.make_key()
    engine = await cloud.add_engine(own_slots=1)
    name = engine.models[0]
    body = {"model": name, "messages": [{"role": "user", "content": "hi"}]}
    hurry = {"x-haneul-within-s": "0.001"}
    async with busy(cloud, key.secret, name, engine, running=6):
        answer = await cloud.ask("POST", "/v1/chat/completions", body, secret=key.secret, **hurry)
    assert (answer.status, answer.headers["x-haneul-scarcity"]) == (503, "batch; reason=busy")
