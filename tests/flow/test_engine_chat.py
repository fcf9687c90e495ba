"""Chats with a real engine: shapes, counts, sampling."""

from __future__ import annotations

import asyncio
import json

import pytest

USAGE = {"include_usage": True, "continuous_usage_stats": True}


def text_of(chunks, index=0):
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return "".join(c["delta"].get("content") or "" for c in choices if c["index"] == index)


async def test_a_whole_chat_has_the_published_shape(engine, golden):
    answer = await engine.chat("Hello", max_tokens=4, temperature=0, logprobs=True, top_logprobs=2)
    golden("engine_chat", answer)


async def test_a_streamed_chat_has_the_published_shape(engine, golden):
    options = {"include_usage": True}
    golden(
        "engine_chat_stream",
        await engine.stream_chat("Hi", max_tokens=3, temperature=0, stream_options=options),
    )


async def test_without_stream_options_no_chunk_carries_usage(engine):
    chunks = await engine.stream_chat(max_tokens=3)
    assert all("usage" not in chunk and "timings" not in chunk for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


async def test_continuous_usage_grows_by_what_was_generated(engine):
    chunks = await engine.stream_chat(max_tokens=6, ignore_eos=True, stream_options=USAGE)
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[-1] == 6
    assert chunks[-1]["choices"] == []
    assert len({chunk["usage"]["prompt_tokens"] for chunk in chunks}) == 1


async def test_three_choices_count_the_prompt_once_and_every_completion(engine):
    fields = {"max_tokens": 5, "ignore_eos": True, "seed": 1}
    one = await engine.chat("Count me", **fields)
    three = await engine.chat("Count me", n=3, **fields)
    assert three["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]
    assert three["usage"]["completion_tokens"] == 15
    assert three["usage"]["total_tokens"] == one["usage"]["prompt_tokens"] + 15
    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in three["choices"]}) == 3


async def test_streamed_choices_keep_their_index_and_sum_their_usage(engine):
    chunks = await engine.stream_chat(
        n=3, max_tokens=4, ignore_eos=True, seed=1, stream_options=USAGE
    )
    whole = await engine.chat(n=3, max_tokens=4, ignore_eos=True, seed=1)
    for index in range(3):
        assert text_of(chunks, index) == whole["choices"][index]["message"]["content"]
    assert chunks[-1]["usage"]["completion_tokens"] == 12


async def test_the_same_seed_gives_the_same_text_and_another_seed_another(engine):
    fields = {"max_tokens": 20, "temperature": 1, "ignore_eos": True}
    first, again, other = [
        (await engine.chat("Seeds", seed=seed, **fields))["choices"][0]["message"]["content"]
        for seed in (11, 11, 12)
    ]
    assert first == again
    assert first != other


@pytest.mark.parametrize("seed", [-1, 0, 4294967295, 2**63 - 1, -(2**63)])
async def test_any_64_bit_seed_repeats(engine, seed):
    fields = {"max_tokens": 12, "ignore_eos": True, "seed": seed}
    texts = [(await engine.chat("Seeds", **fields))["choices"][0] for _ in range(2)]
    assert texts[0] == texts[1]


async def test_greedy_answers_repeat(smol_engine):
    fields = {"max_tokens": 16, "temperature": 0, "seed": 3}
    texts = {
        (await smol_engine.chat("Name a colour.", **fields))["choices"][0]["message"]["content"]
        for _ in range(4)
    }
    assert len(texts) == 1


async def test_a_real_model_answers_sense(smol_engine):
    answer = await smol_engine.chat(
        "Name the capital city of France.", max_tokens=20, temperature=0
    )
    assert "Paris" in answer["choices"][0]["message"]["content"]


async def test_a_stop_string_across_tokens_ends_the_text_before_it(smol_engine):
    fields = {"max_tokens": 30, "temperature": 0}
    free = await smol_engine.chat("Name the capital city of France.", **fields)
    text = free["choices"][0]["message"]["content"]
    cut = text.index("Paris") - 3
    stop = text[cut : cut + 6]  # begins and ends inside words, so it lies across tokens
    chunks = await smol_engine.stream_chat(
        "Name the capital city of France.", stop=[stop], **fields
    )
    assert text_of(chunks) == text[:cut]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    whole = await smol_engine.chat("Name the capital city of France.", stop=stop, **fields)
    assert whole["choices"][0]["message"]["content"] == text[:cut]


async def test_a_bias_of_minus_100_bans_a_token(engine):
    fields = {"max_tokens": 1, "temperature": 0, "logprobs": True, "ignore_eos": True}
    first = await engine.chat("Ban", **fields)
    taken = first["choices"][0]["logprobs"]["content"][0]["token"]
    _, told = await engine.ask("POST", "/tokenize", {"prompt": taken, "add_special_tokens": False})
    (token,) = told["tokens"]
    banned = await engine.chat("Ban", logit_bias={str(token): -100}, **fields)
    assert banned["choices"][0]["logprobs"]["content"][0]["token"] != taken


async def test_a_bias_of_100_forces_a_token(engine):
    _, told = await engine.ask("POST", "/tokenize", {"prompt": "Q", "add_special_tokens": False})
    bias = {str(told["tokens"][0]): 100}
    answer = await engine.chat("Force", max_tokens=5, logit_bias=bias)
    assert answer["choices"][0]["message"]["content"] == "QQQQQ"


async def test_each_token_has_a_score_and_the_asked_alternatives(engine):
    answer = await engine.chat(max_tokens=5, ignore_eos=True, logprobs=True, top_logprobs=3)
    scores = answer["choices"][0]["logprobs"]["content"]
    assert len(scores) == 5
    for score in scores:
        assert score.keys() == {"token", "logprob", "bytes", "top_logprobs"}
        assert score["logprob"] <= 0
        assert bytes(score["bytes"]).decode() == score["token"]
        best = [top["logprob"] for top in score["top_logprobs"]]
        assert len(best) == 3
        assert best == sorted(best, reverse=True)


async def test_logprobs_without_alternatives_show_none(engine):
    answer = await engine.chat(max_tokens=2, ignore_eos=True, logprobs=True)
    assert [s["top_logprobs"] for s in answer["choices"][0]["logprobs"]["content"]] == [[], []]


async def test_json_object_mode_gives_a_json_object(engine):
    _, told = await engine.ask("POST", "/tokenize", {"prompt": "}", "add_special_tokens": False})
    fields = {"logit_bias": {str(told["tokens"][0]): 3}, "max_tokens": 400}
    answer = await engine.chat(response_format={"type": "json_object"}, n=6, seed=4, **fields)
    ended = [c for c in answer["choices"] if c["finish_reason"] == "stop"]
    assert len(ended) >= 3
    assert all(isinstance(json.loads(c["message"]["content"]), dict) for c in ended)


async def test_a_json_schema_is_kept(engine):
    schema = {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 3, "maximum": 9},
            "colour": {"enum": ["red", "blue"]},
            "day": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"},
        },
        "required": ["n", "colour", "day"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": schema}}
    for seed in range(3):
        answer = await engine.chat(max_tokens=300, response_format=wanted, seed=seed)
        made = json.loads(answer["choices"][0]["message"]["content"])
        assert made.keys() == {"n", "colour", "day"}
        assert 3 <= made["n"] <= 9
        assert made["colour"] in ("red", "blue")
        assert len(made["day"]) == 7


async def test_no_chunk_ends_inside_a_character(engine):
    """é is two bytes, and each byte is a token of this model."""
    _, told = await engine.ask("POST", "/tokenize", {"prompt": "é", "add_special_tokens": False})
    first, second = told["tokens"]
    assert first != second
    schema = {"const": "é" * 20}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    chunks = await engine.stream_chat(max_tokens=60, response_format=wanted)
    assert text_of(chunks) == '"' + "é" * 20 + '"'
    assert not any("\ufffd" in json.dumps(chunk, ensure_ascii=False) for chunk in chunks)


async def test_a_second_turn_finds_the_first_in_the_cache(engine):
    text = "a long beginning that two requests have in common " * 5
    first = await engine.chat(text, max_tokens=1)
    second = await engine.chat(text, max_tokens=1)
    assert second["usage"]["prompt_tokens"] == first["usage"]["prompt_tokens"]
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached == second["usage"]["prompt_tokens"] - 1


async def test_told_tokens_are_those_the_kernel_counted(start_engine, tiny_model):
    engine = start_engine(tiny_model, "--slots", "2")
    await engine.ready()
    await engine.chat("One", max_tokens=7, n=3, seed=1)
    await engine.stream_chat("Two", max_tokens=5)
    await engine.complete(["Three", "Four"], max_tokens=4)
    told = await engine.metric('tokens_total{kind="completion"}')
    assert told == await engine.metric("kernel_completion_tokens_total")
    engine.stop()


async def test_developer_speaks_as_the_system(engine):
    def body(role):
        turns = [{"role": role, "content": "Be brief."}, {"role": "user", "content": "Hi"}]
        return {"model": engine.model, "messages": turns}

    answers = [
        await engine.ask("POST", "/apply-template", body(role)) for role in ("system", "developer")
    ]
    assert answers[0] == answers[1]
    assert "Be brief." in answers[0][1]["prompt"]


async def test_text_parts_reach_the_model(engine):
    parts = [{"type": "text", "text": "first part"}, {"type": "text", "text": "second part"}]
    turn = {"role": "user", "content": parts}
    _, told = await engine.ask(
        "POST", "/apply-template", {"model": engine.model, "messages": [turn]}
    )
    assert "first part" in told["prompt"]
    assert "second part" in told["prompt"]


TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


async def test_tools_reach_a_template_that_knows_them(engine):
    _, told = await engine.ask("POST", "/apply-template", engine.body(tools=[TOOL]))
    assert '"weather"' in told["prompt"]
    answer = await engine.chat(tools=[TOOL], tool_choice="auto", max_tokens=4)
    assert answer["usage"]["completion_tokens"] <= 4


async def test_a_model_whose_template_knows_no_tools_is_told_of_them_in_words(smol_engine):
    _, told = await smol_engine.ask("POST", "/apply-template", smol_engine.body(tools=[TOOL]))
    assert '"weather"' in told["prompt"]
    assert "<tool_call>" in told["prompt"]


async def test_fields_without_effect_are_taken(engine):
    await engine.chat(
        max_tokens=1,
        user="u",
        safety_identifier="s",
        metadata={"a": "b"},
        store=False,
        modalities=["text"],
        service_tier="auto",
        web_search_options=None,
    )


async def test_many_chats_at_once_are_all_answered(engine):
    answers = await asyncio.gather(*(engine.chat(f"{i}", max_tokens=4) for i in range(20)))
    assert all(answer["usage"]["completion_tokens"] <= 4 for answer in answers)
    assert await engine.metric("running") == 0
    assert await engine.metric("waiting") == 0


async def test_max_completion_tokens_is_the_same_limit(engine):
    answer = await engine.chat(max_completion_tokens=3, ignore_eos=True)
    assert answer["usage"]["completion_tokens"] == 3


async def test_the_context_ends_an_answer_without_a_limit(start_engine, tiny_model):
    engine = start_engine(tiny_model, "--slots", "1", "--context", "256")
    await engine.ready()
    answer = await engine.chat(ignore_eos=True)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] == 256
    engine.stop()


async def test_a_prompt_beyond_the_context_is_refused_with_both_counts(engine):
    body = engine.body("word " * 3000)
    status, told = await engine.ask("POST", "/v1/chat/completions", body)
    assert status == 400
    assert told["error"]["code"] == "context_length_exceeded"
    assert told["error"]["context_tokens"] == 2048
    assert str(told["error"]["prompt_tokens"]) in told["error"]["message"]
    status, _ = await engine.ask("POST", "/v1/chat/completions", {**body, "stream": True})
    assert status == 400
