"""Engines that die, hang, refuse or talk nonsense: what the client sees, what is billed."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import socket
import sqlite3
from contextlib import closing

import pytest

from haneul.store import engines, ledger
from haneul.testing.engine import Faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = ["a", "b", "c", "d", "e", "f"]


def texts(answer):
    """What the content events said."""
    chunks = [json.loads(event) for event in answer.events() if event != "[DONE]"]
    return [
        choice["delta"]["content"]
        for chunk in chunks
        for choice in chunk.get("choices", [])
        if choice["delta"].get("content")
    ]


def chunk(text, **more):
    """An event with a text as engines send it."""
    choice = {"index": 0, "delta": {"content": text}, **more.pop("choice", {})}
    event = {"id": "i", "choices": [choice], **more}
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


async def pair(cloud, first=None, second=None):
    """Two engines for one model name: the first is asked first and has the faults."""
    name = f"twin-{secrets.token_hex(4)}"
    cheaper = {**(first or {}), "price": cloud.cheaper}
    one = await cloud.add_engine(name=f"{name}-1", models=(name,), **cheaper)
    two = await cloud.add_engine(name=f"{name}-2", models=(name,), **(second or {}))
    return name, one, two


async def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


# before the first byte
@pytest.mark.parametrize("is_stream", [True, False])
async def test_an_engine_that_dies_before_its_first_byte_is_503_with_a_time_to_retry(
    cloud, key, is_stream
):
    engine = await cloud.add_engine(die_after=0)
    answer = await cloud.chat(key.secret, engine.models[0], stream=is_stream)
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.error()["code"] == "engine_unavailable"
    row = await cloud.row(answer.id)
    assert (row.state, row.status, row.cost_nano) == ("failed", 503, 0)


async def test_an_engine_that_is_not_there_is_503(cloud, key):
    await cloud.put_engine("absent", f"http://127.0.0.1:{await unused_port()}", ("nothing",))
    answer = await cloud.chat(key.secret, "absent/nothing")
    assert (answer.status, answer.error()["code"]) == (503, "engine_unavailable")
    assert "retry-after" in answer.headers


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize(
    "faults",
    [{"die_after": 0}, {"status": 500}, {"status": 503}, {"status": 429}, {"garbage": True}],
    ids=lambda faults: "-".join(map(str, *faults.items())),
)
async def test_the_next_engine_of_that_name_answers_instead(cloud, key, faults, is_stream):
    name, one, two = await pair(cloud, faults)
    answer = await cloud.chat(key.secret, name, stream=is_stream)
    assert answer.status == 200
    row = await cloud.row(answer.id)
    assert (row.state, row.engine) == ("done", two.models[0] + "-2")
    assert (one.seen.requests, two.seen.requests) == (1, 1)
    assert (row.prompt_tokens, row.completion_tokens) == (2, 4)
    assert row.cost_nano == cloud.cost(2, 4)
    assert cloud.cloud.gateway.biller.flights.in_flight == 0


async def test_no_engine_is_asked_twice_and_the_last_ones_error_is_told(cloud, key):
    name, one, two = await pair(cloud, {"status": 500}, {"status": 429, "retry_after_s": 7})
    answer = await cloud.chat(key.secret, name)
    assert (answer.status, answer.headers["retry-after"]) == (429, "7")
    assert (one.seen.requests, two.seen.requests) == (1, 1)
    assert (await cloud.row(answer.id)).cost_nano == 0


async def test_what_a_failed_engine_had_counted_is_not_billed_beside_the_next_ones(cloud, key):
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":500,"completion_tokens":500}}\n\n'
    name, _, two = await pair(cloud, {"pieces": (usage,)})
    answer = await cloud.chat(key.secret, name, stream=True)
    row = await cloud.row(answer.id)
    assert (row.prompt_tokens, row.completion_tokens) == (2, 4)
    assert (two.seen.prompt_tokens, two.seen.completion_tokens) == (2, 4)


async def test_a_user_error_is_not_tried_elsewhere(cloud, key):
    name, one, two = await pair(cloud, {"status": 400})
    answer = await cloud.chat(key.secret, name)
    assert (answer.status, answer.error()["code"]) == (400, "fake")
    assert answer.error()["message"] == "the fake refuses"
    assert (one.seen.requests, two.seen.requests) == (1, 0)
    assert (await cloud.row(answer.id)).state == "refused"


async def test_a_key_reaches_only_the_engines_it_may_use(cloud):
    name, one, two = await pair(cloud, {"status": 500})
    only_first = await cloud.make_key(models=(f"{name}-1/{name}",))
    answer = await cloud.chat(only_first.secret, name)
    assert (answer.status, two.seen.requests) == (502, 0)
    only_second = await cloud.make_key(models=(f"{name}-2/{name}",))
    assert (await cloud.chat(only_second.secret, name)).status == 200
    assert one.seen.requests == 1
    by_name = await cloud.make_key(models=(name,))
    assert (await cloud.chat(by_name.secret, name)).status == 200
    neither = await cloud.make_key(models=("another",))
    answer = await cloud.chat(neither.secret, name)
    assert (answer.status, answer.error()["code"]) == (403, "permission_denied")


@pytest.mark.parametrize("status", [401, 403])
async def test_a_providers_refusal_of_haneuls_key_is_not_the_users(cloud, key, status):
    engine = await cloud.add_engine(status=status)
    answer = await cloud.chat(key.secret, engine.models[0])
    assert (answer.status, answer.error()["code"]) == (502, "engine_failed")


@pytest.mark.parametrize("retry_after_s", [1, 2, 4, 7, 31])
async def test_the_time_to_retry_that_an_engine_names_is_kept(cloud, key, retry_after_s):
    engine = await cloud.add_engine(status=429, retry_after_s=retry_after_s)
    answer = await cloud.chat(key.secret, engine.models[0])
    assert (answer.status, answer.headers["retry-after"]) == (429, str(retry_after_s))
    assert answer.error()["code"] == "rate_limit_exceeded"


# after it
async def test_an_engine_that_dies_in_the_middle_ends_the_stream_with_an_error(cloud, key):
    engine = await cloud.add_engine(words=WORDS, die_after=3, delay_s=0.01)
    answer = await cloud.chat(key.secret, engine.models[0], stream=True)
    assert answer.status == 200
    assert texts(answer) == ["a ", "b ", "c "]
    *_, last = answer.events()
    assert json.loads(last)["error"]["code"] == "engine_unavailable"
    row = await cloud.row(answer.id)
    assert (row.state, row.completion_tokens) == ("failed", 3)
    assert row.cost_nano == cloud.cost(row.prompt_tokens, 3)
    assert (await cloud.me(key.secret))["reserved_nano"] == 0


async def test_no_second_engine_continues_an_answer_that_has_begun(cloud, key):
    name, _, two = await pair(cloud, {"die_after": 2, "delay_s": 0.01})
    answer = await cloud.chat(key.secret, name, stream=True)
    assert "[DONE]" not in answer.events()
    assert two.seen.requests == 0


async def test_an_engines_error_event_ends_the_stream_after_what_came_before_it(cloud, key):
    engine = await cloud.add_engine(words=WORDS, error_after=4)
    answer = await cloud.chat(key.secret, engine.models[0], stream=True)
    assert texts(answer) == ["a ", "b ", "c ", "d "]
    *_, last = answer.events()
    assert json.loads(last)["error"]["code"] == "engine_failed"
    assert "the fake broke" not in answer.data.decode()
    row = await cloud.row(answer.id)
    assert (row.state, row.completion_tokens) == ("failed", 4)


async def test_an_error_in_the_same_packet_as_good_events_does_not_swallow_them(cloud, key):
    packet = chunk("a") + chunk("b") + b'data: {"error": {"message": "broke"}}\n\n'
    engine = await cloud.add_engine(pieces=(packet,))
    answer = await cloud.chat(key.secret, engine.models[0], stream=True)
    assert texts(answer) == ["a", "b"]
    assert (await cloud.row(answer.id)).completion_tokens == 2


@pytest.mark.parametrize(
    "pieces",
    [
        (b"data: <html>\n\n",),
        (b'data: {"choices": 7}\n\n',),
        (b'data: {"choices": [], "usage": {"prompt_tokens": -5}}\n\n', DONE),
        (b'data: {"choices": [], "usage": {"prompt_tokens": 99999999999999999999}}\n\n', DONE),
        (b'data: {"choices": [], "usage": {"prompt_tokens": 3000000000}}\n\n', DONE),
        (b"data: " + b"x" * 100_000,) * 50,
    ],
    ids=["html", "shape", "negative", "astronomic", "beyond-32-bits", "endless-event"],
)
async def test_a_stream_that_is_not_of_the_protocol_is_502_and_costs_nothing(cloud, key, pieces):
    engine = await cloud.add_engine(pieces=pieces)
    answer = await cloud.chat(key.secret, engine.models[0], stream=True)
    assert (answer.status, answer.error()["code"]) == (502, "engine_failed")
    row = await cloud.row(answer.id)
    assert (row.state, row.cost_nano) == ("failed", 0)
    assert (await cloud.me(key.secret))["reserved_nano"] == 0


@pytest.mark.parametrize(
    "whole",
    [
        b"<html>",
        b"[]",
        b'{"error": {"message": "out of memory"}}',
        b'{"choices": [], "usage": {"prompt_tokens": -1}}',
        b'{"choices": [], "usage": {"completion_tokens": 99999999999999999999}}',
        b'{"id": "\xff"}',
    ],
)
async def test_a_whole_answer_that_is_not_of_the_protocol_is_502_and_costs_nothing(
    cloud, key, whole
):
    engine = await cloud.add_engine(whole=whole)
    answer = await cloud.chat(key.secret, engine.models[0])
    assert (answer.status, answer.error()["code"]) == (502, "engine_failed")
    row = await cloud.row(answer.id)
    assert (row.state, row.cost_nano) == ("failed", 0)


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ((b'data: {"choices":[{"delta":{"content":"a"}}]}\r\n\r', b"\n" + DONE), ["a"]),
        ((chunk("a") + b"\n" + chunk("b"), DONE), ["a", "b"]),
        ((b": ping\n\n" + chunk("a"), DONE), ["a"]),
        ((b": ping\n" + chunk("a"), DONE), ["a"]),
        ((b"event: message\nid: 1\n" + chunk("a"), DONE), ["a"]),
        ((b'data: {"choices":\ndata: [{"delta":{"content":"a"}}]}\n\n', DONE), ["a"]),
        ((chunk("a", error=None), b'data: {"choices":[{"delta":null}]}\n\n', DONE), ["a"]),
        (tuple(bytes([byte]) for byte in chunk("é") + DONE), ["é"]),
        ((b'data:{"choices":[{"delta":{"content":"a"}}]}\n\ndata:[DONE]\n\n',), ["a"]),
    ],
    ids=[
        "cut-between-cr-and-lf",
        "three-newlines",
        "comment",
        "comment-line-in-an-event",
        "named-event",
        "two-data-lines",
        "nulls",
        "byte-by-byte",
        "no-blank",
    ],
)
async def test_streams_of_every_legal_form_are_understood_and_counted(cloud, key, pieces, said):
    engine = await cloud.add_engine(pieces=pieces)
    answer = await cloud.chat(key.secret, engine.models[0], stream=True)
    data = answer.data.decode().replace("\r\n", "\n")
    assert re.findall('"content": ?"(.*?)"', data) == said
    assert data.endswith("data: [DONE]\n\n")
    row = await cloud.row(answer.id)
    assert (row.state, row.completion_tokens) == ("done", len(said))


async def test_usage_beside_the_last_words_is_billed_and_kept_from_who_did_not_ask(cloud, key):
    usage = {"prompt_tokens": 7, "completion_tokens": 9}
    engine = await cloud.add_engine(pieces=(chunk("a"), chunk("b", usage=usage), DONE))
    answer = await cloud.chat(key.secret, engine.models[0], stream=True)
    assert texts(answer) == ["a", "b"]
    assert b"usage" not in answer.data
    row = await cloud.row(answer.id)
    assert (row.prompt_tokens, row.completion_tokens, row.metering) == (7, 9, "engine")
    asked = await cloud.chat(
        key.secret, engine.models[0], stream=True, stream_options={"include_usage": True}
    )
    last = json.loads(asked.events()[-2])
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 9)


async def test_odd_names_in_an_answer_reach_neither_page_nor_database(cloud, key):
    long_id = json.dumps("\0" + "한" * 5000)
    whole = b'{"id": %s, "choices": [], "usage": {"prompt_tokens": 1}}' % long_id.encode()
    engine = await cloud.add_engine(whole=whole)
    answer = await cloud.chat(key.secret, engine.models[0], user="\0" + "하늘" * 250)
    assert answer.status == 200
    row = await cloud.row(answer.id)
    assert row.state == "done"
    for kept in (row.upstream_id, row.end_user):
        assert "\0" not in kept
        assert len(kept.encode()) <= 256


# deadlines
async def test_an_engine_that_hangs_before_its_first_token_is_504(start_cloud):
    cloud = await start_cloud(first_token_s=0.5, answer_s=0.5)
    key = await cloud.make_key()
    engine = await cloud.add_engine(hang_after=0)
    for is_stream in (True, False):
        answer = await cloud.chat(key.secret, engine.models[0], stream=is_stream)
        assert (answer.status, answer.error()["code"]) == (504, "deadline_exceeded")
        row = await cloud.row(answer.id)
        assert (row.state, row.status, row.cost_nano) == ("failed", 504, 0)
    await cloud.until(lambda: engine.seen.hang_ups == 2, 2, "the engine was told")


async def test_an_engine_that_hangs_in_the_middle_ends_the_stream_with_an_error(start_cloud):
    cloud = await start_cloud(idle_s=0.5)
    key = await cloud.make_key()
    engine = await cloud.add_engine(words=WORDS, hang_after=3)
    answer = await cloud.chat(key.secret, engine.models[0], stream=True)
    assert texts(answer) == ["a ", "b ", "c "]
    assert json.loads(answer.events()[-1])["error"]["code"] == "deadline_exceeded"
    row = await cloud.row(answer.id)
    assert (row.state, row.completion_tokens) == ("failed", 3)
    assert row.cost_nano == cloud.cost(row.prompt_tokens, 3)
    await cloud.until(lambda: engine.seen.running == 0, 2, "the engine was told")


async def test_a_cloud_that_is_stopped_tells_the_streams_it_cuts_off(start_cloud):
    cloud = await start_cloud(drain_s=1)
    key = await cloud.make_key()
    engine = await cloud.add_engine(words=WORDS * 1000, delay_s=0.02)
    running = asyncio.create_task(cloud.chat(key.secret, engine.models[0], stream=True))
    await cloud.until(lambda: engine.seen.completion_tokens > 3)
    database = cloud.cloud.config.home / "haneul.db"
    await cloud.cloud.__aexit__(None, None, None)
    answer = await running
    assert json.loads(answer.events()[-1])["error"]["message"] == "The cloud is stopping."
    await cloud.until(lambda: engine.seen.running == 0)
    with closing(sqlite3.connect(database)) as connection:
        ((row_id, state, code, tokens),) = connection.execute(
            "SELECT id, state, error_code, completion_tokens FROM request"
        )
    assert (row_id, state, code) == (answer.id, "aborted", "cloud_stopped")
    assert len(texts(answer)) <= tokens <= engine.seen.completion_tokens


async def test_faults_can_come_and_go(cloud, key):
    """An engine that recovers is used again at once: no breaker stays open."""
    engine = await cloud.add_engine(status=500)
    assert (await cloud.chat(key.secret, engine.models[0])).status == 502
    engine.faults = Faults()
    assert (await cloud.chat(key.secret, engine.models[0])).status == 200


# bounds
async def test_beyond_the_queue_of_an_engine_is_503_at_once(start_cloud):
    cloud = await start_cloud(queue_max=2)
    key = await cloud.make_key()
    engine = await cloud.add_engine(words=WORDS, delay_s=0.1)
    (target,) = cloud.cloud.targets.find(engine.models[0])
    target.gate.inside_max = 1
    asked = [asyncio.create_task(cloud.chat(key.secret, engine.models[0])) for _ in range(3)]
    await cloud.until(lambda: target.gate.waiting == 2)
    answer = await cloud.chat(key.secret, engine.models[0])
    assert (answer.status, answer.error()["code"]) == (503, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    assert [one.status for one in await asyncio.gather(*asked)] == [200] * 3
    assert engine.seen.requests == 3
    rows = await cloud.rows(key.key.id)
    busy_us = sum(row.busy_us for row in rows)
    assert busy_us == pytest.approx(target.gate.busy.busy_s * 1e6, rel=0.05)


async def test_too_long_in_the_queue_is_503(start_cloud):
    cloud = await start_cloud(queue_s=0.3)
    key = await cloud.make_key()
    engine = await cloud.add_engine(hang_after=0)
    (target,) = cloud.cloud.targets.find(engine.models[0])
    target.gate.inside_max = 1
    first = asyncio.create_task(cloud.chat(key.secret, engine.models[0]))
    await cloud.until(lambda: engine.seen.running == 1)
    answer = await cloud.chat(key.secret, engine.models[0])
    assert (answer.status, answer.error()["code"]) == (503, "overloaded")
    row = await cloud.cloud.database.ask(lambda c: ledger.find(c, answer.id))
    assert row is None or row.started_us is None
    first.cancel()


async def test_more_in_flight_than_the_gateway_takes_is_503(start_cloud):
    cloud = await start_cloud(in_flight_max=3)
    key = await cloud.make_key()
    engine = await cloud.add_engine(words=WORDS, delay_s=0.1)
    answers = await asyncio.gather(*(cloud.chat(key.secret, engine.models[0]) for _ in range(12)))
    statuses = [answer.status for answer in answers]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) == engine.seen.requests >= 1
    assert len(await cloud.rows(key.key.id)) == 12
    assert (await cloud.chat(key.secret, engine.models[0])).status == 200


async def test_an_engine_whose_address_or_key_is_of_no_use_hinders_nothing(start_cloud, tmp_path):
    cloud = await start_cloud()
    for number, url in enumerate(("ftp://x", "http://[::1", "nonsense", "http://x:99999")):
        await cloud.put_engine(f"bad-{number}", url, ("m",))
    key = await cloud.make_key()
    engine = await cloud.add_engine()
    assert (await cloud.chat(key.secret, engine.models[0])).status == 200
    assert (await cloud.chat(key.secret, "bad-0/m")).status == 404
    home = cloud.cloud.config.home
    await cloud.cloud.__aexit__(None, None, None)
    again = await start_cloud(home=home)
    assert (await again.chat(key.secret, engine.models[0])).status == 200


async def test_an_engine_is_taken_out_while_it_answers(cloud, key):
    engine = await cloud.add_engine(words=WORDS, delay_s=0.03)
    (target,) = cloud.cloud.targets.find(engine.models[0])
    running = asyncio.create_task(cloud.chat(key.secret, engine.models[0], stream=True))
    await cloud.until(lambda: engine.seen.completion_tokens > 1)
    await cloud.cloud.database.call(lambda c: engines.remove(c, target.engine, 1))
    await cloud.cloud.roster.refresh()
    assert (await cloud.chat(key.secret, engine.models[0])).status == 404
    assert texts(await running) == [f"{word} " for word in WORDS]
