"""Every dialect goes the one path: the same words, counts, caps, hang-ups and other engines."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "go on"}]


def asked(path, model, *, is_stream=False, most=None):
    """The same question at an address; `most`: tokens of the answer."""
    if path == "/v1/messages":
        system, user = MESSAGES
        body = {"system": system["content"], "messages": [user], "max_tokens": most or 4000}
        return {"model": model, "stream": is_stream, "temperature": 0, **body}
    body = {"model": model, "messages": MESSAGES, "stream": is_stream}
    if path == "/api/chat":
        limit = {"num_predict": most} if most else {}
        return {**body, "options": {"temperature": 0, **limit}}
    return {**body, "temperature": 0, **({"max_tokens": most} if most else {})}


def text_of(path, answer):
    """The words of a whole answer."""
    if path == "/v1/messages":
        return "".join(block["text"] for block in answer["content"])
    if path == "/api/chat":
        return answer["message"]["content"]
    return answer["choices"][0]["message"]["content"]


PATHS = ["/v1/chat/completions", "/v1/messages", "/api/chat"]
TOLD = ["/v1/messages", "/api/chat"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(cloud, tiny_model):
    """The target of a tiny model of random weights that this cloud has loaded."""
    return await cloud.cloud.serve(str(tiny_model))


async def test_the_same_question_has_the_same_answer_and_price_in_every_dialect(cloud, key, served):
    texts = set()
    for path in PATHS:
        body = asked(path, served.model, most=9)
        answer = await cloud.ask("POST", path, body, secret=key.secret)
        assert answer.status == 200, answer.data
        texts.add(text_of(path, answer.json()))
    assert len(texts) == 1
    rows = await cloud.rows(key.key.id)
    assert len({(row.prompt_tokens, row.completion_tokens) for row in rows}) == 1
    assert [row.route for row in rows] == ["chat", "messages", "ollama_chat"]


@pytest.mark.parametrize("path", TOLD)
async def test_a_hang_up_frees_the_engine_and_is_billed_for_what_was_sent(cloud, key, path):
    engine = await cloud.add_engine(words=[f"w{n}" for n in range(400)], delay_s=0.01)
    body = asked(path, engine.models[0], is_stream=True)
    headers = {"authorization": f"Bearer {key.secret}"}
    async with (
        aiohttp.ClientSession(headers=headers) as web,
        web.post(cloud.root + path, data=json.dumps(body)) as answer,
    ):
        request_id = answer.headers["x-request-id"]
        read = b""
        while b'"w5 "' not in read:
            read += await answer.content.readany()
    await cloud.until(lambda: engine.seen.hang_ups == 1, what="the engine is left")
    row = await cloud.row(request_id)
    assert (row.state, row.status) == ("aborted", 499)
    assert 6 <= row.completion_tokens <= engine.seen.completion_tokens
    assert row.cost_nano == cloud.cost(row.prompt_tokens, row.completion_tokens)


@pytest.mark.parametrize("path", TOLD)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_another_engine_answers_where_the_first_refuses(cloud, key, path, is_stream):
    name = f"shared{path.replace('/', '-')}-{is_stream}"
    first = await cloud.add_engine(models=(name,), status=503, price=cloud.cheaper)
    second = await cloud.add_engine(models=(name,), words=["here"])
    body = asked(path, name, is_stream=is_stream)
    answer = await cloud.ask("POST", path, body, secret=key.secret)
    assert answer.status == 200
    assert b"here " in answer.data
    assert (first.seen.requests, second.seen.requests) == (1, 1)


async def test_a_budget_caps_an_answer_whose_length_nobody_said(cloud):
    key = await cloud.make_key(budget="0.001")
    engine = await cloud.add_engine()
    body = asked("/api/chat", engine.models[0])
    answer = await cloud.ask("POST", "/api/chat", body, secret=key.secret)
    assert answer.status == 200
    assert 0 < engine.seen.bodies[0]["max_completion_tokens"] < 10_000


@pytest.mark.parametrize("path", TOLD)
async def test_an_engines_refusal_keeps_its_status_and_its_words(cloud, key, path):
    engine = await cloud.add_engine(status=400)
    body = asked(path, engine.models[0])
    answer = await cloud.ask("POST", path, body, secret=key.secret)
    assert answer.status == 400
    assert b"the fake refuses" in answer.data


@pytest.mark.parametrize("path", TOLD)
async def test_many_streams_at_once_keep_their_words_apart(cloud, key, path):
    engines = [
        await cloud.add_engine(words=[f"e{number}n{word}" for word in range(30)], delay_s=0.001)
        for number in range(8)
    ]

    async def ask(engine):
        body = asked(path, engine.models[0], is_stream=True)
        return await cloud.ask("POST", path, body, secret=key.secret)

    answers = await asyncio.gather(*(ask(engine) for engine in engines))
    for number, answer in enumerate(answers):
        for word in range(30):
            assert f"e{number}n{word} ".encode() in answer.data
        others = [other for other in range(8) if other != number]
        assert not any(f'"e{other}n'.encode() in answer.data for other in others)
