"""Any body at all becomes a neutral request or is refused by name, and no word of it is lost."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest
from haneul.services.ollama import keep_alive
from haneul.services.ollama import request as reading
from haneul.services.ollama.told import Errors
from haneul.services.ollama.wire import (
    OllamaChat,
    OllamaEmbed,
    OllamaEmbeddings,
    OllamaGenerate,
    Options,
)

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
calls = st.builds(
    lambda name, value: {"function": {"name": name, "arguments": {"x": value}}}, words, words
)
users = st.builds(
    lambda role, text: {"role": role, "content": text}, st.sampled_from(["system", "user"]), words
)
# A turn of calls and all its results, in any order.
exchanges = st.lists(calls, min_size=1, max_size=3).flatmap(
    lambda made: st.permutations(made).map(
        lambda order: [
            {"role": "assistant", "content": "", "tool_calls": made},
            *(
                {"role": "tool", "tool_name": call["function"]["name"], "content": "r"}
                for call in order
            ),
        ]
    )
)
dialogues = st.builds(
    lambda turns, last: [*[one for turn in turns for one in turn], last],
    st.lists(exchanges | users.map(lambda user: [user]), max_size=3),
    users,
)
READERS = {
    "chat": (reading.read_chat, OllamaChat),
    "generate": (reading.read_generate, OllamaGenerate),
    "embed": (reading.read_embed, OllamaEmbed),
    "embeddings": (reading.read_embeddings, OllamaEmbeddings),
}
likely = {
    "model": st.just("m") | json_values,
    "messages": dialogues | json_values,
    "prompt": words | json_values,
    "input": words | st.lists(words, max_size=2) | json_values,
    "options": st.dictionaries(
        st.sampled_from(sorted(Options.__struct_fields__)), st.sampled_from([1, 0.5, "a"])
    )
    | json_values,
    "keep_alive": st.sampled_from([0, -1, "5m"]) | json_values,
}


def bodies(kind):
    names = sorted({*kind.__struct_fields__, "x"})
    needed = {"model", "messages", "input", "prompt"} & set(names)
    return st.fixed_dictionaries(
        {name: likely[name] for name in needed},
        optional={name: likely.get(name, json_values) for name in names if name not in needed},
    )


def read_or_refusal(read, data):
    try:
        return read(data), None
    except BadRequest as refusal:
        return None, refusal


@pytest.mark.parametrize("place", sorted(READERS))
@given(data=st.data())
def test_any_body_is_read_or_refused_by_a_name_of_its_own(place, data):
    read, kind = READERS[place]
    body = data.draw(bodies(kind))
    ask, refusal = read_or_refusal(read, json.dumps(body).encode())
    if ask is None:
        assert refusal.param
        assert refusal.param in json.loads(Errors().body(refusal, "req_1"))["error"]
        return
    assert ask.model == body["model"]
    assert "x" not in body, "a field nobody knows"


@given(dialogues)
def test_every_result_finds_a_call_of_its_tools_name_that_nobody_else_found(messages):
    ask = reading.read_chat(json.dumps({"model": "m", "messages": messages}).encode())
    told = msgspec.json.decode(ask.body.fields["messages"])
    assert [one["role"] for one in told] == [one["role"] for one in messages]
    made = {
        call["id"]: call["function"]["name"] for one in told for call in one.get("tool_calls", [])
    }
    answered = [one["tool_call_id"] for one in told if one["role"] == "tool"]
    assert sorted(answered) == sorted(made), "each call once"
    names = [one["tool_name"] for one in messages if one["role"] == "tool"]
    assert [made[one] for one in answered] == names


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (0, 0),
        (-1, -1),
        (1.5, 1.5),
        ("0", 0),
        ("0s", 0),
        ("5m", 300),
        ("1h30m", 5400),
        ("-1m", -60),
        ("250ms", 0.25),
        (None, None),
    ],
)
def test_a_duration_is_read_as_ollama_reads_it(said, seconds):
    assert keep_alive.seconds(said) == seconds


@given(st.text(max_size=30))
def test_any_text_is_a_duration_or_refused(text):
    try:
        assert isinstance(keep_alive.seconds(text), float)
    except BadRequest as error:
        named = error.param
        assert named == "keep_alive"
