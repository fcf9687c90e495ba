"""Limits of thoughts on their way: told, recorded, and kept by whoever answers."""

from __future__ import annotations

import anthropic
import pytest

from haneul.services.rules import KEY, MODEL, decide
from haneul.services.thinking import FIELDS

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEADER = "x-haneul-thinking-max"


async def rule(cloud, kind, owner, value):
    """What the commands do, and the cloud has seen it."""
    await cloud.cloud.database.call(
        lambda connection: decide(connection, kind, owner, "thinking_max", value, actor="test")
    )
    await cloud.cloud.rules.refresh()


async def test_a_keys_limit_is_told_recorded_and_sent_under_the_engines_own_name(cloud, key):
    fake = await cloud.add_engine(thinking_field=FIELDS[1])
    await rule(cloud, KEY, key.key.id, "64")
    answer = await cloud.chat(key.secret, fake.models[0], thinking_budget=9000)
    assert answer.status == 200
    assert answer.headers[HEADER] == "64"
    assert fake.seen.bodies[-1]["thinking_token_budget"] == 64
    assert "thinking_budget" not in fake.seen.bodies[-1]
    assert (await cloud.row(answer.id)).thinking_max == 64
    less = await cloud.chat(key.secret, fake.models[0], thinking_budget=8)
    assert less.headers[HEADER] == "8"
    await rule(cloud, KEY, key.key.id, "none")
    free = await cloud.chat(key.secret, fake.models[0])
    assert HEADER not in free.headers
    assert (await cloud.row(free.id)).thinking_max is None
    assert FIELDS[1] not in fake.seen.bodies[-1]


async def test_a_models_limit_holds_for_every_key_and_the_least_of_all_counts(cloud, key):
    fake = await cloud.add_engine(thinking_field=FIELDS[0])
    other = await cloud.make_key()
    await rule(cloud, MODEL, fake.models[0], "100")
    await rule(cloud, KEY, other.key.id, "50")
    first = await cloud.chat(key.secret, fake.models[0])
    second = await cloud.chat(other.secret, fake.models[0], thinking_budget=70)
    assert [first.headers[HEADER], second.headers[HEADER]] == ["100", "50"]
    assert [body["thinking_budget"] for body in fake.seen.bodies] == [100, 50]
    await rule(cloud, MODEL, fake.models[0], "none")


async def test_an_unknown_engine_is_held_by_length_or_not_asked_at_all(cloud, key):
    fake = await cloud.add_engine()
    await rule(cloud, MODEL, fake.models[0], "2")
    short = await cloud.chat(key.secret, fake.models[0])
    assert short.json()["choices"][0]["message"]["content"] == "one two "
    assert fake.seen.bodies[-1]["max_completion_tokens"] == 2
    await rule(cloud, MODEL, fake.models[0], "0")
    refused = await cloud.chat(key.secret, fake.models[0])
    assert refused.status == 400
    assert "cannot be told" in refused.error()["message"]
    assert fake.seen.requests == 1
    await rule(cloud, MODEL, fake.models[0], "none")


async def test_the_genuine_anthropic_clients_budget_reaches_an_engine_that_takes_one(cloud, key):
    fake = await cloud.add_engine(thinking_field=FIELDS[1])
    async with anthropic.AsyncAnthropic(
        base_url=cloud.root, api_key=key.secret, max_retries=0
    ) as client:
        raw = await client.messages.with_raw_response.create(
            model=fake.models[0],
            max_tokens=4000,
            thinking={"type": "enabled", "budget_tokens": 2000},
            messages=[{"role": "user", "content": "x"}],
        )
    assert raw.headers[HEADER] == "2000"
    assert fake.seen.bodies[-1]["thinking_token_budget"] == 2000
    plain = await cloud.add_engine()
    async with anthropic.AsyncAnthropic(
        base_url=cloud.root, api_key=key.secret, max_retries=0
    ) as client:
        raw = await client.messages.with_raw_response.create(
            model=plain.models[0],
            max_tokens=4000,
            thinking={"type": "enabled", "budget_tokens": 2000},
            messages=[{"role": "user", "content": "x"}],
        )
    assert plain.seen.bodies[-1]["max_completion_tokens"] == 4000  # nobody's law: as it was
    assert "thinking_budget" not in plain.seen.bodies[-1]
    assert HEADER not in raw.headers  # nobody promised it


async def test_the_embedded_engine_is_told_of_the_limit(cloud, key, tiny_model):
    target = await cloud.cloud.serve(str(tiny_model))
    await rule(cloud, KEY, key.key.id, "5")
    answer = await cloud.chat(key.secret, target.model, max_tokens=4)
    assert answer.status == 200, answer.data
    assert answer.headers[HEADER] == "5"
    assert (await cloud.row(answer.id)).thinking_max == 5
