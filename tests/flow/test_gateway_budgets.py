"""Budgets that cannot be overdrawn, and rates, under real concurrency and with exact money."""

from __future__ import annotations

import asyncio
import random
import re
import secrets

import pytest

from haneul.base.units import parse_money

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROMPT_BYTES = len('[{"role":"user","content":"say it"}]')  # as `cloud.chat` sends it


def worst(cloud, completion, prompt_bytes=PROMPT_BYTES):
    """What a request can cost at most: a token for each byte of its prompt, and the template's."""
    return cloud.cost(prompt_bytes + 512, completion)


async def test_fifty_requests_at_once_never_overdraw_a_budget(cloud):
    engine = await cloud.add_engine(words=["w"] * 4, delay_s=0.002)
    one = worst(cloud, 4)
    budget = one * 7 + one // 2
    key = await cloud.make_key(budget_nano=budget)
    watched = []

    async def watch():
        while True:
            me = await cloud.me(key.secret)
            watched.append(me["spent_nano"] + me["reserved_nano"])
            await asyncio.sleep(0.005)

    watcher = asyncio.create_task(watch())
    answers = []
    for _ in range(4):
        answers += await asyncio.gather(
            *(
                cloud.chat(key.secret, engine.models[0], max_tokens=4, stream=number % 2 == 0)
                for number in range(50)
            )
        )
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
    taken = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 429]
    assert len(taken) + len(refused) == 200
    assert taken
    assert {answer.error()["code"] for answer in refused} == {"insufficient_quota"}
    assert engine.seen.requests == len(taken), "a refused request must not reach the engine"
    rows = await cloud.rows(key.key.id)
    spent = sum(row.cost_nano for row in rows)
    assert spent == len(taken) * cloud.cost(2, 4)
    assert max(watched) <= budget
    me = await cloud.me(key.secret)
    assert (me["spent_nano"], me["reserved_nano"]) == (spent, 0)
    assert spent <= budget


async def test_a_budget_is_used_up_to_what_one_more_request_could_cost(cloud):
    engine = await cloud.add_engine(words=["w"] * 4)
    budget = worst(cloud, 4) + 10 * cloud.cost(2, 4)
    key = await cloud.make_key(budget_nano=budget)
    for _ in range(11):
        assert (await cloud.chat(key.secret, engine.models[0], max_tokens=4)).status == 200
    answer = await cloud.chat(key.secret, engine.models[0], max_tokens=4)
    assert (answer.status, answer.error()["type"]) == (429, "insufficient_quota")
    assert budget - (await cloud.me(key.secret))["spent_nano"] < worst(cloud, 4)
    assert engine.seen.requests == 11


async def test_aborts_failures_and_answers_together_keep_to_the_budget(cloud):
    engine = await cloud.add_engine(words=["w"] * 30, delay_s=0.002)
    broken = await cloud.add_engine(words=["w"] * 30, die_after=7, delay_s=0.002)
    budget = 8 * worst(cloud, 30)
    key = await cloud.make_key(budget_nano=budget)
    dice = random.Random(1)

    async def one(number):
        model = (broken if number % 3 == 0 else engine).models[0]
        task = asyncio.create_task(cloud.chat(key.secret, model, stream=True, max_tokens=30))
        if number % 2:
            await asyncio.sleep(dice.random() * 0.06)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    for _ in range(3):
        await asyncio.gather(*(one(number) for number in range(20)))
    rows = await cloud.rows(key.key.id)
    assert {"done", "aborted", "failed", "refused"} >= {row.state for row in rows} > {"done"}
    spent = sum(row.cost_nano for row in rows)
    me = await cloud.me(key.secret)
    assert (me["spent_nano"], me["reserved_nano"]) == (spent, 0)
    assert spent <= budget


@pytest.mark.parametrize(
    ("path", "field"),
    [("/v1/chat/completions", "max_completion_tokens"), ("/v1/completions", "max_tokens")],
)
async def test_an_answer_of_unsaid_length_is_capped_by_what_the_budget_pays(cloud, path, field):
    engine = await cloud.add_engine(words=["w"] * 5000)
    budget = cloud.cost(560, 300)
    key = await cloud.make_key(budget_nano=budget)
    body = {"model": engine.models[0], "messages": [{"role": "user", "content": "x"}]}
    if path == "/v1/completions":
        body = {"model": engine.models[0], "prompt": "x"}
    answer = await cloud.ask("POST", path, body, secret=key.secret)
    assert answer.status == 200
    cap = engine.seen.bodies[-1][field]
    row = await cloud.row(answer.id)
    assert row.completion_tokens == cap
    assert 300 <= cap < 450
    assert row.cost_nano <= budget


async def test_no_cap_is_added_without_a_budget(cloud, key):
    engine = await cloud.add_engine()
    await cloud.chat(key.secret, engine.models[0])
    assert not {"max_tokens", "max_completion_tokens"} & engine.seen.bodies[-1].keys()


async def test_more_than_the_budget_pays_is_refused_with_the_amounts(cloud):
    engine = await cloud.add_engine()
    key = await cloud.make_key(budget="0.01")
    answer = await cloud.chat(key.secret, engine.models[0], max_tokens=1_000_000)
    assert (answer.status, answer.error()["code"]) == (429, "insufficient_quota")
    assert "USD 0.01" in answer.error()["message"]
    assert "USD 0.407" in answer.error()["message"]
    assert engine.seen.requests == 0
    row = await cloud.row(answer.id)
    assert (row.state, row.status, row.cost_nano) == ("refused", 429, 0)


@pytest.mark.parametrize("more", [{"n": 4}, {"best_of": 4}, {"n": 2, "best_of": 4}])
async def test_several_answers_are_reserved_for_several_times(cloud, more):
    engine = await cloud.add_engine()
    key = await cloud.make_key(budget_nano=worst(cloud, 4 * 1000) - 1)
    body = {"model": engine.models[0], "prompt": "say it", "max_tokens": 1000}
    # The prompt's bytes differ from a chat's: both ends leave room for that.
    assert (await cloud.ask("POST", "/v1/completions", body, secret=key.secret)).status == 200
    key = await cloud.make_key(budget_nano=worst(cloud, 3 * 1000))
    refused = await cloud.ask("POST", "/v1/completions", body | more, secret=key.secret)
    assert (refused.status, refused.error()["code"]) == (429, "insufficient_quota")


@pytest.mark.parametrize("field", ["n_predict", "max_new_tokens"])
async def test_a_length_by_another_name_cannot_pass_a_budget_by(cloud, key, field):
    engine = await cloud.add_engine()
    answer = await cloud.chat(key.secret, engine.models[0], max_tokens=1, **{field: 100_000})
    assert (answer.status, answer.error()["param"]) == (400, field)
    assert engine.seen.requests == 0


async def test_a_length_said_twice_counts_as_the_engine_will_read_it(cloud):
    engine = await cloud.add_engine()
    key = await cloud.make_key(budget_nano=worst(cloud, 100))
    messages = b'"messages":[{"role":"user","content":"x"}]'
    for name in (b"max_tokens", b"max\\u005ftokens"):
        body = b'{"model":"%s",%s,"max_tokens":1,"%s":1000000}' % (
            engine.models[0].encode(),
            messages,
            name,
        )
        answer = await cloud.ask("POST", "/v1/chat/completions", body, secret=key.secret)
        assert (answer.status, answer.error()["code"]) == (429, "insufficient_quota")
    assert engine.seen.requests == 0


async def test_embeddings_of_many_texts_are_reserved_for_all_of_them(cloud):
    engine = await cloud.add_engine()
    (target,) = cloud.cloud.targets.find(engine.models[0])
    target.context_tokens = 8
    key = await cloud.make_key(budget_nano=cloud.cost(100, 0))
    body = {"model": engine.models[0], "input": ["a b c d e f g"] * 50}
    answer = await cloud.ask("POST", "/v1/embeddings", body, secret=key.secret)
    assert (answer.status, answer.error()["code"]) == (429, "insufficient_quota")


async def test_a_dearer_engine_that_may_step_in_is_reserved_for(cloud):
    name = f"twin-{secrets.token_hex(4)}"
    cheap = await cloud.add_engine(name=f"{name}-1", models=(name,), status=500)
    dear = await cloud.add_engine(name=f"{name}-2", models=(name,), words=["w"] * 100)
    await cloud.put_engine(f"{name}-2", dear.url, dear.models, price=("10", "10", "40"))
    enough_for_cheap = worst(cloud, 100)
    poor = await cloud.make_key(budget_nano=enough_for_cheap)
    answer = await cloud.chat(poor.secret, name, max_tokens=100)
    assert (answer.status, answer.error()["code"]) == (429, "insufficient_quota")
    capped = await cloud.make_key(budget_nano=enough_for_cheap * 60)
    answer = await cloud.chat(capped.secret, name)
    row = await cloud.row(answer.id)
    assert (answer.status, row.engine) == (200, f"{name}-2")
    assert row.cost_nano == 2 * 10_000 + row.completion_tokens * 40_000 <= enough_for_cheap * 60
    assert cheap.seen.requests == 1


async def test_a_price_that_changes_holds_for_the_requests_after_it(cloud, key):
    engine = await cloud.add_engine(words=["w"] * 20, delay_s=0.02)
    running = asyncio.create_task(cloud.chat(key.secret, engine.models[0], stream=True))
    await cloud.until(lambda: engine.seen.completion_tokens > 3)
    name = cloud.cloud.targets.find(engine.models[0])[0].engine
    await cloud.put_engine(name, engine.url, engine.models, price=("1", "1", "1"))
    before = await cloud.row((await running).id)
    assert before.cost_nano == cloud.cost(before.prompt_tokens, before.completion_tokens)
    after = await cloud.row((await cloud.chat(key.secret, engine.models[0])).id)
    assert after.cost_nano == 1000 * (after.prompt_tokens + after.completion_tokens)
    assert before.price_id != after.price_id


# rates
async def test_requests_beyond_the_rate_are_429_with_the_time_to_wait(cloud):
    engine = await cloud.add_engine()
    key = await cloud.make_key(requests_per_minute=3)
    answers = [await cloud.chat(key.secret, engine.models[0]) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    remaining = [int(answer.headers["x-ratelimit-remaining-requests"]) for answer in answers]
    assert remaining == [2, 1, 0, 0]
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in answers} == {"3"}
    last = answers[-1]
    assert last.error()["code"] == "rate_limit_exceeded"
    assert 15 <= int(last.headers["retry-after"]) <= 20
    assert re.fullmatch(r"5\d\.\d{3}s|60\.000s", last.headers["x-ratelimit-reset-requests"])
    assert engine.seen.requests == 3


async def test_a_burst_at_once_gets_exactly_its_rate(cloud):
    engine = await cloud.add_engine()
    key = await cloud.make_key(requests_per_minute=20)
    answers = await asyncio.gather(*(cloud.chat(key.secret, engine.models[0]) for _ in range(60)))
    # A tenth of a minute may pass on a busy machine.
    assert 20 <= sum(answer.status == 200 for answer in answers) <= 22
    assert engine.seen.requests == sum(answer.status == 200 for answer in answers)


async def test_tokens_beyond_the_rate_are_429_and_what_was_not_used_comes_back(cloud):
    engine = await cloud.add_engine(words=["w"] * 3)
    key = await cloud.make_key(tokens_per_minute=1000)
    first = await cloud.chat(key.secret, engine.models[0], max_tokens=900)
    assert first.status == 200
    assert int(first.headers["x-ratelimit-remaining-tokens"]) < 100
    second = await cloud.chat(key.secret, engine.models[0], max_tokens=900)
    assert second.status == 200, "the first one used 5 of its 908"
    running = asyncio.create_task(
        cloud.chat(key.secret, (await cloud.add_engine(hang_after=0)).models[0], max_tokens=900)
    )
    await cloud.until(lambda: len(cloud.cloud.gateway.calls) == 1)
    await asyncio.sleep(0.05)
    third = await cloud.chat(key.secret, engine.models[0], max_tokens=900)
    assert (third.status, third.error()["code"]) == (429, "rate_limit_exceeded")
    assert int(third.headers["retry-after"]) > 30
    assert third.headers["x-ratelimit-limit-tokens"] == "1000"
    running.cancel()


async def test_a_refused_request_takes_nothing_from_the_rate(cloud):
    engine = await cloud.add_engine()
    key = await cloud.make_key(requests_per_minute=2, budget="0.0005")
    for _ in range(5):
        answer = await cloud.chat(key.secret, engine.models[0], max_tokens=1_000_000)
        assert answer.error()["code"] == "insufficient_quota"
    assert (await cloud.chat(key.secret, engine.models[0], max_tokens=1)).status == 200


async def test_a_spent_budget_is_refused_even_where_tokens_cost_nothing(cloud):
    engine = await cloud.add_engine()
    name = cloud.cloud.targets.find(engine.models[0])[0].engine
    await cloud.put_engine(name, engine.url, engine.models, price=("0", "0", "0"))
    key = await cloud.make_key(budget_nano=parse_money("0"))
    answer = await cloud.chat(key.secret, engine.models[0])
    assert (answer.status, engine.seen.requests) == (429, 0)
