"""The Model Context Protocol: its own client, and messages by hand."""

from __future__ import annotations

import asyncio
import json

import pytest
from client_places import CLIENTS, python_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def post(cloud, secret, method, params=None, **headers):
    """One request; gives the answer."""
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    return await cloud.ask("POST", "/mcp", body, secret=secret, **headers)


async def call(cloud, secret, name, **arguments):
    """The result of a tool."""
    answer = await post(cloud, secret, "tools/call", {"name": name, "arguments": arguments})
    assert answer.status == 200, answer.data
    return answer.json()["result"]


async def test_a_client_is_greeted_in_our_version_whatever_its_own(cloud, key):
    for asked in ("2025-06-18", "2025-03-26", "2030-01-01"):
        answer = await post(cloud, key.secret, "initialize", {"protocolVersion": asked})
        result = answer.json()["result"]
        assert result["protocolVersion"] == "2025-06-18"
        assert result["serverInfo"]["name"] == "haneul"
        assert result["capabilities"] == {"tools": {}}


async def test_a_notification_is_taken_without_an_answer(cloud, key):
    body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    answer = await cloud.ask("POST", "/mcp", body, secret=key.secret)
    assert (answer.status, answer.data) == (202, b"")


async def test_a_chat_by_the_tool_is_metered_and_billed_like_any_other(cloud, key):
    engine = await cloud.add_engine(words=["blue", "sky"])
    result = await call(cloud, key.secret, "chat", model=engine.models[0], message="two words")
    assert result["content"] == [{"type": "text", "text": "blue sky "}]
    assert result["structuredContent"]["text"] == "blue sky "
    (row,) = await cloud.rows(key.key.id)
    assert (row.route, row.state, row.completion_tokens) == ("mcp", "done", 2)
    assert row.cost_nano == cloud.cost(2, 2) == result["structuredContent"]["cost_nano"]
    used = await call(cloud, key.secret, "usage", days=1)
    assert [each["requests"] for each in used["structuredContent"]["usage"]] == [1]


async def test_the_tools_show_a_key_only_what_is_its_own(cloud):
    mine, other = await cloud.add_engine(), await cloud.add_engine()
    key = await cloud.make_key(models=mine.models)
    listed = await call(cloud, key.secret, "list_models")
    (model,) = listed["structuredContent"]["models"]
    assert model["id"].endswith(mine.models[0])
    refused = await call(cloud, key.secret, "chat", model=other.models[0], message="x")
    assert refused["isError"] is True
    (used,) = (await call(cloud, key.secret, "usage"))["structuredContent"]["usage"]
    assert (used["key_id"], used["requests"], used["failed"]) == (key.key.id, 1, 1)


async def test_what_fails_in_a_tool_is_its_result(cloud):
    engine = await cloud.add_engine(status=500)
    key = await cloud.make_key()
    failed = await call(cloud, key.secret, "chat", model=engine.models[0], message="x")
    assert (failed["isError"], "engine_failed" in failed["content"][0]["text"]) == (True, True)
    poor = await cloud.make_key(budget="0")
    spent = await call(cloud, poor.secret, "chat", model=engine.models[0], message="x")
    assert "insufficient_quota" in spent["content"][0]["text"]
    blind = await cloud.make_key(scopes=("infer",))
    unseen = await call(cloud, blind.secret, "usage")
    assert "permission_denied" in unseen["content"][0]["text"]


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("nothing", None, -32601),
        ("tools/call", None, -32602),
        ("tools/call", {"name": "nothing"}, -32602),
        ("tools/call", {"name": "chat", "arguments": {"model": "m"}}, -32602),
        ("tools/call", {"name": "chat", "arguments": 5}, -32602),
        ("tools/call", {"name": "usage", "arguments": {"days": 0}}, -32602),
        ("initialize", {}, -32602),
    ],
)
async def test_what_is_not_offered_is_an_error_of_the_protocol(cloud, key, method, params, code):
    answer = await post(cloud, key.secret, method, params)
    assert answer.status == 200
    assert (answer.json()["id"], answer.json()["error"]["code"]) == (7, code)


async def test_what_is_no_message_is_400_and_what_is_not_done_here_405(cloud, key):
    answer = await cloud.ask("POST", "/mcp", b"{", secret=key.secret)
    assert (answer.status, answer.json()["error"]["code"]) == (400, -32700)
    for body in (b"[]", {"jsonrpc": "1.0", "method": "ping"}, {"method": "ping"}):
        answer = await cloud.ask("POST", "/mcp", body, secret=key.secret)
        assert answer.status == 400, body
        assert answer.json()["error"]["code"] == -32600
    for method in ("GET", "DELETE"):
        answer = await cloud.ask(method, "/mcp", secret=key.secret)
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_no_key_a_foreign_page_and_an_unknown_version_are_refused(cloud, key):
    assert (await post(cloud, "", "ping")).status == 401
    foreign = await post(cloud, key.secret, "ping", origin="https://elsewhere.example")
    assert foreign.status == 403
    own = await post(cloud, key.secret, "ping", origin=cloud.root)
    assert own.json() == {"jsonrpc": "2.0", "id": 7, "result": {}}
    header = {"mcp-protocol-version": "1999-01-01"}
    assert (await post(cloud, key.secret, "ping", **header)).status == 400


@pytest.mark.slow
@pytest.mark.timeout(300)  # the first time its client is installed
@pytest.mark.parametrize(("lock", "major"), [("mcp", "2"), ("mcp_old", "1")])
async def test_the_protocols_own_client_lists_chats_and_counts(cloud, key, lock, major):
    engine = await cloud.add_engine(words=["blue", "sky", "over"])
    asking = await asyncio.create_subprocess_exec(
        str(await asyncio.to_thread(python_of, lock)),
        str(CLIENTS / "mcp_client.py"),
        f"{cloud.root}/mcp",
        key.secret,
        engine.models[0],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, errors = await asyncio.wait_for(asking.communicate(), 60)
    assert asking.returncode == 0, errors.decode()[-3000:]
    said = json.loads(told)
    assert any(name.endswith(engine.models[0]) for name in said.pop("models"))
    assert said == {
        "client": major,
        "server": "haneul",
        "protocol": "2025-06-18",
        "tools": ["chat", "list_models", "usage"],
        "chat": [False, "blue sky "],
        "cost_nano": cloud.cost(2, 2),
        "wrong": [True, True],
        "requests": 2,
    }
