"""A bound on thoughts, kept by the engine itself: who thinks for ever comes to the words."""

from __future__ import annotations

import asyncio

import pytest

from tests.tiny_gguf import TEMPLATE

OPENED = (
    "{% for message in messages %}{{ message.content }}|{% endfor %}"
    "{% if add_generation_prompt %}<think>\n{% endif %}{#"
)


@pytest.fixture(scope="module")
def thinker(start_engine, tiny_model, tmp_path_factory):
    """The tiny model with a template that opens a thought, which nothing in it ever closes."""
    path = tmp_path_factory.mktemp("thinker") / "thinker.gguf"
    before = TEMPLATE.encode()
    after = OPENED.encode() + b" " * (len(before) - len(OPENED.encode()) - 2) + b"#}"
    data = tiny_model.read_bytes()
    assert data.count(before) == 1
    path.write_bytes(data.replace(before, after))
    engine = start_engine(path, "--slots", "2", "--context", "256", "--threads", "1")
    asyncio.run(engine.ready())
    return engine


def said(answer):
    (choice,) = answer["choices"]
    message, usage = choice["message"], answer["usage"]
    thought = message.get("reasoning_content", "")
    thoughts = usage["completion_tokens_details"]["reasoning_tokens"]
    return thought, message["content"], thoughts, usage, choice["finish_reason"]


async def test_without_a_bound_the_thought_takes_the_whole_answer(thinker):
    answer = await thinker.chat(max_tokens=20, ignore_eos=True)
    thought, words, thoughts, usage, reason = said(answer)
    assert thought
    assert not words
    assert (thoughts, usage["completion_tokens"], reason) == (20, 20, "length")


@pytest.mark.parametrize("most", [1, 7, 19])
async def test_a_thought_ends_at_its_bound_and_words_follow(thinker, most):
    answer = await thinker.chat(max_tokens=20, ignore_eos=True, thinking_budget=most, seed=4)
    thought, words, thoughts, usage, reason = said(answer)
    assert thought
    assert words
    assert "think>" not in thought + words
    assert (thoughts, usage["completion_tokens"], reason) == (most, 20, "length")
    free = await thinker.chat(max_tokens=20, ignore_eos=True, seed=4)
    assert said(free)[0].startswith(thought)
    assert usage["prompt_tokens"] == free["usage"]["prompt_tokens"]


async def test_a_stream_tells_thoughts_first_and_counts_as_a_whole_answer_does(thinker):
    fields = {"max_tokens": 20, "ignore_eos": True, "thinking_budget": 7, "seed": 4}
    thought, words, thoughts, usage, _ = said(await thinker.chat(**fields))
    chunks = await thinker.stream_chat(**fields, stream_options={"include_usage": True})
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    kinds = [name for delta in deltas for name in delta if name.endswith("content") and delta[name]]
    assert kinds == sorted(kinds, reverse=True), kinds
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == thought
    assert "".join(delta.get("content") or "" for delta in deltas) == words
    told = chunks[-1]["usage"]
    assert told["completion_tokens"] == usage["completion_tokens"]
    assert told["completion_tokens_details"]["reasoning_tokens"] == thoughts


async def test_a_bound_beyond_the_answer_changes_nothing(thinker):
    fields = {"max_tokens": 12, "ignore_eos": True, "seed": 4}
    bounded = await thinker.chat(**fields, thinking_budget=500)
    assert said(bounded)[:3] == said(await thinker.chat(**fields))[:3]


async def test_no_tokens_of_thought_are_no_thoughts(thinker):
    thought, words, thoughts, *_ = said(
        await thinker.chat(max_tokens=12, ignore_eos=True, thinking_budget=0)
    )
    assert (thought, thoughts) == ("", 0)
    assert words
    same = await thinker.chat(max_tokens=12, ignore_eos=True, enable_thinking=False)
    assert said(same)[2] == 0


async def test_every_choice_has_a_bound_of_its_own(thinker):
    answer = await thinker.chat(max_tokens=12, ignore_eos=True, thinking_budget=5, n=3)
    assert all(choice["message"]["content"] for choice in answer["choices"])
    assert answer["usage"]["completion_tokens"] == 36
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 15


async def test_a_thought_that_fills_the_context_ends_the_answer_as_too_long(thinker):
    answer = await thinker.chat(ignore_eos=True, thinking_budget=245)
    *_, usage, reason = said(answer)
    assert reason == "length"
    assert usage["prompt_tokens"] + usage["completion_tokens"] <= 256


async def test_thinking_both_asked_for_and_not_is_refused(thinker):
    body = thinker.body(enable_thinking=True, reasoning_effort="none")
    status, answer = await thinker.ask("POST", "/v1/chat/completions", body)
    assert status == 400
    assert "both asked for and not" in answer["error"]["message"]
    status, answer = await thinker.ask(
        "POST", "/v1/chat/completions", thinker.body(thinking_budget=-1)
    )
    assert (status, answer["error"]["param"]) == (400, "thinking_budget")
