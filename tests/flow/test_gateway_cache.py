"""Answers that are given again: what counts as the same, whole and streamed, once at a time."""

from __future__ import annotations

import asyncio

import anthropic
import msgspec
import pytest
import pytest_asyncio

from haneul.services.choice import CACHE
from haneul.services.rules import TENANT, decide
from haneul.services.tenants import create
from haneul.store import cached
from haneul.store.database import open_database

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEADER = "x-haneul-cache"
ZERO = {"temperature": 0}


async def rule(cloud, tenant, name, value):
    """What `haneul tenants set` does, and the cloud has seen it."""
    await cloud.cloud.database.call(
        lambda connection: decide(connection, TENANT, tenant, name, value, actor="test")
    )
    await cloud.cloud.rules.refresh()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenant(cloud):
    """A tenant whose answers are given again."""
    await cloud.cloud.database.call(lambda connection: create(connection, "thrifty", "", actor="t"))
    await rule(cloud, "thrifty", "cache", "deterministic")
    return "thrifty"


@pytest_asyncio.fixture(loop_scope="module")
async def thrifty(cloud, tenant):
    return await cloud.make_key(tenant_id=tenant)


async def test_the_same_request_is_answered_again_without_the_engine(cloud, thrifty):
    fake = await cloud.add_engine()
    first = await cloud.chat(thrifty.secret, fake.models[0], **ZERO)
    again = await cloud.chat(thrifty.secret, fake.models[0], **ZERO)
    assert [answer.headers[HEADER] for answer in (first, again)] == ["miss", "hit"]
    assert "age" not in first.headers
    assert int(again.headers["age"]) <= 5
    said, same = first.json(), again.json()
    assert same["usage"].pop("cost_nano") == 0
    assert said["usage"].pop("cost_nano") == cloud.cost(2, 4)
    assert same == said
    assert fake.seen.requests == 1
    one, two = await cloud.rows(thrifty.key.id)
    assert (two.routed, two.cost_nano, two.share_millionths) == (CACHE, 0, 0)
    assert (two.engine, two.model, two.state) == (one.engine, one.model, "done")
    assert two.completion_tokens == one.completion_tokens == 4
    assert (await cloud.me(thrifty.secret))["reserved_nano"] == 0


async def test_a_whole_answer_is_streamed_and_a_streamed_one_given_whole(cloud, thrifty):
    fake = await cloud.add_engine()
    client = cloud.client(thrifty.secret)

    async def streamed(text):
        stream = await client.chat.completions.create(
            model=fake.models[0],
            messages=[{"role": "user", "content": text}],
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        ends = [c.choices[0].finish_reason for c in chunks if c.choices]
        return said, ends[-1], chunks[-1].usage

    for first, second in (("whole", "stream"), ("stream", "whole"), ("stream", "stream")):
        text = f"{first} then {second}"
        for way in (first, second):
            if way == "whole":
                answer = await client.chat.completions.create(
                    model=fake.models[0],
                    messages=[{"role": "user", "content": text}],
                    temperature=0,
                )
                said = answer.choices[0].message.content
                end, usage = answer.choices[0].finish_reason, answer.usage
            else:
                said, end, usage = await streamed(text)
            assert (said, end, usage.completion_tokens) == ("one two three four ", "stop", 4)
            assert usage.prompt_tokens == 3
    assert fake.seen.requests == 3


async def test_calls_thoughts_and_scores_survive_the_change_of_form(cloud, thrifty):
    chunks = [
        {"delta": {"role": "assistant", "reasoning_content": "Hm"}},
        {"delta": {"reasoning_content": "m."}},
        {"delta": {"content": "Yes"}, "logprobs": {"content": [{"token": "Yes", "logprob": -1}]}},
        {"delta": {"tool_calls": [call(0, id="c1", name="f", arguments='{"a"')]}},
        {"delta": {"tool_calls": [call(0, arguments=": 1}")]}},
        {"delta": {"tool_calls": [call(1, id="c2", name="g", arguments="{}")]}},
        {"delta": {}, "finish_reason": "tool_calls"},
    ]
    events = [{"id": "x", "choices": [{"index": 0, **chunk}]} for chunk in chunks]
    usage = {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12}
    events.append({"id": "x", "choices": [], "usage": usage})
    pieces = (*(b"data: " + msgspec.json.encode(e) + b"\n\n" for e in events), b"data: [DONE]\n\n")
    fake = await cloud.add_engine(pieces=pieces)
    first = await cloud.chat(thrifty.secret, fake.models[0], stream=True, **ZERO)
    whole = await cloud.chat(thrifty.secret, fake.models[0], **ZERO)
    again = await cloud.chat(thrifty.secret, fake.models[0], stream=True, **ZERO)
    assert [answer.headers[HEADER] for answer in (first, whole, again)] == ["miss", "hit", "hit"]
    (choice,) = whole.json()["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": "Yes",
        "reasoning_content": "Hmm.",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
            {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }
    assert choice["logprobs"] == {"content": [{"token": "Yes", "logprob": -1}]}
    deltas = [
        choice["delta"]
        for event in again.events()[:-1]
        for choice in msgspec.json.decode(event)["choices"]
    ]
    assert {"reasoning_content": "Hmm."} in deltas
    assert [d["tool_calls"][1]["index"] for d in deltas if "tool_calls" in d] == [1]


def call(index, **facts):
    named = {name: facts[name] for name in ("name", "arguments") if name in facts}
    more = {"id": facts["id"], "type": "function"} if "id" in facts else {}
    return {"index": index, **more, "function": named}


async def test_anthropics_clients_share_what_openais_asked_for(cloud, thrifty):
    fake = await cloud.add_engine()
    await cloud.chat(thrifty.secret, fake.models[0], "hello", max_tokens=50, **ZERO)
    async with anthropic.AsyncAnthropic(
        base_url=cloud.root, api_key=thrifty.secret, max_retries=0
    ) as client:
        raw = await client.messages.with_raw_response.create(
            model=fake.models[0],
            max_tokens=50,
            messages=[{"role": "user", "content": "hello"}],
            extra_body={"temperature": 0},
        )
    assert raw.headers[HEADER] == "hit"
    assert (await raw.parse()).content[0].text == "one two three four "


async def test_what_is_written_otherwise_is_the_same_and_what_asks_otherwise_is_not(cloud, thrifty):
    fake = await cloud.add_engine()
    model = fake.models[0]
    await cloud.chat(thrifty.secret, model, max_tokens=9, **ZERO)
    same = await cloud.ask(
        "POST",
        "/v1/chat/completions",
        b'{"max_completion_tokens": 9, "temperature": 0.0, "user": "somebody", "top_p": null,'
        b' "messages": [{"content": "say it", "role": "user"}], "model": "%b"}' % model.encode(),
        secret=thrifty.secret,
    )
    assert same.headers[HEADER] == "hit"
    others = [{"max_tokens": 8}, {"max_tokens": 9, "top_k": 4}, {"max_tokens": 9, "text": "x"}]
    for other in others:
        answer = await cloud.chat(thrifty.secret, model, **ZERO, **other)
        assert answer.headers[HEADER] == "miss", other
    chance = await cloud.chat(thrifty.secret, model, max_tokens=9, temperature=0.7)
    assert HEADER not in chance.headers
    seeded = await cloud.chat(thrifty.secret, model, temperature=0.7, seed=3)
    assert seeded.headers[HEADER] == "miss"


async def test_requests_that_come_together_are_computed_once(cloud, thrifty):
    fake = await cloud.add_engine(delay_s=0.05)
    asked = [
        cloud.chat(thrifty.secret, fake.models[0], stream=n % 2 == 0, **ZERO) for n in range(8)
    ]
    answers = await asyncio.gather(*asked)
    assert fake.seen.requests == 1
    assert sorted(answer.headers[HEADER] for answer in answers) == ["hit"] * 7 + ["miss"]
    assert all(answer.status == 200 for answer in answers)
    rows = await cloud.rows(thrifty.key.id)
    assert sorted(row.routed for row in rows) == [CACHE] * 7 + ["only"]


async def test_when_the_first_fails_the_others_ask_for_themselves(cloud, thrifty):
    fake = await cloud.add_engine(delay_s=0.02, die_after=2)
    asked = [cloud.chat(thrifty.secret, fake.models[0], **ZERO) for _ in range(4)]
    answers = await asyncio.gather(*asked)
    assert [answer.status for answer in answers] == [503] * 4
    assert fake.seen.requests == 4
    fake.faults = msgspec.structs.replace(fake.faults, die_after=None)
    after = await cloud.chat(thrifty.secret, fake.models[0], **ZERO)
    assert (after.status, after.headers[HEADER]) == (200, "miss")


async def test_when_the_first_hangs_up_the_one_that_waits_asks_for_itself(cloud, thrifty):
    fake = await cloud.add_engine(delay_s=0.1, words=["a"] * 20)
    first = asyncio.create_task(cloud.chat(thrifty.secret, fake.models[0], stream=True, **ZERO))
    await cloud.until(lambda: fake.seen.running == 1, what="the first is inside")
    second = asyncio.create_task(cloud.chat(thrifty.secret, fake.models[0], stream=True, **ZERO))
    await asyncio.sleep(0.1)
    assert fake.seen.requests == 1
    first.cancel()
    answer = await second
    assert (answer.status, answer.headers[HEADER]) == (200, "miss")
    assert fake.seen.requests == 2
    states = sorted(row.state for row in await cloud.rows(thrifty.key.id))
    assert states == ["aborted", "done"]


async def test_cut_answers_and_hang_ups_are_not_kept(cloud, thrifty):
    fake = await cloud.add_engine(error_after=2)
    broken = await cloud.chat(thrifty.secret, fake.models[0], stream=True, **ZERO)
    assert "error" in broken.events()[-1]
    fake.faults = msgspec.structs.replace(fake.faults, error_after=None)
    whole = await cloud.chat(thrifty.secret, fake.models[0], **ZERO)
    assert whole.headers[HEADER] == "miss"
    cut = {"choices": [{"message": {"content": "o"}, "finish_reason": "length"}], "id": "y"}
    short = await cloud.add_engine(whole=msgspec.json.encode(cut))
    for _ in range(2):  # its end was set by nobody who asked
        assert (await cloud.chat(thrifty.secret, short.models[0], **ZERO)).headers[HEADER] == "miss"
    for way in ("miss", "hit"):  # but here it was
        answer = await cloud.chat(thrifty.secret, short.models[0], max_tokens=1, **ZERO)
        assert answer.headers[HEADER] == way


async def test_a_request_says_no_in_the_words_of_http(cloud, thrifty):
    fake = await cloud.add_engine()
    body = {"model": fake.models[0], "messages": [{"role": "user", "content": "x"}], **ZERO}

    async def ask(wish):
        return await cloud.ask(
            "POST", "/v1/chat/completions", body, secret=thrifty.secret, **{HEADER: wish}
        )

    refused = await ask("only-if-cached")
    assert (refused.status, refused.error()["code"]) == (504, "not_cached")
    assert HEADER not in (await ask("no-store")).headers
    assert (await ask("only-if-cached")).status == 504
    assert (await ask("no-cache")).headers[HEADER] == "miss"
    assert (await ask("only-if-cached")).headers[HEADER] == "hit"
    assert (await ask("max-age=60")).headers[HEADER] == "hit"
    assert (await ask("max-age=0")).headers[HEADER] == "miss"
    unknown = await ask("maybe")
    assert (unknown.status, unknown.error()["param"]) == (400, HEADER)


async def test_tenants_share_nothing_and_without_the_rule_nothing_is_kept(cloud, thrifty, key):
    fake = await cloud.add_engine()
    await cloud.chat(thrifty.secret, fake.models[0], **ZERO)
    other = await cloud.chat(key.secret, fake.models[0], **ZERO)
    assert HEADER not in other.headers
    await cloud.cloud.database.call(lambda connection: create(connection, "next", "", actor="t"))
    await rule(cloud, "next", "cache", "all")
    neighbour = await cloud.make_key(tenant_id="next")
    answers = [await cloud.chat(neighbour.secret, fake.models[0]) for _ in range(2)]
    assert [answer.headers[HEADER] for answer in answers] == ["miss", "hit"]  # of all, chance too
    assert (await cloud.chat(neighbour.secret, fake.models[0], **ZERO)).headers[HEADER] == "miss"
    await rule(cloud, "next", "cache", "none")
    await rule(cloud, "next", "cache", "all")
    assert (await cloud.chat(neighbour.secret, fake.models[0])).headers[HEADER] == "miss"


async def test_a_share_of_the_price_is_paid_where_one_is_set(cloud, thrifty, tenant):
    fake = await cloud.add_engine(cached_tokens=1)
    await rule(cloud, tenant, "cache_share", "0.25")
    try:
        for _ in range(2):
            answer = await cloud.chat(thrifty.secret, fake.models[0], **ZERO)
    finally:
        await rule(cloud, tenant, "cache_share", "none")
    paid, shared = await cloud.rows(thrifty.key.id)
    assert shared.share_millionths == 250_000
    assert shared.cost_nano == answer.json()["usage"]["cost_nano"]
    assert abs(shared.cost_nano * 4 - paid.cost_nano) <= 2


async def test_another_version_of_the_model_answers_anew(cloud, thrifty):
    fake = await cloud.add_engine(name="versions")
    await cloud.chat(thrifty.secret, fake.models[0], **ZERO)
    assert (await cloud.chat(thrifty.secret, fake.models[0], **ZERO)).headers[HEADER] == "hit"
    await asyncio.sleep(0.01)
    await cloud.put_engine("versions", fake.url, fake.models)  # added anew, at another moment
    assert (await cloud.chat(thrifty.secret, fake.models[0], **ZERO)).headers[HEADER] == "miss"


async def test_vectors_are_kept_too_and_token_numbers_are_texts_of_their_own(cloud, thrifty):
    fake = await cloud.add_engine()
    for way in ("miss", "hit"):
        body = {"model": fake.models[0], "input": "some text"}
        answer = await cloud.ask("POST", "/v1/embeddings", body, secret=thrifty.secret)
        assert answer.headers[HEADER] == way
        assert answer.json()["data"][0]["embedding"] == [1.0, 0.0]
    texts = {"model": fake.models[0], "prompt": "a", "temperature": 0}
    for stream, way in ((True, "miss"), (False, "hit"), (True, "hit")):
        answer = await cloud.ask(
            "POST", "/v1/completions", {**texts, "stream": stream}, secret=thrifty.secret
        )
        assert answer.headers[HEADER] == way
        assert b"four" in answer.data


async def test_bytes_and_age_are_bounded_and_the_least_used_goes_first(start_cloud):
    cloud = await start_cloud(cache_max_bytes=1 << 20)
    key, fake = await cloud.make_key(), await cloud.add_engine(words=["x" * 200_000])
    await rule(cloud, "default", "cache", "deterministic")
    for number in range(7):
        await cloud.chat(key.secret, fake.models[0], str(number), **ZERO)
        await cloud.chat(key.secret, fake.models[0], "0", **ZERO)  # used again and again
    await asyncio.gather(*cloud.cloud.cached._writing)
    await cloud.cloud.cached.forget()
    count, size = await cloud.cloud.database.ask(cached.held)
    assert size <= 1 << 20
    assert count == 5
    assert (await cloud.chat(key.secret, fake.models[0], "0", **ZERO)).headers[HEADER] == "hit"
    assert (await cloud.chat(key.secret, fake.models[0], "1", **ZERO)).headers[HEADER] == "miss"


@pytest.mark.slow
async def test_a_kept_answer_outlives_a_kill(process, start_cloud):
    cloud = await start_cloud()
    fake = await cloud.add_engine()
    key = process.prepare(fake.url, fake.models)
    database = open_database("", process.home)
    database.run(lambda c: decide(c, TENANT, "default", "cache", "deterministic", actor="t"))
    database.close()
    ways = []
    for _ in range(2):
        await process.start()
        cloud.root = f"http://127.0.0.1:{process.port}"
        answer = await cloud.chat(key.secret, fake.models[0], **ZERO)
        ways.append(answer.headers[HEADER])
        if len(ways) == 1:
            again = await cloud.chat(key.secret, fake.models[0], **ZERO)
            assert again.headers[HEADER] == "hit"
            await asyncio.sleep(0.3)
        await process.end()
    assert ways == ["miss", "hit"]
    assert fake.seen.requests == 1


async def test_a_wish_for_kept_answers_holds_where_none_are_kept_too(cloud, key):
    engine = await cloud.add_engine()
    body = {"model": engine.models[0], "messages": [{"role": "user", "content": "x"}]}
    path = "/v1/chat/completions"
    for said, status in (("false", 400), ("max-age=²", 400), ("only-if-cached", 504)):
        headers = {"x-haneul-cache": said}
        answer = await cloud.ask("POST", path, body, secret=key.secret, **headers)
        assert answer.status == status, (said, answer.data)
    wanted = await cloud.ask(
        "POST", path, body, secret=key.secret, **{"x-haneul-cache": "no-store"}
    )
    assert (wanted.status, engine.seen.requests) == (200, 1)
