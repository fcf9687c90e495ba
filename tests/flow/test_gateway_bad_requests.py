"""Requests that are wrong in every way known: refused by name, never 5xx, and nothing breaks."""

from __future__ import annotations

import json
import re

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

USER = {"role": "user", "content": "hello"}
CHAT = {"messages": [USER]}
INNARDS = re.compile(rb"Traceback|File \"|/home/|/usr/|site-packages|haneul/|\.py\b|msgspec")


def deep(depth):
    return b'{"model":"echo","messages":' + b"[" * depth + b"]" * depth + b"}"


# Bodies as bytes or as fields beside a model and messages; the statuses allowed; the field named.
BAD = {
    "empty": (b"", {400}, None),
    "blank": (b"  \n", {400}, None),
    "cut": (b'{"model":"echo","messages":[{"role":"user"', {400}, None),
    "array": (b"[]", {400}, None),
    "null": (b"null", {400}, None),
    "string": (b'"echo"', {400}, None),
    "number": (b"7", {400}, None),
    "two objects": (b"{}{}", {400}, None),
    "not utf-8": (
        b'{"model":"echo","messages":[{"role":"user","content":"\xff\xfe"}]}',
        {400},
        None,
    ),
    "nested 100,000 deep": (deep(100_000), {400}, None),
    "nested 1,000 deep": (deep(1_000), {400}, None),
    "nested 20 deep": (deep(20), {400}, "messages[0]"),
    "no model": (b'{"messages":[{"role":"user","content":"x"}]}', {400}, "model"),
    "no messages": (b'{"model":"echo"}', {400}, "messages"),
    "messages empty": ({"messages": []}, {400}, "messages"),
    "messages a text": ({"messages": "hello"}, {400}, "messages"),
    "message a number": ({"messages": [7]}, {400}, "messages[0]"),
    "message null": ({"messages": [None]}, {400}, "messages[0]"),
    "no role": ({"messages": [{"content": "x"}]}, {400}, "messages[0]"),
    "unknown role": ({"messages": [{"role": "wizard", "content": "x"}]}, {400}, "messages[0].role"),
    "content a number": (
        {"messages": [{"role": "user", "content": 7}]},
        {400},
        "messages[0].content",
    ),
    "content part without type": (
        {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
        {400},
        "messages[0].content[0]",
    ),
    "10,001 messages": ({"messages": [USER] * 10_001}, {400}, "messages"),
    "model empty": ({"model": ""}, {400}, "model"),
    "model a number": ({"model": 7}, {400}, "model"),
    "model null": ({"model": None}, {400}, "model"),
    "model a path": ({"model": "../../etc/passwd"}, {404}, "model"),
    "model a url": ({"model": "http://169.254.169.254/x"}, {404}, "model"),
    "model with NUL": ({"model": "echo\0"}, {404}, "model"),
    "model escaped": ({"model": "..%2f..%2fetc"}, {404}, "model"),
    "model of 100,000": ({"model": "m" * 100_000}, {400}, "model"),
    "max_tokens 0": ({"max_tokens": 0}, {400}, "max_tokens"),
    "max_tokens -1": ({"max_tokens": -1}, {400}, "max_tokens"),
    "max_tokens 23 digits": ({"max_tokens": 10**22}, {400}, "max_tokens"),
    "max_tokens 3.7": ({"max_tokens": 3.7}, {400}, "max_tokens"),
    "max_tokens a text": ({"max_tokens": "5"}, {400}, "max_tokens"),
    "max_tokens 5.0, then no JSON": (b'{"model":"echo","max_tokens":5.0,', {400}, None),
    "max_tokens 5.0, then 100,000 deep": (
        b'{"model":"echo","max_tokens":5.0,"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        {400},
        None,
    ),
    "max_tokens 5.0, then 900 deep": (
        b'{"model":"echo","max_tokens":5.0,"messages":' + b"[" * 900 + b"]" * 900 + b"}",
        {400},
        None,
    ),
    "two lengths": (
        {"max_tokens": 5, "max_completion_tokens": 6},
        {400},
        "max_completion_tokens",
    ),
    "n 0": ({"n": 0}, {400}, "n"),
    "n a billion": ({"n": 10**9}, {400}, "n"),
    "best_of a billion": ({"best_of": 10**9}, {400}, "best_of"),
    "temperature -1": ({"temperature": -1}, {400}, "temperature"),
    "temperature 1e999": (
        b'{"model":"echo","messages":[{"role":"user","content":"x"}],"temperature":1e999}',
        {400},
        "temperature",
    ),
    "temperature NaN": (
        b'{"model":"echo","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
        {400},
        None,
    ),
    "top_p 7": ({"top_p": 7}, {400}, "top_p"),
    "top_logprobs a million": ({"logprobs": True, "top_logprobs": 10**6}, {400}, "top_logprobs"),
    "seed a text": ({"seed": "x"}, {400}, "seed"),
    "seed 2**64": ({"seed": 2**64}, {400}, "seed"),
    "stop an object": ({"stop": {}}, {400}, "stop"),
    "10,000 stops": ({"stop": ["x"] * 10_000}, {400}, "stop"),
    "logit_bias by name": ({"logit_bias": {"abc": 1}}, {400}, "logit_bias"),
    "logit_bias of 1e9": ({"logit_bias": {"5": 1e9}}, {400}, "logit_bias[...]"),
    "stream a text": ({"stream": "yes"}, {400}, "stream"),
    "stream_options alone": ({"stream_options": {"include_usage": True}}, {400}, "stream_options"),
    "stream_options a list": ({"stream": True, "stream_options": []}, {400}, "stream_options"),
    "include_usage a text": (
        {"stream": True, "stream_options": {"include_usage": "yes"}},
        {400},
        "stream_options.include_usage",
    ),
    "user a list": ({"user": []}, {400}, "user"),
    "user of 100,000": ({"user": "u" * 100_000}, {400}, "user"),
    "tools a text": ({"tools": "all"}, {400}, "tools"),
    "129 tools": ({"tools": [{}] * 129}, {400}, "tools"),
    "response_format a text": ({"response_format": "json"}, {400}, "response_format"),
    # Odd, but an engine may take them: only never 5xx.
    "duplicate keys": (
        b'{"model":"nope","model":"echo","messages":[{"role":"user","content":"x"}]}',
        {200},
        None,
    ),
    "half a surrogate pair": (
        b'{"model":"echo","messages":[{"role":"user","content":"\\ud800 x"}]}',
        {200, 400},
        None,
    ),
    "NUL in the text": ({"messages": [{"role": "user", "content": "a\0b"}]}, {200}, None),
    "template in the text": ({"messages": [{"role": "user", "content": "{{ 7*7 }}"}]}, {200}, None),
    "recursive schema": (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"$ref": "#"}},
            }
        },
        {200, 400},
        None,
    ),
    "end user with NUL": ({"user": "a\0b"}, {200}, None),
}


@pytest.fixture(scope="module")
def shared():
    return {}


async def prepared(cloud, shared):
    """One engine and one key for all of the requests."""
    if not shared:
        shared["engine"] = await cloud.add_engine(name="bad", models=("echo",))
        shared["key"] = await cloud.make_key()
    return shared["engine"], shared["key"]


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_request_is_refused_by_name_and_a_good_one_works_right_after(
    cloud, shared, name
):
    body, statuses, param = BAD[name]
    _, key = await prepared(cloud, shared)
    if isinstance(body, dict):
        body = {"model": "echo", **CHAT, **body}
    answer = await cloud.ask("POST", "/v1/chat/completions", body, secret=key.secret)
    assert answer.status in statuses, answer.data[:300]
    assert not INNARDS.search(answer.data), answer.data[:300]
    if answer.status != 200:
        error = answer.error()
        assert error["param"] == param
        assert error["type"] == "invalid_request_error"
        assert len(answer.data) < 2_000
    row = await cloud.row(answer.id)
    assert row.state == ("done" if answer.status == 200 else "refused")
    assert (row.status, row.cost_nano > 0) == (answer.status, answer.status == 200)
    assert (await cloud.chat(key.secret, "echo")).status == 200
    assert (await cloud.me(key.secret))["reserved_nano"] == 0


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/completions", {"model": "echo"}, "prompt"),
        ("/v1/completions", {"model": "echo", "prompt": {}}, "prompt"),
        ("/v1/completions", {"model": "echo", "prompt": None}, "prompt"),
        ("/v1/completions", {"model": "echo", "prompt": "x", "logprobs": 99}, "logprobs"),
        ("/v1/embeddings", {"model": "echo"}, "input"),
        ("/v1/embeddings", {"model": "echo", "input": 7}, "input"),
        ("/v1/embeddings", {"model": "echo", "input": "x", "dimensions": 0}, "dimensions"),
        (
            "/v1/embeddings",
            {"model": "echo", "input": "x", "encoding_format": "hex"},
            "encoding_format",
        ),
    ],
)
async def test_the_other_addresses_name_the_field_too(cloud, shared, path, body, param):
    _, key = await prepared(cloud, shared)
    answer = await cloud.ask("POST", path, body, secret=key.secret)
    assert (answer.status, answer.error()["param"]) == (400, param)


async def test_what_was_refused_never_reached_the_engine(cloud):
    engine = await cloud.add_engine()
    key = await cloud.make_key()
    for body, statuses, _ in BAD.values():
        if isinstance(body, dict) and 200 not in statuses:
            fields = {"model": engine.models[0], **CHAT, **body}
            await cloud.ask("POST", "/v1/chat/completions", fields, secret=key.secret)
    assert engine.seen.requests == 0


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("days=0", "days"),
        ("days=x", "days"),
        ("limit=99999999999999", "limit"),
        ("limit=-1", "limit"),
        ("days=%EF%BC%91", "days"),
    ],
)
async def test_a_bad_query_names_its_field(cloud, shared, query, param):
    _, key = await prepared(cloud, shared)
    answer = await cloud.ask("GET", f"/haneul/v1/usage?{query}", secret=key.secret)
    assert (answer.status, answer.error()["param"]) == (400, param)


async def test_an_urgency_that_does_not_exist_is_refused_by_name(cloud, shared):
    _, key = await prepared(cloud, shared)
    body = {"model": "echo", **CHAT}
    for priority, status in (("urgent", 400), ("batch", 200)):
        answer = await cloud.ask(
            "POST",
            "/v1/chat/completions",
            body,
            secret=key.secret,
            **{"x-haneul-priority": priority},
        )
        assert answer.status == status
        if status == 400:
            assert answer.error()["param"] == "x-haneul-priority"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"model":7}', b'{"model":"echo","x":1}', b"\xff"])
async def test_bad_bodies_of_haneuls_own_addresses_are_400(cloud, body):
    admin = await cloud.make_key(scopes=("admin",))
    answer = await cloud.ask("POST", "/haneul/v1/models/stop", body, secret=admin.secret)
    assert answer.status == 400
    answer.error()
    assert not INNARDS.search(answer.data)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/%2e%2e%2f%2e%2e",
        "/v1/models/",
        "/v1/models/a%00b",
        "/static/../../etc/passwd",
        "/static/%2e%2e/app.js",
        "/v1/chat/completions/",
        "//v1/models",
        "/haneul/v1/requests/",
    ],
)
async def test_odd_addresses_are_not_found(cloud, shared, path):
    _, key = await prepared(cloud, shared)
    answer = await cloud.ask("GET", path, secret=key.secret)
    assert answer.status in (400, 404)
    answer.error()
    assert not INNARDS.search(answer.data)


async def test_json_is_json_in_the_answer_too(cloud, shared):
    engine, key = await prepared(cloud, shared)
    answer = await cloud.chat(key.secret, "echo")
    assert json.loads(answer.data)["choices"][0]["message"]["content"].startswith("one")
    assert answer.headers["content-type"] == "application/json"
    assert engine.seen.running == 0
