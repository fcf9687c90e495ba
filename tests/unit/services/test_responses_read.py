"""Requests of the Responses API: whatever JSON comes, it is understood or refused by name."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest
from haneul.services.responses.items import messages, read_items
from haneul.services.responses.request import KNOWN, ResponseRequest, neutral, read

TEXTS = st.text(max_size=8)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
WORDS = st.sampled_from(
    [
        "message",
        "function_call",
        "function_call_output",
        "reasoning",
        "item_reference",
        "function",
        "user",
        "assistant",
        "system",
        "input_text",
        "output_text",
        "input_image",
        "refusal",
        "json_schema",
        "text",
        "auto",
        "low",
        "completed",
        "summary_text",
        "reasoning_text",
    ]
)
NAMES = st.sampled_from(
    [
        "type",
        "role",
        "content",
        "text",
        "id",
        "status",
        "call_id",
        "name",
        "arguments",
        "output",
        "summary",
        "image_url",
        "detail",
        "refusal",
        "parameters",
        "strict",
        "format",
        "schema",
    ]
)
LIKELY = st.recursive(
    WORDS | TEXTS | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=25,
)
BODIES = st.dictionaries(st.sampled_from(sorted(KNOWN)) | TEXTS, ANY | LIKELY, max_size=6)


def open_as_the_dialect_does(data: bytes) -> Any:
    request, forwarded = read(data)
    return neutral(request, read_items(request.input), forwarded)


def read_or_refused(data: bytes) -> None:
    refused, ask = None, None
    try:
        ask = open_as_the_dialect_does(data)
    except BadRequest as error:
        refused = error
    assert ask is not None or (refused is not None and refused.status == 400 and refused.message)
    assert ask is None or {"model", "messages"} <= ask.body.fields.keys()


@given(BODIES, LIKELY)
def test_any_json_is_an_ask_or_a_refusal(body, told):
    read_or_refused(msgspec.json.encode({"model": "m", "input": told, **body}))


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_understood(data):
    read_or_refused(data)


@pytest.mark.parametrize("data", [b'{"model":"m","input":"\\ud800"}', b"[" * 5000, b'{"a":1e999}'])
def test_what_is_no_text_is_refused(data):
    with pytest.raises(BadRequest):
        open_as_the_dialect_does(data)


@given(st.sampled_from(sorted(KNOWN)))
def test_every_known_field_is_read_typed_or_goes_on(name):
    if name in ResponseRequest.__struct_fields__:
        return
    ask = open_as_the_dialect_does(json.dumps({"model": "m", "input": "x", name: None}).encode())
    assert bytes(ask.body.fields[name]) == b"null"


@given(TEXTS.filter(lambda name: name not in KNOWN))
def test_an_unknown_field_is_refused_by_name(name):
    data = msgspec.json.encode({"model": "m", "input": "x", name: 1})
    with pytest.raises(BadRequest) as raised:
        read(data)
    assert raised.value.param == name


TURNS = st.lists(
    st.one_of(
        st.builds(
            lambda role, text: {"role": role, "content": text},
            st.sampled_from(["user", "assistant", "system", "developer"]),
            TEXTS,
        ),
        st.builds(lambda text: {"type": "reasoning", "content": [thought(text)]}, TEXTS),
        st.builds(lambda text: {**CALL, "arguments": text}, TEXTS),
        st.builds(
            lambda text: {"type": "function_call_output", "call_id": "c", "output": text}, TEXTS
        ),
    ),
    min_size=1,
    max_size=12,
)
CALL = {"type": "function_call", "call_id": "c", "name": "f"}


def thought(text):
    return {"type": "reasoning_text", "text": text}


@given(TURNS)
def test_no_word_of_a_conversation_is_lost_or_changes_its_place(turns):
    said = [
        turn.get("arguments", turn.get("output", turn.get("content")))
        if turn.get("type") != "reasoning"
        else turn["content"][0]["text"]
        for turn in turns
    ]
    told = []
    for message in messages(read_items(turns)):
        told.append(message.get("reasoning_content", ""))
        told.append(message.get("content") or "")
        told += [call["function"]["arguments"] for call in message.get("tool_calls", [])]
    assert [text for text in told if text] == [text for text in said if text]


@given(TURNS)
def test_items_that_were_read_are_read_again_as_they_are(turns):
    once = read_items(turns)
    assert read_items(once) == once


@given(TURNS)
def test_every_message_has_what_a_chat_asks_of_it(turns):
    for message in messages(read_items(turns)):
        assert message.get("content") is not None or message["tool_calls"]
