"""Messages of the Model Context Protocol: whatever comes is read, or refused by name."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest
from haneul.services.keys import LOCAL
from haneul.services.mcp import tools, wire

WHOLE = st.integers(-(2**63), 2**63)
LEAVES = st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False) | st.text()
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "model": st.just("m") | ANYTHING,
        "message": st.text() | ANYTHING,
        "system": ANYTHING,
        "max_tokens": st.integers(-1, 9) | ANYTHING,
        "temperature": ANYTHING,
        "other": ANYTHING,
    },
)


def message(params, **more):
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params, **more}


@given(ANYTHING)
def test_anything_is_a_message_or_is_refused(value):
    try:
        found = wire.read(msgspec.json.encode(value))
    except BadRequest:
        return
    assert isinstance(found, wire.McpMessage)


@given(st.sampled_from([*tools.TOOLS, "nothing"]), ARGUMENTS | ANYTHING)
def test_any_call_is_a_request_or_is_refused(name, arguments):
    data = msgspec.json.encode(message({"name": name, "arguments": arguments}))
    ask = None
    with suppress(BadRequest, wire.Refused):
        called, wanted = tools.called(wire.read(data))
        if called == tools.CHAT:
            ask = asyncio.run(tools.McpChat().open(LOCAL, data))
    if ask is not None:
        asked = msgspec.json.decode(ask.body.replace())
        assert (ask.name, ask.model, ask.client) == ("mcp", wanted.model, 1)
        assert asked["messages"][-1] == {"role": "user", "content": wanted.message}
        assert asked.get("max_tokens") == wanted.max_tokens
        assert asked.get("temperature") == wanted.temperature


def test_every_tool_says_what_it_takes_and_gives():
    for tool in tools.listed():
        for schema in (tool["inputSchema"], tool["outputSchema"]):
            assert schema["type"] == "object"
            assert "$ref" not in msgspec.json.encode(schema).decode()
