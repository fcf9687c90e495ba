"""What Anthropic's own client gets through the gateway, and what the ledger keeps of it."""

from __future__ import annotations

import json

import anthropic
import pytest
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "three small words"}]
TOOL = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
VERSION = {"anthropic-version": "2023-06-01"}


@pytest_asyncio.fixture(loop_scope="module")
async def client(cloud, key):
    """The genuine client, with the key as x-api-key; it does not try again."""
    async with anthropic.AsyncAnthropic(
        base_url=cloud.root, api_key=key.secret, max_retries=0, timeout=30
    ) as client:
        yield client


def pieces(*deltas, finish="stop", usage=(7, 5), cached=0, **of_the_last):
    """A streamed answer as an engine's events."""
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    last = {"index": 0, "delta": {}, "finish_reason": finish, **of_the_last}
    counts = {
        "prompt_tokens": usage[0],
        "completion_tokens": usage[1],
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    chunks += [{"choices": [last]}, {"choices": [], "usage": counts}]
    events = [f"data: {json.dumps({'id': 'up-1', **chunk})}\n\n" for chunk in chunks]
    return tuple(event.encode() for event in [*events, "data: [DONE]\n\n"])


def whole(message, finish="stop", **fields):
    """A whole answer of an engine."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}
    counts = {"prompt_tokens": 7, "completion_tokens": 5}
    return json.dumps({"id": "up-1", "choices": [{**choice, **fields}], "usage": counts}).encode()


async def extend(said, stream):
    """Keeps what came, also where it breaks."""
    async for text in stream:
        said.append(text)


def call_parts(index, name, *arguments, id=""):
    """The parts of one call, as they are streamed."""
    first = {"index": index, "id": id or f"call_{index}", "type": "function"}
    yield {"tool_calls": [{**first, "function": {"name": name, "arguments": ""}}]}
    for text in arguments:
        yield {"tool_calls": [{"index": index, "function": {"arguments": text}}]}


async def test_a_whole_message_is_answered_and_billed_as_the_engine_counted(cloud, key, client):
    engine = await cloud.add_engine(words=["blue", "sky"], cached_tokens=2)
    answer = await client.messages.create(
        model=engine.models[0], max_tokens=20, messages=MESSAGES, metadata={"user_id": "ann"}
    )
    assert answer.id.startswith("msg_")
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", engine.models[0])
    assert [block.text for block in answer.content] == ["blue sky "]
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (1, 2, 2)
    assert usage.cache_creation_input_tokens == 0
    assert usage.cost_nano == cloud.cost(3, 2, cached=2)
    (row,) = await cloud.rows(key.key.id)
    assert (row.route, row.state, row.metering, row.is_stream) == ("messages", "done", "engine", 0)
    assert (row.prompt_tokens, row.cached_tokens, row.completion_tokens) == (3, 2, 2)
    assert (row.end_user, row.cost_nano) == ("ann", usage.cost_nano)
    assert engine.seen.bodies[0]["max_completion_tokens"] == 20


async def test_a_streamed_message_comes_as_the_events_that_the_helper_reads(cloud, key, client):
    engine = await cloud.add_engine(words=["a", "b", "c"])
    async with client.messages.stream(
        model=engine.models[0], max_tokens=20, messages=MESSAGES
    ) as stream:
        said = [text async for text in stream.text_stream]
        final = await stream.get_final_message()
    assert said == ["a ", "b ", "c "]
    assert final.content[0].text == "a b c "
    assert final.stop_reason == "end_turn"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (3, 3)
    (row,) = await cloud.rows(key.key.id)
    assert (row.route, row.is_stream, row.completion_tokens) == ("messages", 1, 3)
    assert row.cost_nano == cloud.cost(3, 3)


async def test_the_events_of_a_stream_are_those_of_the_golden_file(cloud, key, golden):
    thinks = [{"reasoning_content": "Let me "}, {"reasoning_content": "see."}]
    says = [{"content": "It "}, {"content": "is:"}]
    calls = [*call_parts(0, "weather", '{"city":', '"Jeju"}'), *call_parts(1, "time", "{}")]
    said = pieces(*thinks, *says, *calls, finish="tool_calls", usage=(7, 5), cached=3)
    engine = await cloud.add_engine(pieces=(b": still here\n\n", *said))
    body = {"model": engine.models[0], "max_tokens": 9, "messages": MESSAGES, "stream": True}
    answer = await cloud.ask("POST", "/v1/messages", body, secret=key.secret)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = []
    for event in answer.data.decode().strip().split("\n\n"):
        name, data = event.split("\n")
        events.append({"event": name.removeprefix("event: "), **json.loads(data[6:])})
    assert all(event["event"] == event["type"] for event in events)
    for event in events:
        if "message" in event:
            event["message"]["model"] = "MODEL"
    golden("gateway_anthropic_stream", events)


async def test_thinking_comes_back_as_blocks_and_goes_on_as_the_engines_own_field(cloud, client):
    engine = await cloud.add_engine(whole=whole({"content": "4", "reasoning_content": "2+2 is 4."}))
    answer = await client.messages.create(
        model=engine.models[0],
        max_tokens=2000,
        messages=MESSAGES,
        thinking={"type": "enabled", "budget_tokens": 1024},
    )
    thought, text = answer.content
    assert (thought.type, thought.thinking, thought.signature) == ("thinking", "2+2 is 4.", "")
    assert text.text == "4"
    await client.messages.create(
        model=engine.models[0],
        max_tokens=20,
        messages=[
            *MESSAGES,
            {"role": "assistant", "content": answer.content},
            {"role": "user", "content": "and then?"},
        ],
        thinking={"type": "disabled"},
    )
    first, second = engine.seen.bodies
    assert first["chat_template_kwargs"] == {"enable_thinking": True}
    assert second["chat_template_kwargs"] == {"enable_thinking": False}
    assert second["messages"][1] == {
        "role": "assistant",
        "content": "4",
        "reasoning_content": "2+2 is 4.",
    }


async def test_thinking_is_streamed_and_left_out_where_the_client_wants_none_shown(cloud, client):
    said = pieces({"reasoning_content": "Hm. "}, {"reasoning_content": "So."}, {"content": "Yes"})
    engine = await cloud.add_engine(pieces=said)
    for display, expected in (("summarized", ["Hm. ", "So."]), ("omitted", [])):
        async with client.messages.stream(
            model=engine.models[0],
            max_tokens=20,
            messages=MESSAGES,
            thinking={"type": "adaptive", "display": display},
        ) as stream:
            thoughts = [event.thinking async for event in stream if event.type == "thinking"]
            final = await stream.get_final_message()
        assert thoughts == expected
        assert [block.type for block in final.content] == ["thinking", "text"]
        assert final.content[0].thinking == "".join(expected)
        assert final.content[1].text == "Yes"


async def test_tools_are_called_and_their_results_go_back(cloud, client):
    calls = [
        {
            "id": "call_7",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city": "Jeju"}'},
        }
    ]
    engine = await cloud.add_engine(
        whole=whole({"content": "Let me look.", "tool_calls": calls}, "tool_calls")
    )
    answer = await client.messages.create(
        model=engine.models[0],
        max_tokens=20,
        messages=MESSAGES,
        tools=[TOOL],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    )
    text, call = answer.content
    assert (answer.stop_reason, text.text) == ("tool_use", "Let me look.")
    assert (call.type, call.id, call.name, call.input) == (
        "tool_use",
        "call_7",
        "weather",
        {"city": "Jeju"},
    )
    results = [
        {"type": "tool_result", "tool_use_id": "call_7", "content": "sunny"},
        {
            "type": "tool_result",
            "tool_use_id": "call_8",
            "is_error": True,
            "content": [{"type": "text", "text": "no such city"}],
        },
        {"type": "text", "text": "Well?"},
    ]
    await client.messages.create(
        model=engine.models[0],
        max_tokens=20,
        messages=[
            *MESSAGES,
            {"role": "assistant", "content": answer.content},
            {"role": "user", "content": results},
        ],
        tools=[TOOL],
        tool_choice={"type": "tool", "name": "weather"},
    )
    first, second = engine.seen.bodies
    assert first["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (first["tool_choice"], first["parallel_tool_calls"]) == ("required", False)
    assert first["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": TOOL["description"],
                "parameters": TOOL["input_schema"],
            },
        }
    ]
    assert second["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    _, assistant, *rest = second["messages"]
    assert assistant["tool_calls"] == [
        {**calls[0], "function": {"name": "weather", "arguments": '{"city":"Jeju"}'}}
    ]
    assert rest == [
        {"role": "tool", "tool_call_id": "call_7", "content": "sunny"},
        {"role": "tool", "tool_call_id": "call_8", "content": "Error: no such city"},
        {"role": "user", "content": "Well?"},
    ]


async def test_streamed_tool_input_is_put_together_by_the_client(cloud, client):
    calls = [
        *call_parts(0, "weather", '{"ci', 'ty": "Seo', 'ul"}'),
        *call_parts(1, "weather", '{"city": "Busan"}'),
    ]
    engine = await cloud.add_engine(pieces=pieces(*calls, finish="tool_calls"))
    async with client.messages.stream(
        model=engine.models[0], max_tokens=20, messages=MESSAGES, tools=[TOOL]
    ) as stream:
        final = await stream.get_final_message()
    assert final.stop_reason == "tool_use"
    assert [block.input for block in final.content] == [{"city": "Seoul"}, {"city": "Busan"}]
    assert [block.id for block in final.content] == ["call_0", "call_1"]


@pytest.mark.parametrize(
    ("finish", "fields", "expected"),
    [
        ("stop", {}, ("end_turn", None)),
        ("stop", {"stop_reason": "END"}, ("stop_sequence", "END")),
        ("stop", {"stop_reason": 128009}, ("end_turn", None)),
        ("length", {}, ("max_tokens", None)),
        ("content_filter", {}, ("refusal", None)),
    ],
)
async def test_why_it_ended_is_told_whole_and_streamed_alike(
    cloud, client, finish, fields, expected
):
    engine = await cloud.add_engine(
        whole=whole({"content": "a"}, finish, **fields),
        pieces=pieces({"content": "a"}, finish=finish, **fields),
    )
    asked = {
        "model": engine.models[0],
        "max_tokens": 20,
        "messages": MESSAGES,
        "stop_sequences": ["END"],
    }
    answer = await client.messages.create(**asked)
    assert (answer.stop_reason, answer.stop_sequence) == expected
    async with client.messages.stream(**asked) as stream:
        final = await stream.get_final_message()
    assert (final.stop_reason, final.stop_sequence) == expected
    assert engine.seen.bodies[0]["stop"] == ["END"]


async def test_every_field_of_sampling_and_form_reaches_the_engine(cloud, client):
    engine = await cloud.add_engine()
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    await client.messages.create(
        model=engine.models[0],
        max_tokens=20,
        messages=MESSAGES,
        extra_body={
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 40,
            "service_tier": "auto",
            "output_config": {
                "effort": "low",
                "format": {"type": "json_schema", "schema": schema},
            },
        },
    )
    (body,) = engine.seen.bodies
    assert (body["temperature"], body["top_p"], body["top_k"]) == (0.5, 0.9, 40)
    assert body["reasoning_effort"] == "low"
    assert body["response_format"]["json_schema"]["schema"] == schema


async def test_images_go_on_as_parts_for_the_engine_to_take_or_refuse(cloud, client):
    engine = await cloud.add_engine()
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    await client.messages.create(
        model=engine.models[0],
        max_tokens=20,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": source},
                    {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
                    {"type": "text", "text": "What is it?"},
                ],
            }
        ],
    )
    assert engine.seen.bodies[0]["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}},
        {"type": "text", "text": "What is it?"},
    ]


async def test_an_error_has_anthropics_shape_and_the_clients_own_class(cloud, key, client):
    with pytest.raises(anthropic.NotFoundError) as refused:
        await client.messages.create(model="nobody", max_tokens=5, messages=MESSAGES)
    body = refused.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "not_found_error")
    assert body["request_id"].startswith("req_")
    assert "nobody" in body["error"]["message"]
    async with anthropic.AsyncAnthropic(
        base_url=cloud.root, api_key="sk-hn-no", max_retries=0
    ) as stranger:
        with pytest.raises(anthropic.AuthenticationError) as unknown:
            await stranger.messages.create(model="m", max_tokens=5, messages=MESSAGES)
    assert unknown.value.body["error"]["type"] == "authentication_error"
    poor = await cloud.make_key(budget="0.000000001")
    engine = await cloud.add_engine()
    async with anthropic.AsyncAnthropic(
        base_url=cloud.root, api_key=poor.secret, max_retries=0
    ) as spent:
        with pytest.raises(anthropic.RateLimitError) as broke:
            await spent.messages.create(model=engine.models[0], max_tokens=5, messages=MESSAGES)
    assert broke.value.body["error"]["code"] == "insufficient_quota"


async def test_a_stream_that_breaks_ends_with_an_error_event(cloud, client):
    engine = await cloud.add_engine(error_after=2)
    said = []
    async with client.messages.stream(
        model=engine.models[0], max_tokens=20, messages=MESSAGES
    ) as stream:
        with pytest.raises(anthropic.APIStatusError) as broken:
            await extend(said, stream.text_stream)
    assert said == ["one ", "two "]
    assert broken.value.body["error"]["type"] == "api_error"
    assert broken.value.body["request_id"].startswith("req_")


BLOCKS = "messages[0].content"
WRONG = [
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    ({"messages": [{"role": "assistant", "content": "I"}]}, "messages[0]"),
    (
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]},
        f"{BLOCKS}[0].type",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "thinking", "thinking": "a"}]}]},
        f"{BLOCKS}[0].type",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "b": 1}]}]},
        f"{BLOCKS}[0].b",
    ),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": 5000}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "between_tools"}}, "thinking.type"),
    ({"temperature": 1.5}, "temperature"),
    ({"output_config": {"effort": "max"}}, "output_config.effort"),
    ({"service_tier": "priority"}, "service_tier"),
    ({"mcp_servers": [{"url": "https://a.example"}]}, "mcp_servers"),
    ({"context_management": {"edits": []}}, "context_management"),
    ({"n": 2}, "n"),
]


@pytest.mark.parametrize(("change", "param"), WRONG, ids=[param for _, param in WRONG])
async def test_what_cannot_be_honoured_is_refused_by_name(cloud, key, change, param):
    engine = await cloud.add_engine()
    body = {"model": engine.models[0], "max_tokens": 20, "messages": MESSAGES, **change}
    answer = await cloud.ask("POST", "/v1/messages", body, secret=key.secret, **VERSION)
    said = answer.json()
    assert answer.status == 400, said
    assert (said["type"], said["error"]["type"]) == ("error", "invalid_request_error")
    assert said["error"]["param"] == param, said
    assert said["request_id"] == answer.id
    assert engine.seen.requests == 0


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"model": 1}', b"\xff", b"null"])
async def test_what_is_no_request_is_told_so_in_the_same_shape(cloud, key, data):
    answer = await cloud.ask("POST", "/v1/messages", data, secret=key.secret)
    assert answer.status == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_other_methods_and_addresses_below_answer_in_the_same_shape(cloud, key):
    for method, path, status in (
        ("GET", "/v1/messages", 405),
        ("GET", "/v1/messages/count_tokens", 405),
        ("POST", "/v1/messages/batches", 404),
    ):
        answer = await cloud.ask(method, path, secret=key.secret)
        assert (answer.status, answer.json()["type"]) == (status, "error"), answer.data


async def test_the_models_are_listed_in_anthropics_shape_and_in_pages(cloud, key):
    engine = await cloud.add_engine(models=("claude-a", "claude-b", "claude-c"))
    only = await cloud.make_key(models=engine.models)
    async with anthropic.AsyncAnthropic(
        base_url=cloud.root, api_key=only.secret, max_retries=0
    ) as client:
        names = [model.id async for model in client.models.list(limit=2)]
        one = await client.models.retrieve("claude-b")
        with pytest.raises(anthropic.BadRequestError):
            await client.models.list(after_id="nobody")
        with pytest.raises(anthropic.NotFoundError):
            await client.models.retrieve("nobody")
    assert [name.rpartition("/")[2] for name in names] == ["claude-a", "claude-b", "claude-c"]
    assert (one.type, one.display_name) == ("model", one.id)
    plain = await cloud.ask("GET", "/v1/models", secret=only.secret)
    assert plain.json()["object"] == "list", "OpenAI's clients get their own shape"


async def test_tokens_are_not_counted_for_a_model_elsewhere(cloud, client):
    engine = await cloud.add_engine()
    with pytest.raises(anthropic.BadRequestError, match="does not count tokens"):
        await client.messages.count_tokens(model=engine.models[0], messages=MESSAGES)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(cloud, tiny_model):
    """The target of a tiny model of random weights that this cloud has loaded."""
    return await cloud.cloud.serve(str(tiny_model))


async def test_tokens_are_counted_exactly_as_the_embedded_engine_bills_them(cloud, client, served):
    asked = {
        "model": served.model,
        "system": "Be kind.",
        "messages": [
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": [{"type": "text", "text": "Count to ten."}]},
        ],
    }
    counted = await client.messages.count_tokens(**asked)
    answer = await client.messages.create(max_tokens=3, **asked)
    billed = answer.usage.input_tokens + answer.usage.cache_read_input_tokens
    assert counted.input_tokens == billed > 10


async def test_the_embedded_engine_streams_whole_counts_from_the_first_event(
    cloud, key, client, served
):
    async with client.messages.stream(
        model=served.model, max_tokens=12, messages=MESSAGES
    ) as stream:
        first = await anext(aiter(stream))
        final = await stream.get_final_message()
    assert first.type == "message_start"
    began = first.message.usage
    row = (await cloud.rows(key.key.id))[-1]
    assert began.input_tokens + began.cache_read_input_tokens == row.prompt_tokens
    assert final.usage.output_tokens == row.completion_tokens
    assert row.metering == "engine"


async def test_a_stop_sequence_of_the_embedded_engine_is_named(cloud, client, served):
    asked = {"model": served.model, "max_tokens": 60, "messages": MESSAGES}
    asked["extra_body"] = {"temperature": 0}  # which this client no longer has a name for
    text = (await client.messages.create(**asked)).content[0].text
    stop = text[4:6]
    for sequences in ([stop], ["\u0000no", stop]):
        answer = await client.messages.create(**asked, stop_sequences=sequences)
        assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", stop)
        assert answer.content[0].text == text[: text.index(stop)]


async def test_the_embedded_engine_refuses_an_image_by_name(cloud, client, served):
    source = {"type": "url", "url": "https://a.example/b.png"}
    content = [{"type": "image", "source": source}]
    with pytest.raises(anthropic.BadRequestError, match="image_url"):
        await client.messages.create(
            model=served.model, max_tokens=5, messages=[{"role": "user", "content": content}]
        )


async def test_a_tool_that_must_be_called_is_called_by_the_embedded_engine(client, served):
    city = {"enum": ["Jeju", "Seoul"]}  # a model of random weights writes free text for ever
    schema = {"type": "object", "properties": {"city": city}, "required": ["city"]}
    asked = {
        "model": served.model,
        "max_tokens": 200,
        "messages": MESSAGES,
        "tools": [{**TOOL, "input_schema": schema}],
        "tool_choice": {"type": "tool", "name": "weather"},
    }
    answer = await client.messages.create(**asked)
    async with client.messages.stream(**asked) as stream:
        streamed = await stream.get_final_message()
    for message in (answer, streamed):
        (call,) = message.content
        assert (message.stop_reason, call.type, call.name) == ("tool_use", "tool_use", "weather")
        assert call.input["city"] in ("Jeju", "Seoul")


async def test_a_model_that_cannot_think_is_refused_thinking_by_name(cloud, key, served):
    body = {
        "model": served.model,
        "max_tokens": 2000,
        "messages": MESSAGES,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    answer = await cloud.ask("POST", "/v1/messages", body, secret=key.secret)
    error = answer.json()["error"]
    assert (answer.status, error["param"]) == (400, "thinking"), error
    assert "does not think" in error["message"]
