"""However an engine cuts its answer into chunks and bytes, each dialect tells it in order.

What a stream adds up to is what a whole answer says.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import EngineFailed
from haneul.services import answer
from haneul.services.anthropic import request as anthropic_request
from haneul.services.anthropic import stream as anthropic_stream
from haneul.services.anthropic import told as anthropic_told
from haneul.services.flights import Counters
from haneul.services.ollama import request as ollama_request
from haneul.services.ollama import told as ollama_told

ASKED = {"model": "m", "messages": [{"role": "user", "content": "a"}], "max_tokens": 9}
ENDS = [("stop", None), ("stop", "END"), ("length", None), ("tool_calls", None)]
pieces = st.lists(st.text(min_size=1, max_size=6) | st.sampled_from(["\u2028", "\x85"]), max_size=4)
inputs = st.dictionaries(st.text(max_size=4), st.integers(-9, 9) | st.text(max_size=4), max_size=2)
calls = st.lists(st.tuples(st.text("abc", min_size=1, max_size=4), inputs), max_size=3)


def chunks(thoughts, words, made, cut, end):
    """A streamed answer as an engine sends it; the arguments of calls come in small pieces."""
    deltas = [{"reasoning_content": text} for text in thoughts]
    deltas += [{"content": text} for text in words]
    for number, (name, value) in enumerate(made):
        text = json.dumps(value)
        first = {"index": number, "id": f"c{number}", "function": {"name": name, "arguments": ""}}
        deltas.append({"tool_calls": [first]})
        for at in range(0, len(text), cut):
            part = {"index": number, "function": {"arguments": text[at : at + cut]}}
            deltas.append({"tool_calls": [part]})
    told = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    finish = {"finish_reason": end[0], "stop_reason": end[1]}
    told.append({"choices": [{"index": 0, "delta": {}, **finish}]})
    told.append({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}})
    return b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in told) + (
        b"data: [DONE]\n\n"
    )


def whole_of(thoughts, words, made, end):
    """The same answer, whole."""
    function = [{"name": name, "arguments": json.dumps(given)} for name, given in made]
    message = {
        "role": "assistant",
        "content": "".join(words),
        "reasoning_content": "".join(thoughts),
        "tool_calls": [{"id": f"c{at}", "function": one} for at, one in enumerate(function)],
    }
    choice = {"message": message, "finish_reason": end[0], "stop_reason": end[1]}
    usage = {"prompt_tokens": 7, "completion_tokens": 5}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


def fed(stream, data, step):
    """All that a stream tells of bytes that come a few at a time."""
    told = b"".join(stream.feed(data[at : at + step]) for at in range(0, len(data), step))
    assert stream.is_done
    assert stream.failure is None
    return told + stream.ending(cost_nano=3, currency="USD")


def events(data):
    """Named events, each once checked that its two names are one."""
    found = []
    for event in data.decode().strip().split("\n\n"):
        name, value = event.split("\n", 1)
        value = json.loads(value.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        found.append(value)
    return [event for event in found if event["type"] != "ping"]


def message_of(told):
    """What Anthropic's protocol says that events add up to; its order is checked on the way."""
    first, *middle, delta, last = told
    assert (first["type"], delta["type"], last["type"]) == (
        "message_start",
        "message_delta",
        "message_stop",
    )
    blocks, is_open, partial = [], False, ""
    for event in middle:
        if event["type"] == "content_block_start":
            assert not is_open
            assert event["index"] == len(blocks)
            blocks.append(event["content_block"])
            is_open, partial = True, ""
            continue
        assert is_open
        assert event["index"] == len(blocks) - 1
        if event["type"] == "content_block_stop":
            is_open = False
            if blocks[-1]["type"] == "tool_use":
                blocks[-1]["input"] = json.loads(partial)
            continue
        one = event["delta"]
        if one["type"] == "input_json_delta":
            partial += one["partial_json"]
        elif one["type"] != "signature_delta":
            name = one["type"].removesuffix("_delta")
            blocks[-1][name] += one[name]
    assert not is_open
    return {**first["message"], **delta["delta"], "content": blocks, "usage": delta["usage"]}


answers = given(pieces, pieces, calls, st.integers(1, 5), st.integers(1, 40), st.sampled_from(ENDS))


@answers
def test_anthropics_events_add_up_to_the_whole_message(thoughts, words, made, cut, step, end):
    ask = anthropic_request.read(json.dumps(ASKED).encode())
    stream = anthropic_stream.Stream(ask, Counters())
    streamed = message_of(events(fed(stream, chunks(thoughts, words, made, cut, end), step)))
    data = whole_of(thoughts, words, made, end)
    whole = json.loads(anthropic_told.whole(ask, data, cost_nano=3, currency="USD"))
    assert {**streamed, "id": ""} == {**whole, "id": ""}


@answers
def test_ollamas_lines_add_up_to_the_whole_answer(thoughts, words, made, cut, step, end):
    asked = {name: value for name, value in ASKED.items() if name != "max_tokens"}
    ask = ollama_request.read_chat(json.dumps(asked).encode())
    stream = ollama_told.Stream(ask, Counters())
    told = fed(stream, chunks(thoughts, words, made, cut, end), step)
    *lines, last = [json.loads(line) for line in told.decode().splitlines()]
    assert [line["done"] for line in lines] == [False] * len(lines)
    data = whole_of(thoughts, words, made, end)
    whole = json.loads(ollama_told.whole(ask, data, cost_nano=3, currency="USD"))
    said = whole.pop("message")
    assert "".join(line["message"]["content"] for line in lines) == said["content"]
    assert "".join(line["message"].get("thinking", "") for line in lines) == said.get(
        "thinking", ""
    )
    found = [call for line in lines for call in line["message"].get("tool_calls", [])]
    assert found == said.get("tool_calls", [])
    times = ("created_at", "total_duration", "eval_duration")
    assert last.pop("message")["content"] == ""
    assert {name: last[name] for name in last if name not in times} == {
        name: whole[name] for name in whole if name not in times
    }


@given(st.binary(max_size=80))
def test_what_is_no_answer_is_the_engines_failure(data):
    try:
        found = answer.read(data)
    except EngineFailed:
        return
    assert found.choice.said is not None


@pytest.mark.parametrize("dialect", ["anthropic", "ollama"])
def test_a_chunk_of_another_protocol_ends_a_stream_with_a_failure(dialect):
    ask = anthropic_request.read(json.dumps(ASKED).encode())
    kinds = {"anthropic": anthropic_stream.Stream, "ollama": ollama_told.Stream}
    stream = kinds[dialect](ask, Counters())
    stream.feed(b'data: {"choices": [{"delta": {"tool_calls": [7]}}]}\n\n')
    assert isinstance(stream.failure, EngineFailed)


def test_mixed_parts_of_calls_are_the_engines_failure_in_anthropics_order():
    ask = anthropic_request.read(json.dumps(ASKED).encode())
    stream = anthropic_stream.Stream(ask, Counters())
    for number in (0, 1, 0):
        part = {"index": number, "function": {"name": "f", "arguments": "{"}}
        chunk = {"choices": [{"delta": {"tool_calls": [part]}}]}
        stream.feed(f"data: {json.dumps(chunk)}\n\n".encode())
    assert isinstance(stream.failure, EngineFailed)
