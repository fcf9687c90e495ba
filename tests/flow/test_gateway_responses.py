"""The Responses API, as OpenAI's own client asks it, over engines that speak chat."""

from __future__ import annotations

import json
import re
from pathlib import Path

import openai
import pytest
from pydantic import BaseModel

from haneul.testing.engine import FakeEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOLDEN = Path(__file__).parent.parent / "golden"
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}


def chunk(delta=None, finish_reason=None, **fields):
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"id": "c", "choices": [choice], **fields}).encode() + b"\n\n"


def whole(message, finish_reason="stop", **usage):
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 7, "completion_tokens": 5, **usage}
    return json.dumps({"id": "c", "choices": [choice], "usage": usage}).encode()


USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":6}}\n\n'
DONE = b"data: [DONE]\n\n"
CALL = {"index": 0, "id": "call_1", "type": "function"}
THINKS_SPEAKS_CALLS = (
    chunk({"role": "assistant", "reasoning_content": "Let me "}),
    chunk({"reasoning_content": "see."}),
    b": still here\n\n",
    chunk({"content": "I look "}),
    chunk({"content": "it up."}),
    chunk({"tool_calls": [{**CALL, "function": {"name": "weather", "arguments": ""}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Seoul"}'}}]}),
    chunk({}, "tool_calls"),
    USAGE,
    DONE,
)


async def test_a_text_is_answered_as_a_response_and_billed_like_any_request(cloud, key):
    engine = await cloud.add_engine(words=["blue", "sky"], cached_tokens=1)
    raw = await cloud.client(key.secret).responses.with_raw_response.create(
        model=engine.models[0],
        input="three small words",
        instructions="Be brief.",
        metadata={"purpose": "test"},
        max_output_tokens=64,
        temperature=0.5,
        user="somebody",
    )
    answer = raw.parse()
    assert re.fullmatch("resp_[0-9a-z]{26}", answer.id)
    assert (answer.object, answer.status, answer.error) == ("response", "completed", None)
    assert answer.output_text == "blue sky "
    (message,) = answer.output
    assert (message.type, message.role, message.status) == ("message", "assistant", "completed")
    assert message.id.startswith("msg_")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (5, 2)
    assert answer.usage.total_tokens == 7
    assert answer.usage.input_tokens_details.cached_tokens == 1
    assert answer.usage.cost_nano == cloud.cost(5, 2, cached=1)
    assert answer.metadata == {"purpose": "test"}
    assert (answer.instructions, answer.max_output_tokens) == ("Be brief.", 64)
    body = engine.seen.bodies[-1]
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "three small words"},
    ]
    assert (body["max_completion_tokens"], body["temperature"]) == (64, 0.5)
    row = await cloud.row(raw.headers["x-request-id"])
    assert (row.route, row.state, row.end_user) == ("responses", "done", "somebody")
    assert row.cost_nano == cloud.cost(5, 2, cached=1)


async def test_a_stream_tells_every_step_in_order_and_ends_with_the_whole(cloud, key):
    engine = await cloud.add_engine(pieces=THINKS_SPEAKS_CALLS)
    client = cloud.client(key.secret)
    stream = await client.responses.create(
        model=engine.models[0], input="Weather?", tools=[WEATHER], stream=True
    )
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = [event.type for event in events]
    assert text == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_text.delta",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    last = events[-1].response
    thoughts, words, call = last.output
    assert thoughts.content[0].text == "Let me see."
    assert words.content[0].text == "I look it up."
    assert (call.call_id, call.name, call.arguments) == ("call_1", "weather", '{"city":"Seoul"}')
    assert (last.usage.input_tokens, last.usage.output_tokens) == (9, 6)
    row = await cloud.row(stream.response.headers["x-request-id"])
    assert (row.state, row.is_stream, row.cost_nano) == ("done", 1, last.usage.cost_nano)
    kept = await client.responses.retrieve(last.id)
    assert kept.to_dict() == last.to_dict()


async def test_the_wire_is_as_the_golden_file_has_it(cloud, key):
    engine = await cloud.add_engine(name="golden", models=("golden",), pieces=THINKS_SPEAKS_CALLS)
    body = {"model": "golden", "input": "Weather?", "tools": [WEATHER], "stream": True}
    answer = await cloud.ask("POST", "/v1/responses", body, secret=key.secret)
    assert engine.seen.requests == 1
    path = GOLDEN / "responses_stream.txt"
    said = steady(answer.data.decode())
    if not path.exists():
        path.write_text(said)
    assert said == path.read_text()


def steady(text):
    """Without what differs each time: ids by their order, and times."""
    seen = {}
    text = re.sub(
        r"\b(resp|msg|rs|fc)_[0-9a-z]{26}",
        lambda found: seen.setdefault(found[0], f"{found[1]}_{len(seen)}"),
        text,
    )
    return re.sub(r'"(created_at|completed_at)":\d+', r'"\1":0', text)


async def test_an_answer_that_is_cut_says_so(cloud, key):
    message = {"role": "assistant", "content": "as long as"}
    engine = await cloud.add_engine(whole=whole(message, "length"))
    answer = await cloud.client(key.secret).responses.create(model=engine.models[0], input="Go.")
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.output[0].status == "incomplete"
    pieces = (chunk({"content": "as"}), chunk({}, "length"), USAGE, DONE)
    engine = await cloud.add_engine(pieces=pieces)
    stream = await cloud.client(key.secret).responses.create(
        model=engine.models[0], input="Go.", stream=True
    )
    *_, last = [event async for event in stream]
    assert last.type == "response.incomplete"
    assert last.response.output[0].status == "incomplete"


@pytest.mark.parametrize("fault", ["die_after", "error_after"])
async def test_a_stream_that_breaks_ends_with_response_failed_and_is_not_kept(cloud, key, fault):
    engine = await cloud.add_engine(**{fault: 2})
    client = cloud.client(key.secret)
    stream = await client.responses.create(model=engine.models[0], input="Go.", stream=True)
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert (last.type, last.response.status) == ("response.failed", "failed")
    assert last.response.error.code == "server_error"
    assert last.response.output[0].content[0].text == "one two "
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(last.response.id)
    row = await cloud.row(stream.response.headers["x-request-id"])
    assert (row.state, row.completion_tokens) == ("failed", 2)


async def test_the_clients_own_accumulator_builds_the_same_response(cloud, key):
    engine = await cloud.add_engine(pieces=THINKS_SPEAKS_CALLS)
    async with cloud.client(key.secret).responses.stream(
        model=engine.models[0], input="Weather?", tools=[WEATHER]
    ) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_response()
    assert final.output_text == "I look it up."
    assert final.output[2].arguments == '{"city":"Seoul"}'


class Person(BaseModel):
    name: str
    age: int


async def test_structured_output_is_asked_for_and_parsed(cloud, key):
    message = {"role": "assistant", "content": '{"name":"Ada","age":36}'}
    engine = await cloud.add_engine(whole=whole(message))
    answer = await cloud.client(key.secret).responses.parse(
        model=engine.models[0], input="Who?", text_format=Person
    )
    assert answer.output_parsed == Person(name="Ada", age=36)
    asked = engine.seen.bodies[-1]["response_format"]
    assert asked["type"] == "json_schema"
    assert asked["json_schema"]["schema"]["required"] == ["name", "age"]
    assert asked["json_schema"]["strict"] is True


async def test_a_function_is_called_and_its_result_continues_the_conversation(cloud, key):
    call = {"id": "call_9", "function": {"name": "weather", "arguments": '{"city":"Seoul"}'}}
    message = {
        "role": "assistant",
        "content": None,
        "reasoning_content": "Hm.",
        "tool_calls": [call],
    }
    first = await cloud.add_engine(whole=whole(message, "tool_calls"))
    client = cloud.client(key.secret)
    fields = {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "weather"}}
    asked = await client.responses.create(model=first.models[0], input="Weather?", **fields)
    thoughts, called = asked.output
    assert (thoughts.type, called.type, called.name) == ("reasoning", "function_call", "weather")
    assert first.seen.bodies[-1]["tools"] == [
        {
            "type": "function",
            "function": {
                name: WEATHER[name] for name in ("name", "description", "parameters", "strict")
            },
        }
    ]
    assert first.seen.bodies[-1]["tool_choice"]["function"] == {"name": "weather"}

    second = await cloud.add_engine(words=["Sunny."])
    result = {"type": "function_call_output", "call_id": called.call_id, "output": "sun"}
    expected = [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "reasoning_content": "Hm.",
            "tool_calls": [
                {
                    "id": "call_9",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Seoul"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_9", "content": "sun"},
    ]
    told = [{"role": "user", "content": "Weather?"}, *asked.output, result]
    whole_told = await client.responses.create(model=second.models[0], input=told, tools=[WEATHER])
    assert whole_told.output_text == "Sunny. "
    assert second.seen.bodies[-1]["messages"] == expected
    continued = await client.responses.create(
        model=second.models[0], input=[result], tools=[WEATHER], previous_response_id=asked.id
    )
    assert second.seen.bodies[-1]["messages"] == expected
    assert continued.previous_response_id == asked.id


async def test_a_conversation_goes_on_from_what_is_kept_without_its_instructions(cloud, key):
    engine = await cloud.add_engine(words=["yes"])
    client = cloud.client(key.secret)
    model = engine.models[0]
    first = await client.responses.create(model=model, input="one", instructions="Be kind.")
    stream = await client.responses.create(
        model=model, input="two", previous_response_id=first.id, stream=True
    )
    *_, last = [event async for event in stream]
    third = await client.responses.create(
        model=model, input="three", previous_response_id=last.response.id, instructions="Be brief."
    )
    assert engine.seen.bodies[-1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "yes "},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "yes "},
        {"role": "user", "content": "three"},
    ]
    items = [item async for item in client.responses.input_items.list(third.id, order="asc")]
    assert [item.content[0].text for item in items] == ["one", "yes ", "two", "yes ", "three"]
    newest = await client.responses.input_items.list(third.id, limit=2)
    assert [item.content[0].text for item in newest.data] == ["three", "yes "]
    assert newest.has_more
    after = await client.responses.input_items.list(third.id, limit=2, after=newest.last_id)
    assert [item.content[0].text for item in after.data] == ["two", "yes "]


async def test_a_deleted_response_is_gone_for_all_that_continue_it(cloud, key):
    engine = await cloud.add_engine(words=["unforgettable"])
    client = cloud.client(key.secret)
    first = await client.responses.create(model=engine.models[0], input="my secret is rosebud")
    second = await client.responses.create(
        model=engine.models[0], input="go on", previous_response_id=first.id
    )
    await client.responses.delete(first.id)
    for response_id in (first.id, second.id):
        with pytest.raises(openai.NotFoundError) as raised:
            await client.responses.create(
                model=engine.models[0], input="?", previous_response_id=response_id
            )
        assert raised.value.param == "previous_response_id"
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.delete(first.id)
    assert (await client.responses.retrieve(second.id)).id == second.id
    home = cloud.cloud.config.home
    await cloud.cloud.database.call(lambda c: c.exec_driver_sql("SELECT 1").fetchall())
    with cloud.cloud.database.engine.connect() as connection:
        connection.connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    held = b"".join(path.read_bytes() for path in home.glob("haneul.db*"))
    assert b"rosebud" not in held, "deleted rows are overwritten"
    assert b"go on" in held


async def test_what_is_not_to_be_kept_is_not(cloud, key):
    engine = await cloud.add_engine()
    client = cloud.client(key.secret)
    answer = await client.responses.create(model=engine.models[0], input="x", store=False)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(answer.id)


async def test_a_response_is_there_for_its_own_key_alone(cloud, key):
    engine = await cloud.add_engine()
    other = cloud.client((await cloud.make_key()).secret)
    answer = await cloud.client(key.secret).responses.create(model=engine.models[0], input="mine")
    for attempt in (
        other.responses.retrieve(answer.id),
        other.responses.delete(answer.id),
        other.responses.input_items.list(answer.id),
        other.responses.create(model=engine.models[0], input="?", previous_response_id=answer.id),
    ):
        with pytest.raises(openai.NotFoundError):
            await attempt
    assert (await cloud.client(key.secret).responses.retrieve(answer.id)).id == answer.id


async def test_a_key_has_room_for_so_many_bytes_and_its_longest_unused_responses_go(start_cloud):
    cloud = await start_cloud(responses_max_bytes=1 << 20)
    made = await cloud.make_key()
    engine = await cloud.add_engine()
    client = cloud.client(made.secret)
    answers = [
        await client.responses.create(model=engine.models[0], input="x" * 300_000) for _ in range(3)
    ]
    await client.responses.create(
        model=engine.models[0], input="still used", previous_response_id=answers[0].id
    )
    answers.append(await client.responses.create(model=engine.models[0], input="x" * 300_000))
    found = [await there(client, answer.id) for answer in answers]
    assert found == [True, False, True, True]


async def there(client, response_id):
    try:
        await client.responses.retrieve(response_id)
    except openai.NotFoundError:
        return False
    return True


async def test_scores_are_given_where_they_are_asked_for(cloud, key):
    scores = [{"token": "hi", "logprob": -0.5, "bytes": [104, 105], "top_logprobs": []}]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "hi"},
        "logprobs": {"content": scores},
        "finish_reason": "stop",
    }
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    engine = await cloud.add_engine(
        whole=json.dumps({"choices": [choice], "usage": usage}).encode()
    )
    answer = await cloud.client(key.secret).responses.create(
        model=engine.models[0],
        input="x",
        include=["message.output_text.logprobs"],
        top_logprobs=2,
    )
    assert answer.output[0].content[0].logprobs[0].logprob == -0.5
    body = engine.seen.bodies[-1]
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)


USER = {"role": "user", "content": "x"}
BAD = [
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": [7]}, "input[0]"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
    ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
    ({"input": [USER, {**USER, "mood": "good"}]}, "input[1].mood"),
    ({"input": [{**USER, "content": [{"type": "input_file"}]}]}, "input[0].content[0].type"),
    ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
    ({"input": [{"type": "reasoning", "encrypted_content": "x"}]}, "input[0].encrypted_content"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tool_choice": "maybe"}, "tool_choice"),
    ({"tool_choice": {"type": "file_search"}}, "tool_choice.type"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ({"text": {"format": {"type": "json_schema", "colour": 1}}}, "text.format.colour"),
    ({"background": True}, "background"),
    ({"truncation": "auto"}, "truncation"),
    ({"include": ["reasoning.encrypted_content"]}, "include[0]"),
    ({"reasoning": {"summary": "detailed"}}, "reasoning.summary"),
    ({"service_tier": "flex"}, "service_tier"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"prompt": {"id": "p"}}, "prompt"),
    ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"temperature": "hot"}, "temperature"),
    ({"metadata": {"a": 1}}, "metadata[...]"),
    ({"previous_response_id": "resp_none"}, "previous_response_id"),
]


@pytest.mark.parametrize(("fields", "param"), BAD, ids=[param for _, param in BAD])
async def test_what_is_not_done_is_refused_by_its_name_before_any_engine(cloud, key, fields, param):
    engine = await cloud.add_engine()
    body = {"model": engine.models[0], "input": "x", **fields}
    answer = await cloud.ask("POST", "/v1/responses", body, secret=key.secret)
    assert answer.status == (404 if param == "previous_response_id" else 400)
    assert answer.error()["param"] == param
    assert engine.seen.requests == 0
    row = await cloud.row(answer.id)
    assert (row.route, row.state) == ("responses", "refused")


async def test_addresses_below_refuse_what_they_do_not_do(cloud, key):
    for method, path, status in (
        ("GET", "/v1/responses/resp_none", 404),
        ("GET", "/v1/responses/resp_none/input_items", 404),
        ("GET", "/v1/responses/resp_none/else", 404),
        ("GET", "/v1/responses/resp_none?stream=true", 400),
        ("GET", "/v1/responses/resp_none/input_items?limit=0", 400),
        ("GET", "/v1/responses/resp_none/input_items?order=random", 400),
        ("POST", "/v1/responses/resp_none/cancel", 405),
        ("DELETE", "/v1/responses/resp_none", 404),
        ("GET", "/v1/responses", 405),
    ):
        answer = await cloud.ask(method, path, secret=key.secret)
        assert (answer.status, method, path) == (status, method, path)
        answer.error()
    assert (await cloud.ask("GET", "/v1/responses/resp_none")).status == 401


async def test_an_engine_without_counts_is_counted(cloud, key):
    choice = {"index": 0, "message": {"content": "12345678"}, "finish_reason": "stop"}
    engine = await cloud.add_engine(whole=json.dumps({"choices": [choice]}).encode())
    answer = await cloud.client(key.secret).responses.create(model=engine.models[0], input="x")
    assert answer.usage.output_tokens == 2
    assert isinstance(engine, FakeEngine)
