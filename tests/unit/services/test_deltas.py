"""Events known by their bytes count and go on as those that are read as JSON."""

from __future__ import annotations

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from haneul.services import openai
from haneul.services.flights import Counters

BEFORE = (
    '{"id":"i","choices":[{"index":0,"delta":{"content":',
    '{"id":"i","choices":[{"index":0,"delta":{"reasoning_content": ',
    '{"id":"i","choices":[{"index":0,"text":',
    '{"id":"i","choices":[{"index":1,"delta":{"role":"assistant","content":',
    '{"x":{"content":"a\\"content\\":"},"choices":[{"delta":{"content":',
)
TEXTS = (
    b'" word"',
    b'""',
    '"한 글자"'.encode(),
    '"\u3000\u200d"'.encode(),
    rb'"\n\"\u00e9"',
    rb'"\ud83d"',
    rb'"\x"',
    b'"\\"',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b'"\x01"',
    b'"a\nb"',
    b"null",
    b'"a","content":""',
    b'"a","tool_calls":[{}],"x":"',
    b'"a"},"usage":{"prompt_tokens":7},"x":{"y":"b"',
)
OTHERS = (
    b"data: [DONE]\n\n",
    b": ping\n\n",
    b'data: {"choices":[],"usage":{"completion_tokens":3}}\n\n',
    b'data: {"error":{"content":"a"}}\n\n',
    b'data: {"choices":[{"delta":{"content":"a"}}]}\r\n\r\n',
)


class Reading(openai.Stream):
    """Reads every event."""

    def _learn(self, event, chunk, sent):
        """Nothing."""


def ask():
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
    return openai.read(openai.CHAT, json.dumps(body).encode())


def event(before, text):
    after = b"}]}" if before.endswith('"text":') else b'},"finish_reason":null}]}'
    return b"data: " + before.encode() + text + after + b"\n\n"


texts = (
    st.sampled_from(TEXTS)
    | st.builds(lambda text: json.dumps(text, ensure_ascii=False).encode(), st.text(max_size=8))
    | st.builds(lambda inside: b'"' + inside + b'"', st.binary(max_size=4))
)
usages = st.fixed_dictionaries(
    {"prompt_tokens": st.integers(0, 3), "completion_tokens": st.integers(0, 99)},
    optional={
        "completion_tokens_details": st.fixed_dictionaries({"reasoning_tokens": st.integers(0, 2)}),
        "total_tokens": st.just(-1) | st.none() | st.just("x"),
    },
)


def counted(data, usage, more=""):
    """The same event with its usage at the end, as the embedded engine writes it."""
    return data[:-3] + b',"usage":%b%b}\n\n' % (msgspec.json.encode(usage), more.encode())


events = st.builds(event, st.sampled_from(BEFORE[:1] * 8 + BEFORE), texts)
others = st.sampled_from(OTHERS)
events_counted = st.builds(
    counted, events, usages, st.sampled_from([""] * 9 + [" ", ',"x":1', ',"usage":null', "\n"])
)
pieces = st.lists(st.lists(events | events | events | others, min_size=1, max_size=4), max_size=12)


pieces_counted = st.lists(
    st.lists(
        st.one_of(*[events_counted] * 8, events, others),
        min_size=1,
        max_size=4,
    ),
    max_size=12,
)


def told(stream, counters, said, *, is_framed=False):
    """What went on, what was counted, and how it ended."""
    out = b""
    for several in said:
        data = b"".join(several)
        frame = b"%x\r\n%b\r\n" % (len(data), data)
        if is_framed and stream.passes(frame):
            out += data
        else:
            out += stream.feed(data)
        if stream.failure is not None:
            break
    return out, counters, stream.is_done, stream.has_usage, stream.failure is not None


@given(pieces)
def test_what_is_known_by_its_bytes_is_what_reading_it_would_say(said):
    counters, others = Counters(), Counters()
    quick, slow = openai.Stream(ask(), counters), Reading(ask(), others)
    assert told(quick, counters, said) == told(slow, others, said)


@given(pieces_counted)
def test_events_that_tell_their_usage_go_on_without_it_as_if_they_were_read(said):
    counters, others = Counters(), Counters()
    quick, slow = openai.Stream(ask(), counters), Reading(ask(), others)
    assert told(quick, counters, said, is_framed=True) == told(slow, others, said)


def test_of_events_that_differ_in_text_and_usage_alone_only_the_usage_is_read():
    counters = Counters()
    stream = openai.Stream(ask(), counters)
    for tokens, text in enumerate((b'"a"', '"하늘"'.encode(), b'"."'), start=1):
        plain = event(BEFORE[0], text)
        usage = {"prompt_tokens": 7, "completion_tokens": tokens}
        assert stream.feed(counted(plain, usage)) == plain
        assert stream.is_plain == (tokens > 1)
        assert (counters.prompt_tokens, counters.completion_tokens) == (7, tokens)
    usage = {
        "prompt_tokens": 7,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 2},
    }
    assert stream.feed(counted(plain, usage) * 2) == plain * 2
    assert not stream.is_plain, "more than the completion has changed"
    assert (counters.cached_tokens, counters.completion_tokens) == (2, 5)


@given(pieces)
def test_chunks_that_pass_as_they_are_say_what_reading_them_would_say(said):
    counters, others = Counters(), Counters()
    quick, slow = openai.Stream(ask(), counters), Reading(ask(), others)
    assert told(quick, counters, said, is_framed=True) == told(slow, others, said)


def passed(*texts, before=BEFORE[0]):
    """Which of the chunks pass unread, after a first event was read."""
    counters = Counters()
    stream = openai.Stream(ask(), counters)
    stream.feed(event(before, b'"a"'))
    found = []
    for text in texts:
        data = event(before, text)
        found.append(stream.passes(b"%x\r\n%b\r\n" % (len(data), data)))
    assert counters.completion_tokens == 1 + sum(found)
    return found


def test_a_token_like_the_one_before_passes_unread():
    assert passed(b'" word"', '"하늘"'.encode(), b'"."') == [True, True, True]
    assert passed(b'"word"', before=BEFORE[1]) == [True]
    assert passed(b'"word"', before=BEFORE[2]) == [True]


def test_what_may_be_more_than_a_token_is_read():
    odd = [b'""', rb'"\n"', b'"a","x":"b"', b'"\xff"', b'"\x00"', b"null"]
    assert passed(*odd) == [False] * len(odd)


def test_a_chunk_whose_size_is_not_that_of_its_bytes_does_not_pass():
    stream = openai.Stream(ask(), Counters())
    data = event(BEFORE[0], b'"a"')
    stream.feed(data)
    assert stream.passes(b"%x\r\n%b\r\n" % (len(data), data))
    assert not stream.passes(b"%x\r\n%b\r\n" % (len(data) + 1, data))
    assert not stream.passes(data)


def test_bytes_without_a_frame_do_not_pass_of_whatever_length():
    stream = openai.Stream(ask(), Counters())
    stream.feed(event(BEFORE[0], b'"a"'))
    texts = [b'"%b"' % (b"a" * size) for size in range(1, 400)]
    assert not any(stream.passes(event(BEFORE[0], text) + b"\r\n") for text in texts)


def test_nothing_passes_unread_once_the_engine_has_counted():
    stream = openai.Stream(ask(), counters := Counters())
    data = event(BEFORE[0], b'"a"')
    stream.feed(
        data + b'data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":9}}\n\n'
    )
    assert not stream.passes(b"%x\r\n%b\r\n" % (len(data), data))
    stream.feed(data)
    assert counters.completion_tokens == 9


def test_an_event_that_has_begun_to_come_is_not_passed_over():
    stream = openai.Stream(ask(), Counters())
    data = event(BEFORE[0], b'"a"')
    stream.feed(data)
    assert stream.feed(data[:5]) == b""
    assert not stream.passes(b"%x\r\n%b\r\n" % (len(data), data))


def test_answers_that_come_in_turns_are_soon_not_learned_any_more():
    stream = openai.Stream(ask(), counters := Counters())
    first, second = (event(BEFORE[number], b'"a"') for number in (0, 2))
    for _ in range(40):
        assert stream.feed(first) + stream.feed(second) == first + second
    assert counters.completion_tokens == 80
    assert stream.feed(first + first) == first + first
