"""Plain completions with a real engine: the older shape, prompt forms, scores, echo."""

from __future__ import annotations

import pytest


async def tokens_of(engine, text):
    _, told = await engine.ask("POST", "/tokenize", {"prompt": text})
    return told["tokens"]


async def test_a_whole_completion_has_the_published_shape(engine, golden):
    answer = await engine.complete("Hello", max_tokens=3, temperature=0)
    assert answer["id"].startswith("cmpl-")
    golden("engine_completion", answer)


async def test_a_streamed_completion_ends_with_one_usage(engine, golden):
    body = {"model": engine.model, "prompt": ["Hello", "You"], "max_tokens": 2, "n": 1}
    body |= {"stream_options": {"include_usage": True}, "ignore_eos": True}
    chunks = await engine.stream("/v1/completions", body)
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 4
    golden("engine_completion_usage", chunks[-1])


async def test_without_a_limit_sixteen_tokens_come(engine):
    answer = await engine.complete("Hello", ignore_eos=True)
    assert answer["usage"]["completion_tokens"] == 16


async def test_every_form_of_a_prompt_gives_the_same_answer(engine):
    tokens = await tokens_of(engine, "Once upon")
    fields = {"max_tokens": 8, "temperature": 0}
    answers = [
        await engine.complete(prompt, **fields)
        for prompt in ("Once upon", ["Once upon"], tokens, [tokens])
    ]
    assert len({answer["choices"][0]["text"] for answer in answers}) == 1
    assert {answer["usage"]["prompt_tokens"] for answer in answers} == {len(tokens)}


async def test_prompts_and_choices_multiply_and_usage_is_exact(engine):
    first, second = await tokens_of(engine, "One"), await tokens_of(engine, "Two and two")
    answer = await engine.complete(
        ["One", "Two and two"], n=2, max_tokens=3, ignore_eos=True, seed=1
    )
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"]["prompt_tokens"] == len(first) + len(second)
    assert answer["usage"]["completion_tokens"] == 12
    alone = await engine.complete("Two and two", max_tokens=3, ignore_eos=True, seed=1)
    assert answer["choices"][2]["text"] == alone["choices"][0]["text"]


async def test_scores_come_in_four_lists_that_fit_the_text(engine):
    answer = await engine.complete("Hello", max_tokens=6, ignore_eos=True, logprobs=2, seed=1)
    choice = answer["choices"][0]
    scores = choice["logprobs"]
    assert "".join(scores["tokens"]) == choice["text"]
    assert len(scores["token_logprobs"]) == len(scores["top_logprobs"]) == 6
    for token, offset, value, top in zip(
        scores["tokens"],
        scores["text_offset"],
        scores["token_logprobs"],
        scores["top_logprobs"],
        strict=True,
    ):
        assert choice["text"][offset : offset + len(token)] == token
        assert top[token] == value <= 0
        assert 2 <= len(top) <= 3


async def test_streamed_scores_are_those_of_the_whole_answer(engine):
    fields = {"max_tokens": 6, "ignore_eos": True, "logprobs": 1, "seed": 2}
    whole = (await engine.complete("Hello", **fields))["choices"][0]["logprobs"]
    body = {"model": engine.model, "prompt": "Hello", **fields}
    chunks = await engine.stream("/v1/completions", body)
    for name in ("tokens", "text_offset"):
        parts = [part for c in chunks for part in c["choices"][0]["logprobs"][name]]
        assert parts == whole[name]


@pytest.mark.parametrize("is_tokens", [False, True])
async def test_echo_gives_the_prompt_back_first(engine, is_tokens):
    prompt = await tokens_of(engine, "Once upon") if is_tokens else "Once upon"
    plain = await engine.complete(prompt, max_tokens=4, seed=1)
    echoed = await engine.complete(prompt, max_tokens=4, seed=1, echo=True)
    assert echoed["choices"][0]["text"] == "Once upon" + plain["choices"][0]["text"]
    assert echoed["usage"]["completion_tokens"] == plain["usage"]["completion_tokens"]


async def test_detokenise_undoes_tokenise(engine):
    text = "Hello, wörld 안녕 🌟"
    _, told = await engine.ask("POST", "/detokenize", {"tokens": await tokens_of(engine, text)})
    assert told["prompt"] == text
