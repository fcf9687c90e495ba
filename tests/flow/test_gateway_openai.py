"""What OpenAI's own client gets through the gateway, and what the ledger keeps of it."""

from __future__ import annotations

import json

import openai
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "three small words"}]


async def test_a_whole_chat_is_answered_and_billed_as_the_engine_counted(cloud, key):
    engine = await cloud.add_engine(words=["blue", "sky"])
    client = cloud.client(key.secret)
    raw = await client.chat.completions.with_raw_response.create(
        model=engine.models[0], messages=MESSAGES
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == "blue sky "
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 2)
    assert answer.usage.cost_nano == cloud.cost(3, 2)
    assert answer.usage.currency == "USD"
    row = await cloud.row(raw.headers["x-request-id"])
    assert (row.state, row.status, row.metering, row.is_stream) == ("done", 200, "engine", 0)
    assert (row.prompt_tokens, row.completion_tokens) == (3, 2)
    assert (engine.seen.prompt_tokens, engine.seen.completion_tokens) == (3, 2)
    assert row.cost_nano == cloud.cost(3, 2)
    assert row.key_id == key.key.id
    assert row.received_us <= row.started_us <= row.finished_us


async def test_a_streamed_chat_says_the_same_and_its_row_equals_the_engines_counts(cloud, key):
    engine = await cloud.add_engine(words=["a", "b", "c", "d", "e"], delay_s=0.005)
    stream = await cloud.client(key.secret).chat.completions.create(
        model=engine.models[0], messages=MESSAGES, stream=True
    )
    said = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in said)
    assert text == "a b c d e "
    assert all(chunk.usage is None for chunk in said), "nobody asked for usage"
    assert said[-1].choices[0].finish_reason == "stop"
    row = await cloud.row(stream.response.headers["x-request-id"])
    assert (row.prompt_tokens, row.completion_tokens) == (3, 5)
    assert (row.state, row.metering, row.is_stream) == ("done", "engine", 1)
    assert row.cost_nano == cloud.cost(3, 5)
    assert row.upstream_id == "fake-1"
    assert row.received_us <= row.started_us <= row.first_token_us <= row.finished_us


async def test_usage_that_was_asked_for_comes_last_with_no_choices_and_the_cost(cloud, key):
    engine = await cloud.add_engine(cached_tokens=2)
    stream = await cloud.client(key.secret).chat.completions.create(
        model=engine.models[0],
        messages=MESSAGES,
        stream=True,
        stream_options={"include_usage": True},
    )
    *before, last = [chunk async for chunk in stream]
    assert all(chunk.usage is None for chunk in before)
    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (3, 4)
    assert last.usage.prompt_tokens_details.cached_tokens == 2
    assert last.usage.cost_nano == cloud.cost(3, 4, cached=2)
    row = await cloud.row(stream.response.headers["x-request-id"])
    assert (row.cached_tokens, row.cost_nano) == (2, last.usage.cost_nano)


async def test_usage_is_counted_and_flagged_where_the_engine_gives_none(cloud, key):
    engine = await cloud.add_engine(has_usage=False)
    stream = await cloud.client(key.secret).chat.completions.create(
        model=engine.models[0],
        messages=MESSAGES,
        stream=True,
        stream_options={"include_usage": True},
    )
    last = [chunk async for chunk in stream][-1]
    assert last.choices == []
    row = await cloud.row(stream.response.headers["x-request-id"])
    assert row.metering == "counted"
    assert row.completion_tokens == last.usage.completion_tokens == 4
    assert row.prompt_tokens == last.usage.prompt_tokens > 0
    assert row.cost_nano == cloud.cost(row.prompt_tokens, 4) == last.usage.cost_nano


async def test_a_whole_answer_without_usage_is_not_free(cloud, key):
    said = {"id": "x", "choices": [{"message": {"role": "assistant", "content": "y" * 40}}]}
    engine = await cloud.add_engine(whole=json.dumps(said).encode())
    answer = await cloud.chat(key.secret, engine.models[0])
    assert answer.json() == said, "an answer without usage goes on as it came"
    row = await cloud.row(answer.id)
    assert (row.state, row.metering, row.completion_tokens) == ("done", "counted", 10)
    assert row.cost_nano == cloud.cost(row.prompt_tokens, 10) > 0


async def test_plain_completions_work_whole_and_streamed(cloud, key):
    engine = await cloud.add_engine(words=["x", "y"])
    client = cloud.client(key.secret)
    whole = await client.completions.create(model=engine.models[0], prompt="go on")
    assert whole.choices[0].text == "x y "
    stream = await client.completions.create(model=engine.models[0], prompt="go on", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == "x y "
    rows = await cloud.rows(key.key.id)
    assert [(row.route, row.prompt_tokens, row.completion_tokens) for row in rows] == [
        ("completions", 2, 2)
    ] * 2


async def test_embeddings_are_billed_by_their_prompt(cloud, key):
    engine = await cloud.add_engine()
    answer = await cloud.client(key.secret).embeddings.create(
        model=engine.models[0], input=["one two", "three"], encoding_format="float"
    )
    assert answer.data[0].embedding == [1.0, 0.0]
    (row,) = await cloud.rows(key.key.id)
    assert (row.route, row.prompt_tokens, row.completion_tokens) == ("embeddings", 3, 0)
    assert row.cost_nano == cloud.cost(3, 0)


async def test_a_limit_that_the_client_names_reaches_the_engine_under_the_same_name(cloud, key):
    engine = await cloud.add_engine()
    for name in ("max_tokens", "max_completion_tokens"):
        await cloud.chat(key.secret, engine.models[0], **{name: 2})
        assert engine.seen.bodies[-1][name] == 2
    assert [row.completion_tokens for row in await cloud.rows(key.key.id)] == [2, 2]


async def test_fields_that_haneul_does_not_know_reach_the_engine_byte_by_byte(cloud, key):
    engine = await cloud.add_engine()
    body = (
        b'{"model": "%s", "messages": [{"role": "user", "content": "\\u00e9"}], "top_k": 7,'
        b' "chat_template_kwargs": {"thinking": false}, "x": 1.0000000000000000001}'
    ) % engine.models[0].encode()
    answer = await cloud.ask("POST", "/v1/chat/completions", body, secret=key.secret)
    assert answer.status == 200
    got = engine.seen.raw[-1]
    for kept in (
        b'"top_k":7',
        b'"chat_template_kwargs":{"thinking": false}',
        b'"x":1.0000000000000000001',
        b'[{"role": "user", "content": "\\u00e9"}]',
    ):
        assert kept in got


async def test_deltas_that_haneul_does_not_know_go_on_as_they_came(cloud, key):
    odd = (
        b'data: {"id":"i","choices":[{"index":0,"delta":{"reasoning":"hm","zeta":[1, 2]},'
        b'"logprobs":null}],"system_fingerprint":"\\u00e9"}\n\n'
    )
    engine = await cloud.add_engine(pieces=(odd, b"data: [DONE]\n\n"))
    answer = await cloud.chat(key.secret, engine.models[0], stream=True)
    assert answer.data == odd + b"data: [DONE]\n\n"


async def test_the_clients_exceptions_fit_the_errors(cloud, key):
    engine = await cloud.add_engine()
    with pytest.raises(openai.AuthenticationError) as caught:
        await cloud.client("sk-hn-wrong").models.list()
    assert caught.value.code == "invalid_api_key"
    client = cloud.client(key.secret)
    with pytest.raises(openai.NotFoundError) as missing:
        await client.chat.completions.create(model="nope", messages=MESSAGES)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as bad:
        await client.chat.completions.create(
            model=engine.models[0], messages=MESSAGES, temperature=9
        )
    assert bad.value.param == "temperature"
    only_usage = await cloud.make_key(scopes=("usage",))
    with pytest.raises(openai.PermissionDeniedError):
        await cloud.client(only_usage.secret).chat.completions.create(
            model=engine.models[0], messages=MESSAGES
        )


async def test_models_are_listed_and_found_by_name(cloud, key):
    engine = await cloud.add_engine(name="list-me", models=("org/some-model",))
    client = cloud.client(key.secret)
    listed = {model.id async for model in await client.models.list()}
    assert "list-me/org/some-model" in listed
    assert (await client.models.retrieve("list-me/org/some-model")).owned_by == "list-me"
    assert engine.seen.requests == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/v1/models", 401),
        ("GET", "/nowhere", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/v1/embeddings", 401),
        ("POST", "/haneul/v1/session", 403),
    ],
)
async def test_every_answer_has_a_request_id_and_every_error_openais_shape(
    cloud, method, path, status
):
    answer = await cloud.ask(method, path)
    assert answer.status == status
    assert answer.id.startswith("req_")
    if status != 200:
        answer.error()


async def test_the_record_of_a_request_is_found_by_both_ids_and_only_by_its_key(cloud, key):
    engine = await cloud.add_engine()
    answer = await cloud.chat(key.secret, engine.models[0])
    for name in (answer.id, "fake-1"):
        found = await cloud.ask("GET", f"/haneul/v1/requests/{name}", secret=key.secret)
        assert found.json()["id"] == answer.id
    stranger = await cloud.make_key()
    for name in (answer.id, "fake-1", "%00", "a" * 300, "%EA%B0%80"):
        found = await cloud.ask("GET", f"/haneul/v1/requests/{name}", secret=stranger.secret)
        assert found.status in (400, 404)
        found.error()


async def test_usage_adds_up_to_the_rows(cloud, key):
    engine = await cloud.add_engine()
    for _ in range(3):
        await cloud.chat(key.secret, engine.models[0])
    await cloud.chat(key.secret, "nope")
    answer = await cloud.ask("GET", "/haneul/v1/usage", secret=key.secret)
    rows = await cloud.rows(key.key.id)
    usage = answer.json()["usage"]
    assert sum(line["requests"] for line in usage) == len(rows) == 4
    assert sum(line["failed"] for line in usage) == 1
    spent = sum(row.cost_nano for row in rows)
    assert sum(line["cost_nano"] for line in usage) == spent == 3 * cloud.cost(2, 4)
    assert (await cloud.me(key.secret))["spent_nano"] == spent


async def test_tool_calls_are_streamed_and_counted(cloud, key):
    tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}
    calls = [
        [{"index": 0, "id": "c1", "type": "function", "function": {"name": "now"}}],
        [{"index": 0, "function": {"arguments": "{}"}}],
    ]
    deltas = [{"role": "assistant", "tool_calls": None}, *({"tool_calls": call} for call in calls)]
    pieces = [
        b"data: %s\n\n" % json.dumps({"id": "i", "choices": [{"index": 0, "delta": d}]}).encode()
        for d in deltas
    ]
    engine = await cloud.add_engine(pieces=(*pieces, b"data: [DONE]\n\n"))
    stream = await cloud.client(key.secret).chat.completions.create(
        model=engine.models[0], messages=MESSAGES, tools=[tool], stream=True
    )
    said = [chunk.choices[0].delta.tool_calls async for chunk in stream]
    assert said[1][0].function.name == "now"
    assert said[2][0].function.arguments == "{}"
    assert engine.seen.bodies[-1]["tools"] == [tool]
    row = await cloud.row(stream.response.headers["x-request-id"])
    assert (row.state, row.completion_tokens) == ("done", 2)


async def test_every_answer_says_how_long_it_took(cloud, key):
    engine = await cloud.add_engine(delay_s=0.02)
    whole = await cloud.chat(key.secret, engine.models[0])
    assert int(whole.headers["openai-processing-ms"]) >= 20
    assert int((await cloud.ask("GET", "/nowhere")).headers["openai-processing-ms"]) < 20_000
