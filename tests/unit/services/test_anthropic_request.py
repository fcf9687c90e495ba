"""Any body at all becomes a neutral request or is refused by name, and no word of it is lost."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest
from haneul.services.anthropic import request as reading
from haneul.services.anthropic.told import Errors, whole
from haneul.services.anthropic.wire import MessagesRequest

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
words = st.text(min_size=1, max_size=12)
cached = {"cache_control": {"type": "ephemeral"}}
texts = st.builds(lambda text: {"type": "text", "text": text, **cached}, words)
images = st.builds(lambda url: {"type": "image", "source": {"type": "url", "url": url}}, words)
results = st.builds(
    lambda name, content, is_error: {
        "type": "tool_result",
        "tool_use_id": name,
        "content": content,
        "is_error": is_error,
    },
    words,
    words | st.lists(texts | images, max_size=2),
    st.booleans(),
)
uses = st.builds(
    lambda name, value: {"type": "tool_use", "id": "c", "name": name, "input": {"x": value}},
    words,
    words,
)
thoughts = st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": "s"}, words)
users = st.builds(
    lambda content: {"role": "user", "content": content},
    words | st.lists(texts | images | results, min_size=1, max_size=4),
)
assistants = st.builds(
    lambda content: {"role": "assistant", "content": content},
    words | st.lists(texts | thoughts | uses, min_size=1, max_size=4),
)
dialogues = st.builds(
    lambda turns, last: [*turns, last], st.lists(users | assistants, max_size=4), users
)
NAMES = sorted({*MessagesRequest.__struct_fields__, "x"})
likely = {
    "model": st.just("m") | json_values,
    "max_tokens": st.integers(1, 5000) | json_values,
    "messages": dialogues | json_values,
    "system": words | st.lists(texts, max_size=2) | json_values,
    "tools": st.just([{"name": "f", "input_schema": {"type": "object"}}]) | json_values,
    "tool_choice": st.sampled_from(
        [{"type": "auto"}, {"type": "any", "disable_parallel_tool_use": True}, {"type": "none"}]
    )
    | json_values,
    "thinking": st.sampled_from([{"type": "enabled", "budget_tokens": 1024}, {"type": "disabled"}])
    | json_values,
}
needed = ("model", "max_tokens", "messages")
bodies = st.fixed_dictionaries(
    {name: likely[name] for name in needed},
    optional={name: likely.get(name, json_values) for name in NAMES if name not in needed},
)


def read_or_refusal(data):
    try:
        return reading.read(data), None
    except BadRequest as refusal:
        return None, refusal


@given(bodies)
def test_any_body_is_read_or_refused_by_a_name_of_its_own(body):
    ask, refusal = read_or_refusal(json.dumps(body).encode())
    if ask is None:
        assert refusal.param
        said = json.loads(Errors().body(refusal, "req_1"))
        assert said["error"]["type"] == "invalid_request_error"
        return
    assert ask.model == body["model"]
    assert ask.completion_max == body["max_tokens"]
    assert "x" not in body, "a field nobody knows"


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(data):
    with pytest.raises(BadRequest):
        reading.read(data)


def strings(value):
    """Every text in a JSON value that a client may have written."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for part in parts for text in strings(part)]


@given(dialogues, st.none() | words | st.lists(texts, min_size=1, max_size=2))
def test_no_word_of_a_dialogue_is_lost(messages, system):
    body = {"model": "m", "max_tokens": 9, "messages": messages, "system": system}
    ask = reading.read(json.dumps(body).encode())
    neutral = msgspec.json.decode(msgspec.json.encode(ask.body.fields))
    there = strings(neutral["messages"])
    for message in neutral["messages"]:
        for call in message.get("tool_calls", []):
            there += strings(json.loads(call["function"]["arguments"]))
    ours = {"role", "type", "cache_control", "signature", "id"}

    def said(value):
        if isinstance(value, dict):
            return [text for name, part in value.items() if name not in ours for text in said(part)]
        return (
            [text for part in value for text in said(part)]
            if isinstance(value, list)
            else ([value] if isinstance(value, str) else [])
        )

    for word in said(messages) + said(system):
        assert any(word in text for text in there), (word, there)


@given(dialogues)
def test_every_tool_result_is_a_message_of_its_own_in_its_order(messages):
    body = {"model": "m", "max_tokens": 9, "messages": messages}
    ask = reading.read(json.dumps(body).encode())
    neutral = msgspec.json.decode(ask.body.fields["messages"])
    asked = [
        block["tool_use_id"]
        for message in messages
        for block in (message["content"] if isinstance(message["content"], list) else [])
        if block["type"] == "tool_result"
    ]
    told = [message["tool_call_id"] for message in neutral if message["role"] == "tool"]
    assert told == asked


def test_a_calls_numbers_go_on_as_they_were_written():
    use = b'{"type":"tool_use","id":"c","name":"f","input":{"n":123456789012345678901234567890}}'
    data = (
        b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"},'
        b'{"role":"assistant","content":[' + use + b']},{"role":"user","content":"b"}]}'
    )
    ask = reading.read(data)
    assert b"123456789012345678901234567890" in bytes(ask.body.fields["messages"])


def test_arguments_that_are_no_object_are_kept_under_a_name_that_says_so():
    ask = reading.read(b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"}]}')
    call = {"id": "c", "function": {"name": "f", "arguments": '{"city": "Se'}}
    answer = {"choices": [{"finish_reason": "length", "message": {"tool_calls": [call]}}]}
    told = json.loads(whole(ask, json.dumps(answer).encode(), cost_nano=1, currency="USD"))
    assert told["content"][0]["input"] == {"INVALID_JSON": '{"city": "Se'}
    assert told["stop_reason"] == "max_tokens"
    assert told["usage"]["output_tokens"] > 0, "counted here where the engine did not"
