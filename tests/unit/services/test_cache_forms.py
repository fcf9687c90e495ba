"""Kept answers: their two forms say the same, and their place is that of what is asked."""

from __future__ import annotations

import itertools
import random
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest
from haneul.services import openai
from haneul.services.cache.forms import is_whole, stream_of, whole_of
from haneul.services.cache.place import digest, is_same_again, wish_of

TEXTS = st.text(min_size=1, max_size=20)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "id": TEXTS,
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": TEXTS, "arguments": TEXTS}),
        }
    ),
    max_size=3,
)
MESSAGES = st.builds(
    lambda content, thought, calls: {
        "role": "assistant",
        "content": content if content or calls else "",
        **({"reasoning_content": thought} if thought else {}),
        **({"tool_calls": calls} if calls else {}),
    },
    st.none() | TEXTS,
    st.none() | TEXTS,
    CALLS,
)
CHATS = st.lists(MESSAGES, min_size=1, max_size=3)
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


def ask(route=openai.CHAT, **fields):
    plain = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    if route is not openai.CHAT:
        plain = {"model": "m", "prompt": "x"}
    return openai.read(route, msgspec.json.encode({**plain, **fields}))


class At(msgspec.Struct):
    """As much of a target as a place looks at."""

    engine: str = "e"
    upstream_model: str = "m"
    created_us: int = 1


@given(CHATS)
def test_a_chat_that_is_streamed_and_put_together_again_is_the_same(messages):
    choices = [
        {"index": index, "message": message, "finish_reason": "stop", "logprobs": None}
        for index, message in enumerate(messages)
    ]
    whole = {
        "id": "a",
        "created": 7,
        "model": "m",
        "object": "chat.completion",
        "choices": choices,
        "usage": USAGE,
    }
    stream = stream_of(ask(), msgspec.json.encode(whole))
    again = whole_of(ask(), stream)
    assert again is not None
    assert msgspec.json.decode(again) == whole
    assert whole_of(ask(), stream.replace(b"\n\n", b"\r\n\r\n")) == again


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_a_text_that_is_streamed_and_put_together_again_is_the_same(texts):
    wanted = ask(openai.COMPLETIONS)
    choices = [
        {"index": index, "text": text, "finish_reason": "length", "logprobs": None}
        for index, text in enumerate(texts)
    ]
    whole = {"id": "a", "object": "text_completion", "choices": choices, "usage": USAGE}
    again = whole_of(wanted, stream_of(wanted, msgspec.json.encode(whole)))
    assert again is not None
    assert msgspec.json.decode(again) == whole


def test_a_stream_with_a_part_that_nobody_knows_is_not_kept():
    for part in ({"delta": {"audio": {"id": "x"}}}, {"delta": {"content": "x"}, "odd": 1}):
        event = {"id": "a", "choices": [{"index": 0, **part, "finish_reason": "stop"}]}
        assert whole_of(ask(), b"data: " + msgspec.json.encode(event) + b"\n\n") is None
    assert whole_of(ask(), b": nothing\n\ndata: [DONE]\n\n") is None


@pytest.mark.parametrize(
    ("reason", "most", "kept"),
    [
        ("stop", None, True),
        ("length", None, False),
        ("length", 5, True),
        ("odd", 5, False),
        (None, 5, False),
    ],
)
def test_only_an_answer_with_an_end_of_its_own_is_kept(reason, most, kept):
    data = msgspec.json.encode({"choices": [{"finish_reason": reason}]})
    assert is_whole(ask(max_tokens=most), data) is kept
    assert not is_whole(ask(), b'{"choices": []}')


FIELDS = st.dictionaries(
    st.sampled_from(["temperature", "top_k", "seed", "stop", "x-own", "n"]),
    st.sampled_from([1, 2]),
    max_size=4,
)


@given(FIELDS, FIELDS)
def test_two_requests_share_a_place_exactly_when_they_ask_the_same(one, other):
    one, other = ({**each, "stop": ["a"] * each.get("stop", 0)} for each in (one, other))
    first, second = digest("t", ask(**one), At()), digest("t", ask(**other), At())
    assert (first == second) == (one == other)
    shuffled = list(one.items())
    random.Random(1).shuffle(shuffled)
    noise = {"stream": True, "user": "u", "top_p": None, "metadata": {"a": "b"}}
    assert digest("t", ask(**dict(shuffled), **noise), At()) == first


def test_tenant_model_version_length_and_bound_of_thoughts_have_places_of_their_own():
    asked = [ask(), ask(max_tokens=4), ask(thinking_budget=4)]
    targets = [At(), At(created_us=2), At(upstream_model="n"), At(engine="f")]
    places = {
        digest(tenant, each, target)
        for tenant, each, target in itertools.product(("a", "b"), asked, targets)
    }
    assert len(places) == 2 * 3 * 4
    assert digest("a", ask(max_tokens=4), At()) == digest("a", ask(max_completion_tokens=4), At())


def test_what_leaves_nothing_to_chance():
    assert is_same_again(ask(temperature=0))
    assert is_same_again(ask(temperature=0.0))
    assert is_same_again(ask(seed=3))
    assert not is_same_again(ask())
    assert not is_same_again(ask(seed=None, temperature=0.1))


@given(st.binary(max_size=60))
def test_any_wish_is_read_or_refused(value):
    with suppress(BadRequest):
        assert 0 <= (wish_of(value).max_age_s or 0) < 10**9
