"""Any body at all is read or refused, and what is read is bounded in money."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest
from haneul.base.wire import ChatRequest, CompletionRequest, EmbeddingRequest
from haneul.services import openai
from haneul.services.openai import CHAT, COMPLETIONS, DIALECTS, EMBEDDINGS

NAMES = sorted(
    {
        *(
            field
            for kind in (ChatRequest, CompletionRequest, EmbeddingRequest)
            for field in kind.__struct_fields__
        ),
        "best_of",
        "n_predict",
        "suffix",
        "x",
    }
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
likely = {
    "model": st.just("m") | json_values,
    "messages": st.just([{"role": "user", "content": "hi"}]) | json_values,
    "prompt": st.sampled_from(["hi", ["a", "b"], [1, 2], [[1], [2]]]) | json_values,
    "input": st.sampled_from(["hi", ["a", "b"], [1, 2], [[1], [2]]]) | json_values,
    "n": st.integers(1, 4) | json_values,
    "best_of": st.integers(1, 4) | json_values,
    "max_tokens": st.integers(1, 1000) | json_values,
    "stream": st.booleans() | json_values,
    "stream_options": st.just({"include_usage": True}) | json_values,
}
bodies = st.dictionaries(st.sampled_from(NAMES), st.none(), max_size=12).flatmap(
    lambda names: st.fixed_dictionaries({name: likely.get(name, json_values) for name in names})
)


ROUTES = {path: dialect.route for path, dialect in DIALECTS.items()}


@given(st.sampled_from(sorted(ROUTES)), bodies)
def test_a_body_is_read_or_refused_and_never_more(path, body):
    data = json.dumps(body).encode()
    try:
        ask = openai.read(ROUTES[path], data)
        openai.upstream_body(ask, "up", completion_max=5)
    except BadRequest:
        return
    assert ask.answers >= (path != EMBEDDINGS.path)
    assert ask.prompts >= 1
    assert ask.completion_max is None or ask.completion_max >= 0
    assert ask.prompt_bytes >= 2


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    for route in ROUTES.values():
        with pytest.raises(BadRequest):
            openai.read(route, data)


@given(bodies, st.booleans())
def test_the_engine_reads_the_length_that_was_reserved_for(body, is_chat):
    """What the gateway understood is what another JSON reader finds in the bytes sent on."""
    route = CHAT if is_chat else COMPLETIONS
    known = {"model": "m", "messages": [{"role": "user", "content": "x"}], "prompt": "x"}
    try:
        ask = openai.read(route, json.dumps({**known, **body}).encode())
    except BadRequest:
        return
    sent = json.loads(openai.upstream_body(ask, "up", completion_max=None))
    said = sent.get("max_completion_tokens") if is_chat else None
    assert ask.completion_max == (said if said is not None else sent.get("max_tokens"))
    assert (sent.get("n") or 1) <= ask.answers
    assert (sent.get("best_of") or 1) <= ask.answers
    assert sent["model"] == "up"
    assert not {"n_predict", "max_new_tokens"} & sent.keys()


@pytest.mark.parametrize(
    ("route", "fields", "prompts", "answers"),
    [
        (CHAT, {"n": 3}, 1, 3),
        (COMPLETIONS, {"prompt": ["a", "b"], "n": 3}, 2, 6),
        (COMPLETIONS, {"prompt": [1, 2, 3]}, 1, 1),
        (COMPLETIONS, {"prompt": [[1], [2], [3]], "best_of": 2}, 3, 6),
        (COMPLETIONS, {"prompt": []}, 1, 1),
        (EMBEDDINGS, {"input": ["a", "b", "c"]}, 3, 0),
        (EMBEDDINGS, {"input": [1, 2, 3]}, 1, 0),
    ],
)
def test_prompts_and_answers_are_counted(route, fields, prompts, answers):
    known = {"model": "m"}
    if route is CHAT:
        known["messages"] = [{"role": "user", "content": "x"}]
    ask = openai.read(route, msgspec.json.encode({**known, **fields}))
    assert (ask.prompts, ask.answers) == (prompts, answers)


def test_no_prompt_is_taken_for_shorter_than_its_context_allows():
    ask = openai.read(EMBEDDINGS, b'{"model":"m","input":["%s","%s"]}' % (b"a" * 900, b"b" * 900))
    assert openai.prompt_max(ask, None) == ask.prompt_bytes + openai.TEMPLATE_TOKENS
    assert openai.prompt_max(ask, 100) == 200
