"""A request that is sent again with its Idempotency-Key is answered once and billed once."""

from __future__ import annotations

import asyncio

import openai
import pytest

from haneul.services import replays as service

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHAT = "/v1/chat/completions"


def body(engine, text="say it", **fields):
    return {
        "model": engine.models[0],
        "messages": [{"role": "user", "content": text}],
        **fields,
    }


async def send(cloud, key, sent, name, path=CHAT):
    return await cloud.ask("POST", path, sent, secret=key.secret, **{"idempotency-key": name})


@pytest.mark.parametrize("is_stream", [False, True])
async def test_the_first_answer_is_given_again_byte_for_byte_and_billed_once(cloud, is_stream):
    engine, key = await cloud.add_engine(), await cloud.make_key()
    sent = body(engine, stream=is_stream)
    first = await send(cloud, key, sent, "one")
    again = [await send(cloud, key, sent, "one") for _ in range(3)]
    assert first.status == 200
    assert "idempotent-replayed" not in first.headers
    for answer in again:
        assert (answer.status, answer.data) == (200, first.data)
        assert answer.headers["content-type"] == first.headers["content-type"]
        assert answer.headers["idempotent-replayed"] == "true"
        assert answer.headers["original-request"] == first.id != answer.id
    assert engine.seen.requests == 1
    assert [row.id for row in await cloud.rows(key.key.id)] == [first.id]


async def test_an_answer_is_given_again_after_it_went_to_the_store(cloud):
    engine, key = await cloud.add_engine(), await cloud.make_key()
    first = await send(cloud, key, body(engine), "stored")
    await cloud.cloud.gateway.replays.aclose()
    again = await send(cloud, key, body(engine), "stored")
    assert (again.data, engine.seen.requests) == (first.data, 1)


async def test_a_key_that_comes_with_another_body_or_address_is_refused_by_name(cloud):
    engine, key = await cloud.add_engine(), await cloud.make_key()
    await send(cloud, key, body(engine), "reused")
    other = await send(cloud, key, body(engine, "say another"), "reused")
    elsewhere = await send(cloud, key, body(engine), "reused", path="/v1/completions")
    for answer in (other, elsewhere):
        assert (answer.status, answer.error()["code"]) == (422, "idempotency_key_reused")
    assert engine.seen.requests == 1


async def test_while_the_first_one_runs_the_second_waits_outside(cloud):
    engine, key = await cloud.add_engine(delay_s=0.1), await cloud.make_key()
    first = asyncio.create_task(send(cloud, key, body(engine), "slow"))
    await cloud.until(lambda: engine.seen.requests == 1)
    second = await send(cloud, key, body(engine), "slow")
    assert (second.status, second.error()["code"]) == (409, "idempotency_key_in_use")
    assert int(second.headers["retry-after"]) >= 1
    other = await send(cloud, key, body(engine, "x"), "slow")
    assert other.status == 422
    assert (await first).status == 200
    assert (await send(cloud, key, body(engine), "slow")).data == (await first).data
    assert engine.seen.requests == 1


async def test_of_many_at_once_exactly_one_is_asked_of_an_engine(cloud):
    engine, key = await cloud.add_engine(), await cloud.make_key()
    answers = await asyncio.gather(*(send(cloud, key, body(engine), "burst") for _ in range(30)))
    assert {answer.status for answer in answers} <= {200, 409}
    assert len({answer.data for answer in answers if answer.status == 200}) == 1
    assert engine.seen.requests == 1
    assert len([row for row in await cloud.rows(key.key.id) if row.state == "done"]) == 1


async def test_what_failed_or_was_refused_runs_anew(cloud):
    engine, key = await cloud.add_engine(status=500), await cloud.make_key()
    assert (await send(cloud, key, body(engine), "again")).status == 502
    assert (await send(cloud, key, body(engine, max_tokens=-1), "again")).status == 400
    assert (await send(cloud, key, body(engine), "again")).status == 502
    assert engine.seen.requests == 2


async def test_a_request_that_was_hung_up_on_runs_anew(cloud):
    engine, key = await cloud.add_engine(delay_s=0.05), await cloud.make_key()
    running = asyncio.create_task(send(cloud, key, body(engine, stream=True), "gone"))
    await cloud.until(lambda: engine.seen.completion_tokens > 0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await cloud.settle()
    answer = await send(cloud, key, body(engine, stream=True), "gone")
    assert answer.status == 200
    assert "idempotent-replayed" not in answer.headers
    states = sorted(row.state for row in await cloud.rows(key.key.id))
    assert states == ["aborted", "done"]


async def test_the_same_name_under_another_key_is_another_request(cloud):
    engine = await cloud.add_engine()
    keys = [await cloud.make_key() for _ in range(2)]
    answers = [await send(cloud, key, body(engine), "shared") for key in keys]
    assert all("idempotent-replayed" not in answer.headers for answer in answers)
    assert engine.seen.requests == 2


async def test_a_replay_needs_a_key_that_still_may_ask(cloud):
    engine, key = await cloud.add_engine(), await cloud.make_key()
    await send(cloud, key, body(engine), "guarded")
    viewer = await cloud.make_key(role="viewer")
    assert (await send(cloud, viewer, body(engine), "guarded")).status == 403
    wrong = await cloud.ask("POST", CHAT, body(engine), **{"idempotency-key": "guarded"})
    assert wrong.status == 401


@pytest.mark.parametrize("name", ["", "x" * 256, "\x80"])
async def test_what_is_no_idempotency_key_is_refused_by_name(cloud, key, name):
    engine = await cloud.add_engine()
    answer = await send(cloud, key, body(engine), name)
    assert (answer.status, answer.error()["param"]) == (400, "idempotency-key")
    assert engine.seen.requests == 0


async def test_an_answer_too_large_to_keep_is_said_to_be(cloud):
    engine = await cloud.add_engine(words=["w" * 1000] * 1200)
    key = await cloud.make_key()
    first = await send(cloud, key, body(engine), "large")
    assert first.status == 200
    assert len(first.data) > service.ANSWER_MAX_BYTES
    again = await send(cloud, key, body(engine), "large")
    assert (again.status, again.error()["code"]) == (409, "idempotency_key_in_use")
    assert first.id in again.error()["message"]


async def test_the_genuine_client_gets_the_same_answer_for_its_header(cloud):
    engine, key = await cloud.add_engine(), await cloud.make_key()
    client = cloud.client(key.secret)
    asked = {
        "model": engine.models[0],
        "messages": [{"role": "user", "content": "hello"}],
        "extra_headers": {"Idempotency-Key": "from the client"},
    }
    first, second = [await client.chat.completions.create(**asked) for _ in range(2)]
    assert first == second
    streams = [
        [chunk async for chunk in await client.chat.completions.create(stream=True, **asked)]
        for asked in [{**asked, "extra_headers": {"Idempotency-Key": "streamed"}}] * 2
    ]
    assert streams[0] == streams[1]
    asked["messages"] = [{"role": "user", "content": "bye"}]
    with pytest.raises(openai.UnprocessableEntityError):
        await client.chat.completions.create(**asked)
