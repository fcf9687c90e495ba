"""What Ollama's own client gets through the gateway, and what the ledger keeps of it."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import ollama
import pytest
import pytest_asyncio

from haneul.services.targets import EMBEDDED
from haneul.testing.hub import FakeHub

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "three small words"}]
PNG = "iVBORw0KGgo="
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def client_of(cloud, secret):
    """The genuine client, with the key in its header."""
    return ollama.AsyncClient(
        host=cloud.root, headers={"authorization": f"Bearer {secret}"}, timeout=30
    )


@pytest_asyncio.fixture(loop_scope="module")
async def client(cloud, key):
    async with client_of(cloud, key.secret) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def admin(cloud):
    """The client of a key that may load, pull and delete."""
    made = await cloud.make_key(scopes=("infer", "usage", "admin"))
    async with client_of(cloud, made.secret) as client:
        yield client


def pieces(*deltas, finish="stop", kind="delta"):
    """A streamed answer as an engine's events."""
    chunks = [{"choices": [{"index": 0, kind: delta}]} for delta in deltas]
    last = {"index": 0, kind: {} if kind == "delta" else "", "finish_reason": finish}
    usage = {"prompt_tokens": 7, "completion_tokens": 5}
    chunks += [{"choices": [last]}, {"choices": [], "usage": usage}]
    events = [f"data: {json.dumps({'id': 'up-1', **chunk})}\n\n" for chunk in chunks]
    return tuple(event.encode() for event in [*events, "data: [DONE]\n\n"])


def whole(message, finish="stop", **fields):
    """A whole answer of an engine."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}
    usage = {"prompt_tokens": 7, "completion_tokens": 5}
    return json.dumps({"id": "up-1", "choices": [{**choice, **fields}], "usage": usage}).encode()


async def test_a_whole_chat_is_answered_and_billed_as_the_engine_counted(cloud, key, client):
    engine = await cloud.add_engine(words=["blue", "sky"])
    answer = await client.chat(engine.models[0], MESSAGES)
    assert (answer.model, answer.message.role) == (engine.models[0], "assistant")
    assert answer.message.content == "blue sky "
    assert (answer.done, answer.done_reason) == (True, "stop")
    assert (answer.prompt_eval_count, answer.eval_count) == (3, 2)
    assert answer.total_duration > 0
    assert answer.eval_duration is None, "of a whole answer nobody saw the first token"
    assert (answer.load_duration, answer.prompt_eval_duration) == (None, None)
    (row,) = await cloud.rows(key.key.id)
    assert (row.route, row.state, row.metering, row.is_stream) == (
        "ollama_chat",
        "done",
        "engine",
        0,
    )
    assert (row.prompt_tokens, row.completion_tokens) == (3, 2)
    assert row.cost_nano == cloud.cost(3, 2)


async def test_a_chat_streams_lines_whose_last_has_the_counts(cloud, key, client):
    engine = await cloud.add_engine(words=["a", "b", "c"], delay_s=0.01)
    parts = [part async for part in await client.chat(engine.models[0], MESSAGES, stream=True)]
    assert [part.message.content for part in parts] == ["a ", "b ", "c ", ""]
    assert [part.done for part in parts] == [False, False, False, True]
    last = parts[-1]
    assert (last.prompt_eval_count, last.eval_count, last.done_reason) == (3, 3, "stop")
    assert last.total_duration > last.eval_duration >= 15_000_000
    (row,) = await cloud.rows(key.key.id)
    assert (row.route, row.is_stream, row.completion_tokens) == ("ollama_chat", 1, 3)
    assert row.cost_nano == cloud.cost(3, 3)


async def test_the_synchronous_client_works_too(cloud, key):
    engine = await cloud.add_engine(words=["x", "y"])

    def ask():
        headers = {"authorization": f"Bearer {key.secret}"}
        with ollama.Client(host=cloud.root, headers=headers, timeout=30) as client:
            whole = client.generate(engine.models[0], "go on").response
            streamed = client.chat(engine.models[0], MESSAGES, stream=True)
            return whole, "".join(part.message.content for part in streamed)

    assert await asyncio.to_thread(ask) == ("x y ", "x y ")


async def test_the_client_finds_cloud_and_key_in_its_own_variables(cloud, key, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", cloud.root)
    monkeypatch.setenv("OLLAMA_API_KEY", key.secret)
    engine = await cloud.add_engine(words=["here"])
    async with ollama.AsyncClient() as client:
        answer = await client.chat(engine.models[0], MESSAGES)
    assert answer.message.content == "here "


async def test_streaming_is_what_happens_unless_it_is_refused(cloud, key):
    said = pieces({"content": "Hi"}, {"content": "!"})
    engine = await cloud.add_engine(pieces=(b": still here\n\n", *said))
    body = {"model": engine.models[0], "messages": MESSAGES}
    answer = await cloud.ask("POST", "/api/chat", body, secret=key.secret)
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.data.decode().splitlines()]
    assert [line["message"]["content"] for line in lines] == ["Hi", "!", ""]


async def test_words_that_end_a_line_for_some_readers_do_not_break_the_clients_lines(cloud, client):
    words = ["a\u2028b", "c\x85d", "e\u2029f"]
    engine = await cloud.add_engine(words=words)
    parts = [part async for part in await client.chat(engine.models[0], MESSAGES, stream=True)]
    assert [part.message.content for part in parts] == [*(f"{word} " for word in words), ""]


async def test_the_lines_of_a_stream_are_those_of_the_golden_file(cloud, key, golden):
    thinks = [{"reasoning_content": "Let me "}, {"reasoning_content": "see."}]
    calls = [
        {"tool_calls": [{"index": 0, "id": "c0", "function": {"name": "weather"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Jeju"}'}}]},
        {"tool_calls": [{"index": 1, "id": "c1", "function": {"name": "time"}}]},
    ]
    said = pieces(*thinks, {"content": "It is:"}, *calls, finish="tool_calls")
    engine = await cloud.add_engine(pieces=said)
    body = {"model": engine.models[0], "messages": MESSAGES, "stream": True}
    answer = await cloud.ask("POST", "/api/chat", body, secret=key.secret)
    lines = [json.loads(line) for line in answer.data.decode().splitlines()]
    for line in lines:
        assert line.pop("created_at").endswith("Z")
        line["model"] = "MODEL"
    for name in ("total_duration", "eval_duration"):
        assert lines[-1].pop(name) > 0
    golden("gateway_ollama_stream", lines)


async def test_every_option_reaches_the_engine(cloud, client):
    engine = await cloud.add_engine()
    options = {
        "num_predict": 9,
        "temperature": 0.5,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.1,
        "seed": 7,
        "stop": ["END"],
        "repeat_penalty": 1.1,
        "presence_penalty": 0.2,
        "frequency_penalty": 0.3,
        "mirostat": 0,
    }
    await client.chat(engine.models[0], MESSAGES, options=options, think="low")
    (body,) = engine.seen.bodies
    del options["mirostat"], options["num_predict"]
    assert {name: body[name] for name in options} == options
    assert (body["max_completion_tokens"], body["reasoning_effort"]) == (9, "low")


async def test_forms_are_asked_for_as_json_or_as_a_schema(cloud, client):
    engine = await cloud.add_engine(whole=whole({"content": '{"a": 1}'}))
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    for form in ("json", schema, ""):
        answer = await client.chat(engine.models[0], MESSAGES, format=form)
        assert answer.message.content == '{"a": 1}'
    first, second, third = (body.get("response_format") for body in engine.seen.bodies)
    assert first == {"type": "json_object"}
    assert second["json_schema"]["schema"] == schema
    assert third is None


async def test_thinking_is_switched_and_told_beside_the_words(cloud, client):
    engine = await cloud.add_engine(
        whole=whole({"content": "4", "reasoning_content": "2+2"}),
        pieces=pieces({"reasoning_content": "2+2"}, {"content": "4"}),
    )
    answer = await client.chat(engine.models[0], MESSAGES, think=True)
    assert (answer.message.thinking, answer.message.content) == ("2+2", "4")
    parts = [
        part
        async for part in await client.generate(engine.models[0], "x", think=False, stream=True)
    ]
    assert [(part.thinking, part.response) for part in parts[:2]] == [("2+2", ""), (None, "4")]
    said = [*MESSAGES, answer.message, {"role": "user", "content": "so?"}]
    await client.chat(engine.models[0], said)
    first, second, third = engine.seen.bodies
    assert first["chat_template_kwargs"] == {"enable_thinking": True}
    assert second["chat_template_kwargs"] == {"enable_thinking": False}
    assert third["messages"][1]["reasoning_content"] == "2+2"


async def test_tools_are_called_and_results_find_the_calls_they_belong_to(cloud, client):
    def call(name, **arguments):
        function = {"name": name, "arguments": json.dumps(arguments)}
        return {"id": f"id-{name}", "type": "function", "function": function}

    calls = [call("weather", city="Jeju"), call("time")]
    engine = await cloud.add_engine(
        whole=whole({"content": None, "tool_calls": calls}, "tool_calls")
    )
    answer = await client.chat(engine.models[0], MESSAGES, tools=[TOOL])
    found = [(one.function.name, one.function.arguments) for one in answer.message.tool_calls]
    assert found == [("weather", {"city": "Jeju"}), ("time", {})]
    assert answer.done_reason == "stop"
    results = [
        {"role": "tool", "tool_name": "time", "content": "noon"},
        {"role": "tool", "tool_name": "weather", "content": "sunny"},
    ]
    await client.chat(engine.models[0], [*MESSAGES, answer.message, *results], tools=[TOOL])
    first, second = engine.seen.bodies
    assert first["tools"] == [TOOL]
    _, assistant, noon, sunny = second["messages"]
    weather, time = (one["id"] for one in assistant["tool_calls"])
    assert [(one["tool_call_id"], one["content"]) for one in (noon, sunny)] == [
        (time, "noon"),
        (weather, "sunny"),
    ]
    assert assistant["tool_calls"][0]["function"]["arguments"] == '{"city":"Jeju"}'


async def test_a_generation_is_a_chat_of_one_turn_or_raw_text(cloud, key, client):
    engine = await cloud.add_engine(words=["x", "y"])
    await client.generate(engine.models[0], "go", system="Be brief.", images=[PNG])
    answer = await client.generate(engine.models[0], "go on", raw=True, options={"num_predict": 1})
    parts = [
        part async for part in await client.generate(engine.models[0], "a", raw=True, stream=True)
    ]
    assert answer.response == "x "
    assert "".join(part.response for part in parts) == "x y "
    chat, raw, _ = engine.seen.bodies
    assert chat["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "go"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            ],
        },
    ]
    assert (raw["prompt"], raw["max_tokens"]) == ("go on", 1)
    rows = await cloud.rows(key.key.id)
    assert {row.route for row in rows} == {"ollama_generate"}


async def test_likelihoods_are_told_as_the_engine_gave_them(cloud, client):
    score = {"token": "4", "logprob": -0.5, "bytes": [52], "top_logprobs": []}
    logprobs = {"content": [score]}
    engine = await cloud.add_engine(whole=whole({"content": "4"}, logprobs=logprobs))
    answer = await client.chat(engine.models[0], MESSAGES, logprobs=True, top_logprobs=2)
    assert [(one.token, one.logprob) for one in answer.logprobs] == [("4", -0.5)]
    assert (engine.seen.bodies[0]["logprobs"], engine.seen.bodies[0]["top_logprobs"]) == (True, 2)


async def test_embeddings_come_at_both_addresses_and_are_billed_by_their_prompt(cloud, key, client):
    engine = await cloud.add_engine()
    many = await client.embed(engine.models[0], ["one two", "three"], truncate=False)
    old = await client.embeddings(engine.models[0], "one two")
    assert (many.embeddings, many.prompt_eval_count) == ([[1.0, 0.0]], 3)
    assert old.embedding == [1.0, 0.0]
    assert many.total_duration > 0
    first, second = await cloud.rows(key.key.id)
    assert (first.route, first.prompt_tokens, first.cost_nano) == (
        "ollama_embed",
        3,
        cloud.cost(3, 0),
    )
    assert second.route == "ollama_embeddings"


WRONG = [
    ("chat", {"model": None}, "model"),
    ("chat", {"messages": [{"role": "nobody", "content": "a"}]}, "messages[0].role"),
    ("chat", {"messages": [{"role": "user", "images": ["AAAA"]}]}, "messages[0].images[0]"),
    ("chat", {"messages": [{"role": "tool", "content": "a"}]}, "messages[0].tool_name"),
    ("chat", {"messages": [{"role": "user", "thinking": "a"}]}, "messages[0].thinking"),
    ("chat", {"options": {"num_gpu": 1}}, "options.num_gpu"),
    ("chat", {"options": {"mirostat": 2}}, "options.mirostat"),
    ("chat", {"options": {"num_predict": -2}}, "options.num_predict"),
    ("chat", {"options": {"num_ctx": 100}}, "options.num_ctx"),
    ("chat", {"format": "yaml"}, "format"),
    ("chat", {"think": "hard"}, "think"),
    ("chat", {"truncate": True}, "truncate"),
    ("chat", {"shift": True}, "shift"),
    ("chat", {"keep_alive": "soon"}, "keep_alive"),
    ("chat", {"prompt": "a"}, "prompt"),
    ("generate", {"prompt": "a", "suffix": "b"}, "suffix"),
    ("generate", {"prompt": "a", "template": "b"}, "template"),
    ("generate", {"prompt": "a", "context": [1]}, "context"),
    ("generate", {"prompt": "a", "raw": True, "system": "b"}, "system"),
    ("generate", {"prompt": "a", "width": 64}, "width"),
    ("embed", {"input": "a", "truncate": True}, "truncate"),
    ("embed", {"input": "a", "options": {"seed": 1}}, "options.seed"),
    ("embed", {"input": {"a": 1}}, "input"),
    ("embeddings", {"prompt": ["a"]}, "prompt"),
]


@pytest.mark.parametrize(("place", "change", "named"), WRONG, ids=[f"{w[0]}-{w[2]}" for w in WRONG])
async def test_what_cannot_be_honoured_is_refused_by_name(cloud, key, place, change, named):
    engine = await cloud.add_engine()
    begin = {"messages": MESSAGES} if place == "chat" else {}
    body = {"model": engine.models[0], **begin, **change}
    answer = await cloud.ask("POST", f"/api/{place}", body, secret=key.secret)
    said = answer.json()
    assert (answer.status, list(said)) == (400, ["error"]), said
    assert named in said["error"], said
    assert engine.seen.requests == 0


async def test_errors_have_ollamas_shape_and_the_right_status(cloud, key, client):
    with pytest.raises(ollama.ResponseError, match="no model 'nobody'") as missing:
        await client.chat("nobody", MESSAGES)
    assert missing.value.status_code == 404
    async with client_of(cloud, "sk-hn-no") as stranger:
        with pytest.raises(ollama.ResponseError, match="API key") as unknown:
            await stranger.list()
    assert unknown.value.status_code == 401
    for path in ("/api/create", "/api/push"):
        answer = await cloud.ask("POST", path, {"model": "m"}, secret=key.secret)
        assert (answer.status, list(answer.json())) == (400, ["error"])
        assert path in answer.json()["error"]
    for data in (b"", b"[]", b"{", b"\xff", b'{"model": 1}'):
        answer = await cloud.ask("POST", "/api/chat", data, secret=key.secret)
        assert (answer.status, list(answer.json())) == (400, ["error"]), data
    answer = await cloud.ask("GET", "/api/nothing", secret=key.secret)
    assert (answer.status, list(answer.json())) == (404, ["error"])


async def test_a_stream_that_breaks_ends_with_an_error_line(cloud, client):
    engine = await cloud.add_engine(error_after=2)
    said = []

    async def read():
        async for part in await client.chat(engine.models[0], MESSAGES, stream=True):
            said.append(part.message.content)

    with pytest.raises(ollama.ResponseError, match="engine failed"):
        await read()
    assert said == ["one ", "two "]


async def test_a_client_that_looks_whether_somebody_is_there_finds_the_page(cloud):
    async with aiohttp.ClientSession() as web:
        async with web.head(cloud.root + "/") as head:
            assert head.status == 200
        async with web.get(cloud.root + "/api/version") as version:
            assert (await version.json())["version"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(cloud, tiny_model):
    """The target of a tiny model of random weights that this cloud has loaded."""
    return await cloud.cloud.serve(str(tiny_model))


async def test_the_embedded_engine_answers_streams_and_counts(cloud, key, client, served):
    options = {"num_predict": 12, "temperature": 0, "num_ctx": 1024}
    answer = await client.chat(served.model, MESSAGES, options=options)
    stream = await client.chat(served.model, MESSAGES, options=options, stream=True)
    parts = [part async for part in stream]
    assert "".join(part.message.content for part in parts) == answer.message.content
    assert parts[-1].eval_count == answer.eval_count
    rows = await cloud.rows(key.key.id)
    for row in rows:
        assert (row.engine, row.metering, row.completion_tokens) == (
            EMBEDDED,
            "engine",
            answer.eval_count,
        )
        assert row.prompt_tokens == answer.prompt_eval_count
    with pytest.raises(ollama.ResponseError, match="4096 tokens of context"):
        await client.chat(served.model, MESSAGES, options={"num_ctx": 100_000})


async def test_the_embedded_engine_keeps_to_a_schema(client, served):
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
    answer = await client.chat(served.model, MESSAGES, format=schema, options={"num_predict": 200})
    assert json.loads(answer.message.content)["a"] in (1, 2)


async def test_the_embedded_engine_refuses_images_and_thinking_by_name(client, served):
    with pytest.raises(ollama.ResponseError, match=r"image_url.*messages\[0\]"):
        await client.generate(served.model, "a", images=[PNG])
    with pytest.raises(ollama.ResponseError, match=r"does not think.*\(think\)"):
        await client.chat(served.model, MESSAGES, think=True)


async def test_models_are_listed_shown_and_those_that_run_too(cloud, client, served):
    listed = {model.model: model for model in (await client.list()).models}
    here = listed[served.model]
    assert (here.digest, here.details.format) == (served.digest, "gguf")
    assert here.size > 1000
    shown = await client.show(served.model)
    assert shown.modelinfo["general.architecture"] == here.details.family
    assert "completion" in shown.capabilities
    await served.ready(60)
    running = {model.model: model for model in (await client.ps()).models}
    assert running[served.model].context_length == served.context_tokens
    assert set(running) <= set(listed)
    engine = await cloud.add_engine()
    with pytest.raises(ollama.ResponseError, match="remote engine"):
        await client.show(engine.models[0])
    only = await cloud.make_key(models=engine.models)
    async with client_of(cloud, only.secret) as narrow:
        names = [model.model for model in (await narrow.list()).models]
    assert [name.rpartition("/")[2] for name in names] == list(engine.models)


async def test_a_request_without_words_loads_and_keep_alive_0_unloads(cloud, client, admin, served):
    loaded = await client.generate(served.model)
    assert (loaded.done_reason, loaded.response, served.state) == ("load", "", "ready")
    answer = await admin.chat(
        served.model, MESSAGES, options={"num_predict": 2}, keep_alive=0, stream=False
    )
    assert answer.message.content
    await cloud.until(lambda: served.state == "stopped", what="it is unloaded after the answer")
    assert [model.model for model in (await client.ps()).models] == []
    await client.chat(served.model, [], keep_alive="5m")
    assert served.state == "ready"
    unloaded = await admin.generate(served.model, keep_alive=0)
    assert (unloaded.done_reason, served.state) == ("unload", "stopped")
    with pytest.raises(ollama.ResponseError, match="scope 'admin'"):
        await client.generate(served.model, keep_alive=0)
    engine = await cloud.add_engine()
    with pytest.raises(ollama.ResponseError, match="remote engine"):
        await admin.generate(engine.models[0], keep_alive=0)


async def test_a_model_is_pulled_with_progress_copied_and_deleted(
    cloud, client, admin, tiny_model, tmp_path, monkeypatch
):
    repository = tmp_path / "hub" / "models" / "org" / "small"
    repository.mkdir(parents=True)
    data = tiny_model.read_bytes() + b"\0" * 32  # a file of its own
    (repository / "small.gguf").write_bytes(data)
    async with FakeHub(tmp_path / "hub") as hub:
        for name, value in hub.environ.items():
            monkeypatch.setenv(name, value)
        name = "hf:org/small:small.gguf"
        with pytest.raises(ollama.ResponseError, match="scope 'admin'"):
            await client.pull(name)
        parts = [part async for part in await admin.pull(name, stream=True)]
        statuses = [part.status for part in parts]
        assert (statuses[0], statuses[-1]) == ("pulling manifest", "success")
        assert (await admin.pull(name)).status == "success", "it is here"
        with pytest.raises(ollama.ResponseError, match="no such file"):
            await admin.pull("hf:org/small:nothing-there.gguf", stream=False)
    here = [model.model for model in (await client.list()).models]
    assert name in here
    await admin.copy(name, "mine:latest")
    answer = await client.generate("mine:latest", "a", options={"num_predict": 2})
    assert answer.eval_count == 2
    with pytest.raises(ollama.ResponseError, match="already") as twice:
        await admin.copy(name, "mine:latest")
    assert twice.value.status_code == 409
    await admin.delete(name)
    answer = await client.generate("mine:latest", "a", options={"num_predict": 2})
    assert answer.eval_count == 2, "the file is still there for its other name"
    await admin.delete("mine:latest")
    left = [model.model for model in (await client.list()).models]
    assert name not in left
    assert "mine:latest" not in left
    with pytest.raises(ollama.ResponseError) as gone:
        await client.show("mine:latest")
    assert gone.value.status_code == 404


async def test_a_pull_tells_how_far_it_is_and_ends_with_its_client(
    cloud, admin, tiny_model, tmp_path, monkeypatch
):
    repository = tmp_path / "hub" / "models" / "org" / "slow"
    repository.mkdir(parents=True)
    data = tiny_model.read_bytes() + b"\0" * (3 << 20)
    (repository / "slow.gguf").write_bytes(data)
    name = "hf:org/slow:slow.gguf"

    def pulls():
        return [task for task in asyncio.all_tasks() if task.get_name() == f"pull {name}"]

    async with FakeHub(tmp_path / "hub") as hub:
        for variable, value in hub.environ.items():
            monkeypatch.setenv(variable, value)
        hub.faults["huggingface"].pause_s = 0.05
        stream = await admin.pull(name, stream=True)
        seen = [part async for part in until_some(stream)]
        assert 0 < seen[-1].completed < seen[-1].total == len(data)
        assert len(pulls()) == 1
        await stream.aclose()
        await cloud.until(lambda: not pulls(), 5, "the pull has ended with its client")
        hub.faults["huggingface"].pause_s = 0
        parts = [part async for part in await admin.pull(name, stream=True)]
    assert parts[-1].status == "success"
    await admin.delete(name)


async def until_some(stream):
    """The reports of a pull, up to the first that says how much has come."""
    async for part in stream:
        yield part
        if part.completed:
            return


@pytest.mark.parametrize("is_stream", [False, True])
async def test_what_does_not_fit_is_refused_before_a_byte_comes_with_what_does(admin, is_stream):
    async def pull():
        pulling = await admin.pull("deepseek-v3.1:671b", stream=is_stream)
        return [part async for part in pulling]

    with pytest.raises(ollama.ResponseError, match=r"was not pulled.* What fits instead: .*--anyw"):
        await pull()


async def test_no_file_of_the_machine_is_pulled_from_afar(admin, tiny_model):
    with pytest.raises(ollama.ResponseError, match="haneul pull FILE") as refused:
        await admin.pull(str(tiny_model))
    assert refused.value.status_code == 403
