"""Hostile engines and clients, byte by byte: when streams end, how, and what comes through them."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
from contextlib import suppress

import pytest
import pytest_asyncio

from haneul.testing.raw import RawEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOWNESS = float(os.environ.get("HANEUL_TEST_SLOWNESS", "3"))
CANCEL_S = 0.1  # from a client's going away to its engine's hearing of it
SAYS = [{"role": "user", "content": "go on"}]
ADDRESSES = {
    "openai": ("/v1/chat/completions", {"messages": SAYS, "stream": True}),
    "completions": ("/v1/completions", {"prompt": "go on", "stream": True}),
    "anthropic": ("/v1/messages", {"messages": SAYS, "max_tokens": 99, "stream": True}),
    "ollama": ("/api/chat", {"messages": SAYS}),
    "responses": ("/v1/responses", {"input": "go on", "stream": True, "store": False}),
}
# What only an answer that came to its end says.
ENDINGS = (
    b"[DONE]",
    b"message_stop",
    b'"done":true',
    b"response.completed",
    b"response.incomplete",
)
DONE = b"data: [DONE]\n\n"


def event(text, *, kind="openai"):
    """One word of an answer as engines stream it."""
    said = {"text": text} if kind == "completions" else {"delta": {"content": text}}
    return (
        b"data: " + json.dumps({"id": "c1", "choices": [{"index": 0, **said}]}).encode() + b"\n\n"
    )


def finish(kind="openai"):
    """The event in which an answer says why it ended, and the end."""
    said = {"text": ""} if kind == "completions" else {"delta": {}}
    choice = {"index": 0, **said, "finish_reason": "stop"}
    return b"data: " + json.dumps({"id": "c1", "choices": [choice]}).encode() + b"\n\n" + DONE


def post(path, secret, body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {secret}\r\n"
    return f"{head}content-length: {len(data)}\r\n\r\n".encode() + data


@pytest_asyncio.fixture(loop_scope="module")
async def raw(cloud):
    """Starts raw engines that the cloud knows: `engine, model = await raw(play)`."""
    running = []

    async def start(*plays):
        model = f"raw-{secrets.token_hex(4)}"
        engines = [RawEngine(play) for play in plays]
        for number, engine in enumerate(engines):
            running.append(await engine.__aenter__())
            terms = {"price": cloud.cheaper} if number < len(engines) - 1 else {}
            await cloud.put_engine(f"{model}-{number}", engine.url, (model,), **terms)
        return (*engines, model)

    yield start
    for engine in running:
        await engine.__aexit__(None, None, None)


@pytest_asyncio.fixture(loop_scope="module")
async def connect(cloud):
    """Opens connections; all of them are cut at the end."""
    opened = []

    async def start(receive_bytes=0):
        plain = socket.socket()
        if receive_bytes:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", cloud.cloud.port))
        opened.append(await asyncio.open_connection(sock=plain, limit=1 << 16))
        return opened[-1]

    yield start
    for _, writer in opened:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


# a client that goes away
async def heard_after_s(exchange):
    """Seconds until the engine hears of a client that goes away now."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while exchange.lost_s is None:
        assert loop.time() - began < 5, "the engine never heard of it"
        await asyncio.sleep(0.001)
    return exchange.lost_s - began


@pytest.mark.parametrize("kind", ADDRESSES)
async def test_a_hang_up_at_any_event_reaches_the_engine_at_once(cloud, key, raw, connect, kind):
    async def play(exchange):
        exchange.begin()
        for number in range(10_000):
            exchange.chunk(event(f"w{number} ", kind=kind))
            await asyncio.sleep(0.002)

    engine, model = await raw(play)
    path, fields = ADDRESSES[kind]
    for count in range(12):
        reader, writer = await connect()
        writer.write(post(path, key.secret, {"model": model, **fields}))
        for _ in range(count):
            await reader.readuntil(b"w")
        if not count:
            await cloud.until(lambda: engine.running == 1)
        writer.transport.abort()
        assert await heard_after_s(engine.exchanges[-1]) < CANCEL_S * SLOWNESS, count
    await cloud.settle()
    rows = await cloud.rows(key.key.id)
    assert [(row.state, row.error_code) for row in rows] == [("aborted", "client_gone")] * 12
    (target,) = cloud.cloud.targets.find(model)
    assert (target.gate.busy.inside, target.gate.waiting) == (0, 0)


@pytest.mark.parametrize("part", ["nothing", "half-a-head", "a-head", "half-a-body"])
async def test_a_hang_up_at_any_moment_of_a_whole_answer_reaches_the_engine_at_once(
    cloud, key, raw, connect, part
):
    said = {
        "nothing": b"",
        "half-a-head": b"HTTP/1.1 200 OK\r\ncontent-le",
        "a-head": b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n",
        "half-a-body": b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"choices":[',
    }[part]

    async def play(exchange):
        exchange.write(said)
        await asyncio.sleep(60)

    engine, model = await raw(play)
    _, writer = await connect()
    body = {"model": model, "messages": SAYS}
    writer.write(post("/v1/chat/completions", key.secret, body))
    await cloud.until(lambda: engine.running == 1)
    await asyncio.sleep(0.02)
    writer.transport.abort()
    assert await heard_after_s(engine.exchanges[0]) < CANCEL_S * SLOWNESS
    (row,) = await cloud.rows(key.key.id)
    assert (row.state, row.cost_nano) == ("aborted", 0)


async def test_the_gateway_does_not_read_ahead_of_a_client_that_reads_nothing(
    cloud, key, raw, connect
):
    """What is beyond the kernels' buffers is at most a read of each side and a water mark."""
    word = event("x" * 4000)

    async def play(exchange):
        exchange.begin()
        while True:
            exchange.chunk(word)
            await exchange.drained()

    engine, model = await raw(play)
    _, writer = await connect(receive_bytes=4096)
    body = {"model": model, "messages": SAYS, "stream": True}
    writer.write(post("/v1/chat/completions", key.secret, body))
    await cloud.until(lambda: any(each.unsent_bytes for each in engine.exchanges))
    taken = []
    for _ in range(6):
        await asyncio.sleep(0.1)
        taken.append(engine.exchanges[0].sent_bytes - engine.exchanges[0].unsent_bytes)
    assert taken[-1] == taken[-2], f"the gateway goes on reading: {taken}"
    kernels = _tcp_buffer_max("wmem") * 2 + _tcp_buffer_max("rmem")
    assert taken[-1] < kernels + (1 << 20)
    # What is held in this process: the engine's bytes not yet read, the client's not yet sent.
    (call,) = cloud.cloud.gateway.calls._open
    assert call.line._transport.get_write_buffer_size() < 1 << 20
    writer.transport.abort()
    assert await heard_after_s(engine.exchanges[0]) < CANCEL_S * SLOWNESS


def _tcp_buffer_max(name):
    with open(f"/proc/sys/net/ipv4/tcp_{name}") as settings:
        return int(settings.read().split()[2])


# an engine that goes away
def cut(exchange):
    exchange.cut()


def end_early(exchange):
    exchange.end()


def close(exchange):
    exchange._transport.close()


@pytest.mark.parametrize("die", [cut, end_early, close], ids=["reset", "clean-end", "close"])
@pytest.mark.parametrize("kind", ADDRESSES)
async def test_an_engines_death_in_the_middle_is_an_error_event_and_never_a_clean_end(
    cloud, key, raw, connect, kind, die
):
    async def play(exchange):
        exchange.begin()
        for number in range(count):
            exchange.chunk(event(f"w{number} ", kind=kind))
            await asyncio.sleep(0.005)
        exchange.chunk(event("never", kind=kind)[:-9])
        await asyncio.sleep(0.005)
        die(exchange)

    engine, model = await raw(play)
    path, fields = ADDRESSES[kind]
    for count in (1, 2, 5):
        answer = await cloud.ask("POST", path, {"model": model, **fields}, secret=key.secret)
        assert answer.status == 200
        assert [word in answer.data for word in ENDINGS] == [False] * len(ENDINGS), answer.data
        assert all(f"w{number} ".encode() in answer.data for number in range(count))
        assert b"never" not in answer.data
        check_retriable(kind, answer.data)
        row = await cloud.row(answer.id)
        assert (row.state, row.status, row.completion_tokens) == ("failed", 503, count)
    assert len(engine.exchanges) == 3, "what has begun is not tried again"


def check_retriable(kind, data):
    """The last that a client gets tells that it may try again, in its own words."""
    if kind == "ollama":
        last = json.loads(data.strip().split(b"\n")[-1])
        assert list(last) == ["error"]
        return
    last = json.loads(data.strip().split(b"\n\n")[-1].rpartition(b"data: ")[2])
    if kind == "anthropic":
        assert (last["type"], last["error"]["type"]) == ("error", "overloaded_error")
    elif kind == "responses":
        assert last["type"] == "response.failed"
        assert last["response"]["error"]["code"] == "server_error"
    else:
        error = last["error"]
        assert (error["type"], error["code"]) == ("server_error", "engine_unavailable")


@pytest.mark.parametrize("kind", ADDRESSES)
@pytest.mark.parametrize(
    "said",
    [None, b"", b": alive\n\n"[:5], event("never")[:30], b"\n\n"],
    ids=["nothing", "head", "half-a-comment", "half-an-event", "blank"],
)
async def test_before_its_first_event_an_engines_death_is_not_seen(cloud, key, raw, kind, said):
    async def dies(exchange):
        if said is not None:
            exchange.begin()
        if said:
            exchange.chunk(said)
            await asyncio.sleep(0.01)
        exchange.cut()

    async def answers(exchange):
        exchange.begin()
        exchange.chunk(event("fine", kind=kind) + finish(kind))
        exchange.end()

    first, second, model = await raw(dies, answers)
    path, fields = ADDRESSES[kind]
    answer = await cloud.ask("POST", path, {"model": model, **fields}, secret=key.secret)
    assert answer.status == 200
    assert answer.data.count(b"fine") >= 1
    assert b"never" not in answer.data
    assert b"error" not in answer.data.replace(b'"error":null', b"")
    assert any(word in answer.data for word in ENDINGS)
    assert (len(first.exchanges), len(second.exchanges)) == (1, 1)
    row = await cloud.row(answer.id)
    assert (row.state, row.engine, row.completion_tokens) == ("done", f"{model}-1", 1)


# bytes on their way
EXOTIC = (
    b'{ "escapes" :"\\u00e9\\ud83d\\ude00\\/\\b\\f\\u0000", "big": 123456789012345678901234567890'
    b',\n\t"small":-0.0,"precise":1.000000000000000000000000001,"huge":1E400, "twice":{"a":1,"a":2}'
    b',"empty":[ ],"plain":"\xed\x95\x98\xeb\x8a\x98 \xf0\x9f\x8c\x8c", "":null}'
)


async def test_unknown_fields_of_a_request_reach_the_engine_byte_for_byte(cloud, key, raw):
    async def play(exchange):
        exchange.whole(b'{"id":"c1","choices":[]}')

    engine, model = await raw(play)
    body = (
        b'{"model":"%b" , "x_future": %b,\r\n"messages":[{"role":"user","content":"\\u0068i",'
        b'"x_more":%b}],"temperature":0.70}'
    ) % (model.encode(), EXOTIC, EXOTIC)
    answer = await cloud.ask("POST", "/v1/chat/completions", body, secret=key.secret)
    assert answer.status == 200, answer.data
    sent = engine.exchanges[0].body
    assert sent.count(EXOTIC) == 2
    assert b'"\\u0068i"' in sent
    assert b'"temperature":0.70' in sent


async def test_of_a_field_that_came_twice_one_is_believed_and_the_same_is_sent_on(cloud, key, raw):
    async def play(exchange):
        exchange.whole(b'{"id":"c1","choices":[]}')

    engine, model = await raw(play)
    body = (
        b'{"model":"elsewhere","max_tokens":9,"messages":[{"role":"user","content":"no"}],"max_tokens":3,"stream":true,'
        b'"messages":[{"role":"user","content":"hi"}],"stream":false,"model":"%b"}'
    ) % model.encode()
    answer = await cloud.ask("POST", "/v1/chat/completions", body, secret=key.secret)
    assert answer.status == 200, answer.data
    pairs = json.loads(engine.exchanges[0].body, object_pairs_hook=list)
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names))
    sent = json.loads(engine.exchanges[0].body)
    assert (sent["model"], sent["stream"]) == (model, False)
    assert sent.get("max_completion_tokens", sent.get("max_tokens")) == 3
    row = await cloud.row(answer.id)
    assert (row.model, row.is_stream) == (f"{model}-0/{model}", 0)


async def test_unknown_fields_of_an_answer_reach_the_client_byte_for_byte(cloud, key, raw):
    whole = b'{"id" : "c1","choices":[{"index":0,"message":{"content":"a","x":%b}}],"y": %b}'
    streamed = b'data: {"choices" : [{"delta":{"content":"a","x":%b}}],"y":%b}\n\n'

    async def play(exchange):
        if b'"stream":true' in exchange.body:
            exchange.begin()
            exchange.chunk(b": a comment, as it came\n\n" + event_sent + finish())
            exchange.end()
        else:
            exchange.whole(whole % (EXOTIC, EXOTIC))

    event_sent = streamed % (one_line := EXOTIC.replace(b"\n", b" "), one_line)
    _, model = await raw(play)
    body = {"model": model, "messages": SAYS}
    answer = await cloud.ask("POST", "/v1/chat/completions", body, secret=key.secret)
    assert answer.data == whole % (EXOTIC, EXOTIC)
    body = {**body, "stream": True}
    answer = await cloud.ask("POST", "/v1/chat/completions", body, secret=key.secret)
    assert answer.data == b": a comment, as it came\n\n" + event_sent + finish()


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["lf", "crlf"])
async def test_a_stream_cut_at_every_byte_is_the_same_stream(cloud, key, raw, newline):
    """One packet for each byte would be slow; each request cuts at two places."""
    text = b": note\n\n" + event("하늘 \\ \u2028") + b"data: {\ndata: }\n\n" + event("b") + finish()
    text = text.replace(b"\n", newline)

    async def play(exchange):
        exchange.begin()
        exchange.chunk(text[:at])
        await asyncio.sleep(0.001)
        exchange.chunk(text[at : at + 1])
        await asyncio.sleep(0.001)
        exchange.chunk(text[at + 1 :])
        exchange.end()

    _, model = await raw(play)
    body = {"model": model, "messages": SAYS, "stream": True}
    answers = set()
    for at in range(1, len(text) - 1):  # noqa: B007 - the play reads it
        answer = await cloud.ask("POST", "/v1/chat/completions", body, secret=key.secret)
        answers.add(answer.data)
    assert answers == {text.replace(b"\r\n", b"\n")}
