"""OpenTelemetry: what a real receiver decodes of requests, and what it never gets to see."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from haneul.services.telemetry.content import SWITCH
from haneul.services.telemetry.otel import HISTOGRAMS
from haneul.testing.otlp import OtlpReceiver
from haneul.testing.raw import RawEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVER, CLIENT = 2, 3  # kinds of spans
ERROR = 2
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def receiver(monkeypatch):
    """What clouds that start from now on send to, quickly; it outlives them."""
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        yield receiver


async def spans_of(cloud, receiver, count):
    """The spans that have come, the outermost of each request first."""
    await cloud.until(lambda: len(receiver.spans) >= count, 5, f"{count} spans have come")
    return sorted(receiver.spans, key=lambda span: (span.start_ns, span.kind))


async def test_a_request_is_a_span_in_the_conventions_words(receiver, start_cloud):
    cloud = await start_cloud()
    key = await cloud.make_key()
    engine = await cloud.add_engine(name="near")
    answer = await cloud.chat(
        key.secret, "near/model-of-near", "secret words", temperature=0.5, max_tokens=9, seed=7
    )
    assert answer.status == 200
    root, below = await spans_of(cloud, receiver, 2)
    row = await cloud.row(answer.id)
    assert (root.kind, below.kind) == (SERVER, CLIENT)
    assert root.name == "chat near/model-of-near"
    assert below.name == "chat model-of-near"
    assert (below.trace_id, below.parent_id) == (root.trace_id, root.id)
    assert root.parent_id == ""
    assert root.start_ns <= below.start_ns <= below.end_ns <= root.end_ns
    assert (root.status, below.status) == (0, 0)
    facts = root.attributes
    assert {name: facts[name] for name in facts if name.startswith("gen_ai.")} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "haneul",
        "gen_ai.request.model": "near/model-of-near",
        "gen_ai.response.model": "near/model-of-near",
        "gen_ai.response.id": "fake-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.seed": 7,
        "gen_ai.usage.input_tokens": row.prompt_tokens,
        "gen_ai.usage.output_tokens": row.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": 0,
    }
    assert facts["haneul.request_id"] == answer.id
    assert facts["haneul.cost_nano"] == row.cost_nano > 0
    assert facts["http.response.status_code"] == 200
    assert below.attributes["server.address"] == "127.0.0.1"
    assert below.attributes["server.port"] == int(engine.url.rpartition(":")[2])
    assert "gen_ai.usage.input_tokens" not in below.attributes, "nobody adds them twice"
    assert root.resource["service.name"] == "haneul"
    assert not any(b"secret words" in body or b"one two" in body for body in receiver.bodies)


async def test_the_clients_trace_goes_through_to_the_engine(receiver, start_cloud):
    async def play(exchange):
        exchange.whole(
            b'{"id":"x","choices":[{"message":{"content":"a"},"finish_reason":"length"}],'
            b'"usage":{"prompt_tokens":1,"completion_tokens":1}}'
        )

    cloud = await start_cloud()
    key = await cloud.make_key()
    async with RawEngine(play) as engine:
        await cloud.put_engine("raw", engine.url, ("m",))
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        headers = {"traceparent": PARENT, "tracestate": "vendor=1"}
        path = "/v1/chat/completions"
        answer = await cloud.ask("POST", path, body, secret=key.secret, **headers)
        assert answer.status == 200, answer.data
        (exchange,) = engine.exchanges
    root, below = await spans_of(cloud, receiver, 2)
    trace_id, parent_id = PARENT.split("-")[1:3]
    assert (root.trace_id, root.parent_id) == (trace_id, parent_id)
    head = exchange.head.decode().lower()
    sent = re.search(r"traceparent: 00-(\w{32})-(\w{16})-01", head)
    assert sent is not None, head
    assert sent.groups() == (trace_id, below.id)
    assert "tracestate: vendor=1" in head
    assert root.attributes["gen_ai.response.finish_reasons"] == ["length"]


async def test_each_engine_that_is_tried_has_its_span(receiver, start_cloud):
    cloud = await start_cloud()
    key = await cloud.make_key()
    await cloud.add_engine(name="bad", models=("m",), price=cloud.cheaper, status=500)
    await cloud.add_engine(name="good", models=("m",))
    seen = []
    for _ in range(6):
        answer = await cloud.chat(key.secret, "m")
        seen.append(answer.status)
    await cloud.settle()
    await cloud.until(lambda: len(receiver.spans) >= 7, 5, "the spans have come")
    await asyncio.sleep(0.2)
    assert 200 in seen
    roots = {span.id: span for span in receiver.spans if span.kind == SERVER}
    tried = [span for span in receiver.spans if span.kind == CLIENT]
    assert {span.parent_id for span in tried} <= set(roots)
    failed = [span for span in tried if span.status == ERROR]
    assert failed, "one was asked that failed"
    assert {span.attributes["haneul.engine"] for span in failed} == {"bad"}
    assert {span.attributes["error.type"] for span in failed} == {"engine_failed"}
    both = [span for span in roots.values() if span.attributes["http.response.status_code"] == 200]
    assert len(both) == 6, "the request itself is good"


async def test_refusals_are_spans_and_unknown_names_are_no_labels(receiver, start_cloud):
    cloud = await start_cloud()
    key = await cloud.make_key()
    assert (await cloud.chat(key.secret, "INVENTED")).status == 404
    assert (await cloud.chat("sk-hn-" + "0" * 57, "INVENTED")).status == 401
    first, second = await spans_of(cloud, receiver, 2)
    await cloud.until(lambda: bool(receiver.points), 5, "metrics have come")
    await asyncio.sleep(0.3)
    assert (first.name, first.attributes["error.type"]) == ("chat", "model_not_found")
    assert first.attributes["gen_ai.request.model"] == "INVENTED", "said, but in no name"
    assert (second.name, second.attributes["error.type"]) == ("chat", "invalid_api_key")
    assert (first.status, second.status) == (0, 0), "the client's fault is no error of the server"
    assert "INVENTED" not in repr(receiver.points)
    (refused,) = [p for p in receiver.points if p.name == "gen_ai.server.request.duration"]
    assert refused.attributes["error.type"] == "model_not_found"


async def test_metrics_have_the_conventions_names_units_and_bounds(receiver, start_cloud):
    cloud = await start_cloud()
    key = await cloud.make_key()
    await cloud.add_engine(name="near")
    answer = await cloud.chat(key.secret, "near/model-of-near", stream=True)
    row = await cloud.row(answer.id)
    names = set(HISTOGRAMS)
    await cloud.until(lambda: names <= {p.name for p in receiver.points}, 5, "all have come")
    points = list(receiver.points)
    for name, (unit, _, bounds) in HISTOGRAMS.items():
        for point in (each for each in points if each.name == name):
            assert (point.unit, point.bounds) == (unit, tuple(map(float, bounds)))
    tokens = {
        point.attributes["gen_ai.token.type"]: (point.count, point.sum)
        for point in points
        if point.name == "gen_ai.client.token.usage"
    }
    assert tokens == {"input": (1, row.prompt_tokens), "output": (1, row.completion_tokens)}
    (first,) = [each for each in points if each.name == "gen_ai.server.time_to_first_token"]
    assert first.sum == pytest.approx((row.first_token_us - row.received_us) / 1e6)
    assert first.attributes["gen_ai.request.model"] == "near/model-of-near"


async def test_prompts_and_answers_are_told_only_where_it_is_switched_on(
    receiver, monkeypatch, start_cloud
):
    monkeypatch.setenv(SWITCH, "true")
    cloud = await start_cloud()
    key = await cloud.make_key()
    await cloud.add_engine(name="near")
    for is_stream in (False, True):
        await cloud.chat(key.secret, "near/model-of-near", "my words", stream=is_stream)
    await spans_of(cloud, receiver, 4)
    roots = [span for span in receiver.spans if span.kind == SERVER]
    for root in roots:
        asked = json.loads(root.attributes["gen_ai.input.messages"])
        said = json.loads(root.attributes["gen_ai.output.messages"])
        assert asked == [{"role": "user", "parts": [{"type": "text", "content": "my words"}]}]
        (part,) = said[0]["parts"]
        assert part["content"].split() == ["one", "two", "three", "four"]
        assert said[0]["finish_reason"] == "stop"


async def test_a_receiver_that_is_away_costs_no_request_and_what_is_lost_is_counted(
    receiver, monkeypatch, start_cloud
):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    receiver.delay_s = 3.0
    cloud = await start_cloud()
    key = await cloud.make_key()
    await cloud.add_engine(name="near")
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(20):
        assert (await cloud.chat(key.secret, "near/model-of-near")).status == 200
    assert loop.time() - began < 2.5 * 3, "nobody waits for the receiver"
    page = (await cloud.ask("GET", "/metrics")).data.decode()
    lost = re.search(r'^haneul_telemetry_lost_total{kind="spans"} (\S+)$', page, re.MULTILINE)
    assert lost is not None
    assert 40 - 8 - 8 <= float(lost[1]) <= 40


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
    ],
)
async def test_nothing_watches_where_nobody_asked_for_it(start_cloud, monkeypatch, environ):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    cloud = await start_cloud()
    assert type(cloud.cloud.gateway).__name__ == "Gateway"
    assert cloud.cloud.metrics.watchers == []


async def test_a_watcher_that_fails_costs_no_request(start_cloud):
    class Broken:
        def __getattr__(self, name):
            raise ValueError(name)

    cloud = await start_cloud(metrics_vllm=True)
    gateway = cloud.cloud.gateway
    gateway._watchers = (Broken(), *gateway._watchers)
    key = await cloud.make_key()
    await cloud.add_engine(name="near")
    assert (await cloud.chat(key.secret, "near/model-of-near")).status == 200
    assert (await cloud.chat(key.secret, "nowhere")).status == 404
    page = (await cloud.ask("GET", "/metrics")).data
    assert b"vllm:generation_tokens_total{" in page, "the others are told"


async def test_a_client_that_hangs_up_and_an_engine_that_dies_are_told_apart(receiver, start_cloud):
    cloud = await start_cloud()
    key = await cloud.make_key()
    await cloud.add_engine(name="slow", delay_s=0.2)
    await cloud.add_engine(name="dies", die_after=1)
    assert (await cloud.chat(key.secret, "dies/model-of-dies", stream=True)).status == 200
    body = {"model": "slow/model-of-slow", "stream": True}
    body["messages"] = [{"role": "user", "content": "a"}]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await cloud.ask("POST", "/v1/chat/completions", body, secret=key.secret)
    await cloud.settle()
    await spans_of(cloud, receiver, 4)
    told = {
        (span.kind, span.attributes["haneul.engine"]): (span.attributes["error.type"], span.status)
        for span in receiver.spans
    }
    assert told == {
        (SERVER, "dies"): ("engine_unavailable", ERROR),
        (CLIENT, "dies"): ("engine_unavailable", ERROR),
        (SERVER, "slow"): ("client_gone", 0),
        (CLIENT, "slow"): ("client_gone", ERROR),
    }
