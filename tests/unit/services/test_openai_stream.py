"""A streamed answer is read the same however the network cuts it."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from haneul.services import openai
from haneul.services.flights import Counters


def ask(*, wants_usage=False):
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "stream": True,
        "stream_options": {"include_usage": wants_usage},
    }
    return openai.read(openai.CHAT, json.dumps(body).encode())


def event(value, end="\n\n"):
    return f"data: {json.dumps(value, ensure_ascii=False)}{end}"


def content(text, end="\n\n", **more):
    return event({"id": "i", "choices": [{"index": 0, "delta": {"content": text}}], **more}, end)


ends = st.sampled_from(["\n\n", "\r\n\r\n", "\n\n\n"])
counts = st.fixed_dictionaries(
    {"prompt_tokens": st.integers(0, 99), "completion_tokens": st.integers(0, 99)}
)
events = st.one_of(
    st.builds(content, st.text(max_size=20), ends),
    st.builds(
        lambda text, end, usage: content(text, end, usage=usage), st.text(max_size=5), ends, counts
    ),
    st.builds(lambda end, usage: event({"choices": [], "usage": usage}, end), ends, counts),
    st.builds(lambda end: f": ping{end}", ends),
    st.builds(lambda end: f'event: x\ndata: {{"choices":[]}}{end}', ends),
    st.just("data: [DONE]\n\n"),
    st.just('data: {"error": {"message": "broke"}}\n\n'),
)


def read(data, cuts):
    """What goes on, what was counted, and how it ended, for the bytes cut at those places."""
    counters = Counters()
    stream = openai.Stream(ask(wants_usage=True), counters)
    places = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    out = b""
    for start, end in pairwise(places):
        out += stream.feed(data[start:end])
        if stream.failure is not None:
            return out, counters, "failed"
    return out, counters, (stream.is_done, stream.has_usage, stream.usage_event is not None)


@given(st.lists(events, max_size=12), st.lists(st.integers(0, 10_000), max_size=20))
def test_where_the_bytes_are_cut_makes_no_difference(parts, cuts):
    data = "".join(parts).encode()
    assert read(data, cuts) == read(data, [])


@given(st.lists(events, max_size=6))
def test_byte_by_byte_makes_none_either(parts):
    data = "".join(parts).encode()
    assert read(data, list(range(len(data)))) == read(data, [])


@given(st.lists(st.text(min_size=1, max_size=20), max_size=10))
def test_every_text_that_is_counted_goes_on_and_every_one_that_goes_on_is_counted(texts):
    data = "".join(content(text) for text in texts).encode()
    out, counters, _ = read(data, [])
    assert out == data
    assert counters.completion_tokens == len(texts)


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
def test_no_bytes_at_all_break_the_reader(data, cuts):
    read(data, cuts)
    read(b"data: " + data + b"\n\n", cuts)


def test_an_engines_own_counts_replace_what_was_counted_here():
    counters = Counters()
    stream = openai.Stream(ask(), counters)
    stream.feed((content("a") + content("b")).encode())
    assert (counters.completion_tokens, stream.has_usage) == (2, False)
    usage = {"prompt_tokens": 7, "completion_tokens": 0}
    stream.feed(event({"choices": [], "usage": usage}).encode())
    assert (counters.prompt_tokens, counters.completion_tokens, stream.has_usage) == (7, 0, True)
    stream.feed(content("c").encode())
    assert counters.completion_tokens == 0, "a zero that an engine says stays a zero"


@given(
    prompt=st.integers(0, 1 << 20),
    cached=st.integers(0, 1 << 21),
)
def test_no_more_is_cached_than_was_asked(prompt, cached):
    counters = Counters()
    usage = {"prompt_tokens": prompt, "prompt_tokens_details": {"cached_tokens": cached}}
    whole = openai.read_whole(json.dumps({"usage": usage}).encode())
    openai.read_usage(whole.usage, counters)
    assert 0 <= counters.cached_tokens <= counters.prompt_tokens == prompt


def test_reasoning_and_tool_calls_count_as_what_they_are():
    counters = Counters()
    stream = openai.Stream(ask(), counters)
    for delta in (
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]},
        {"role": "assistant"},
        {"content": ""},
        {},
    ):
        stream.feed(event({"choices": [{"index": 0, "delta": delta}]}).encode())
    assert counters.completion_tokens == 3


@given(st.sampled_from(["max_tokens", "top_k", "x", "model"]), st.integers(1, 100))
def test_what_is_not_changed_goes_to_the_engine_byte_by_byte(name, value):
    data = b'{ "model" : "m",\n"messages":[ {"role":"user", "content":"\\u00e9"} ],"%s": %d }' % (
        name.encode() if name != "model" else b"y",
        value,
    )
    request = openai.read(openai.CHAT, data)
    sent = openai.upstream_body(request, "up", completion_max=None)
    assert b'"messages":[ {"role":"user", "content":"\\u00e9"} ]' in sent
    assert json.loads(sent) == {**json.loads(data), "model": "up"}
