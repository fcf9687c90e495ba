"""The genuine OpenAI client against the engine."""

from __future__ import annotations

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError


@pytest.fixture
async def client(engine):
    async with AsyncOpenAI(base_url=engine.url, api_key="none", max_retries=0) as made:
        yield made


def turn(text="Hi"):
    return [{"role": "user", "content": text}]


async def test_it_chats(client, engine):
    answer = await client.chat.completions.create(
        model=engine.model, messages=turn(), max_completion_tokens=4, n=2, seed=1
    )
    assert len(answer.choices) == 2
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens_details.cached_tokens >= 0


async def test_it_streams(client, engine):
    stream = await client.chat.completions.create(
        model=engine.model,
        messages=turn(),
        max_tokens=4,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage.completion_tokens == 4
    assert chunks[-2].choices[0].finish_reason == "length"


async def test_it_leaves_a_stream_early(client, engine):
    stream = await client.chat.completions.create(
        model=engine.model, messages=turn(), max_tokens=1900, stream=True
    )
    async for _ in stream:
        break
    await stream.close()
    await engine.until_metric("running", 0, within_s=1)


async def test_it_completes_and_embeds_and_lists(client, engine):
    answer = await client.completions.create(
        model=engine.model, prompt="Hello", max_tokens=3, logprobs=2
    )
    assert len(answer.choices[0].logprobs.tokens) == answer.usage.completion_tokens
    vectors = await client.embeddings.create(model=engine.model, input=["one", "two"])
    assert [len(row.embedding) for row in vectors.data] == [64, 64]
    models = [model.id async for model in client.models.list()]
    assert models == [engine.model]


async def test_it_raises_its_own_errors(client, engine):
    with pytest.raises(BadRequestError) as refused:
        await client.chat.completions.create(
            model=engine.model, messages=turn(), reasoning_effort="low"
        )
    assert refused.value.param == "reasoning_effort"
    with pytest.raises(NotFoundError):
        await client.chat.completions.create(model="other", messages=turn())
