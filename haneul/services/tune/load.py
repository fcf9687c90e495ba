"""The fixed requests that every setup is measured with, over the protocol that clients use.

One stream, several with prompts of their own, several whose prompts begin alike. Each prompt is
fresh, so that no cache of an earlier round answers it; every setup gets as many words and tokens.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from statistics import median

import msgspec
from msgspec import Struct

from haneul.base import http
from haneul.base.errors import EngineFailed
from haneul.services.measure import WORD_TOKENS_MAX, WORDS, chunks
from haneul.services.tune.chooser import Sample

ROUND_S, FULL_ROUND_S = 5.0, 12.0  # about so long may a round of the default setup take
REQUEST_S = 120.0
SMALLEST = 1 / 8  # of the full load, for models that are slow here


class Load(Struct, frozen=True, kw_only=True):
    """How much is asked for in one round."""

    streams: int = 8
    prompt_words: int = 110  # about 128 tokens of an English vocabulary
    answer_tokens: int = 32
    shared_words: int = 140  # that the prompts of the third part begin with alike
    own_words: int = 20  # that follow them
    shared_answer_tokens: int = 16

    def scaled(self, factor: float) -> Load:
        """A smaller one of the same form."""
        return Load(
            streams=self.streams,
            prompt_words=max(8, round(self.prompt_words * factor)),
            answer_tokens=max(4, round(self.answer_tokens * factor)),
            shared_words=max(8, round(self.shared_words * factor)),
            own_words=max(4, round(self.own_words * factor)),
            shared_answer_tokens=max(4, round(self.shared_answer_tokens * factor)),
        )

    @property
    def prompt_words_most(self) -> int:
        """Of the longest prompt."""
        return max(self.prompt_words, self.shared_words + self.own_words)


class Asked(Struct, frozen=True):
    """One answer: its tokens and seconds."""

    prompt_tokens: int
    tokens: int
    ttft_s: float
    took_s: float


class Client:
    """Asks one engine for one model."""

    def __init__(self, client: http.Client, to: http.Address, model: str) -> None:
        self._client, self._to, self._model = client, to, model

    async def ask(self, prompt: str, tokens: int) -> Asked:
        """One streamed answer of exactly so many tokens. Raises EngineFailed, EngineUnavailable."""
        body = {
            "model": self._model,
            "prompt": prompt,
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        began = time.monotonic()
        ttft_s, usage = 0.0, None
        async with asyncio.timeout(REQUEST_S):
            reply = await self._send("/v1/completions", body)
            async with reply:
                if reply.status != 200:
                    raise EngineFailed(f"The engine answered with status {reply.status}.")
                async for chunk in chunks(reply):
                    ttft_s = ttft_s or time.monotonic() - began
                    usage = chunk.usage or usage
                    if chunk.error is not None:
                        raise EngineFailed("The engine ended an answer with an error.")
        if usage is None or not usage.completion_tokens:
            raise EngineFailed("The engine gave no tokens.")
        took_s = time.monotonic() - began
        return Asked(usage.prompt_tokens, usage.completion_tokens, ttft_s, took_s)

    async def answer(self, path: str, body: dict[str, object] | None = None) -> bytes:
        """One whole answer, as bytes. Raises EngineFailed."""
        async with asyncio.timeout(REQUEST_S):
            if body is None:
                reply = await self._client.send(self._to, "GET", path)
            else:
                reply = await self._send(path, {"model": self._model, **body})
            async with reply:
                data = await reply.read()
        if reply.status != 200:
            raise EngineFailed(f"The engine answered with status {reply.status}.")
        return data

    async def _send(self, path: str, body: dict[str, object]) -> http.Reply:
        return await self._client.send(self._to, "POST", path, body=msgspec.json.encode(body))


async def fitting_load(client: Client, *, context_tokens: int, round_s: float) -> Load:
    """The full load, or as much of it as this model does here in about so long."""
    room = context_tokens // WORD_TOKENS_MAX / Load().prompt_words_most
    load = Load().scaled(min(1.0, room))
    began = time.monotonic()
    await measure(client, load.scaled(SMALLEST))
    expected_s = (time.monotonic() - began) / SMALLEST
    return load.scaled(max(SMALLEST, min(1.0, round_s / expected_s)))


async def measure(client: Client, load: Load) -> Sample:
    """One round of all three parts."""
    alone = await client.ask(words(load.prompt_words), load.answer_tokens)
    together, waits_s = await _several(
        client, [words(load.prompt_words) for _ in range(load.streams)], load.answer_tokens
    )
    beginning = words(load.shared_words)
    alike = [f"{beginning} {words(load.own_words)}" for _ in range(load.streams)]
    shared, _ = await _several(client, alike, load.shared_answer_tokens)
    return Sample(
        single=alone.tokens / alone.took_s,
        together=together,
        shared=shared,
        ttft_s=alone.ttft_s,
        together_ttft_s=median(waits_s),
    )


async def measure_several(client: Client, load: Load, streams: int) -> float:
    """Tokens per second of so many streams: the mean of own and of shared beginnings."""
    own, _ = await _several(
        client, [words(load.prompt_words) for _ in range(streams)], load.answer_tokens
    )
    beginning = words(load.shared_words)
    alike = [f"{beginning} {words(load.own_words)}" for _ in range(streams)]
    shared, _ = await _several(client, alike, load.shared_answer_tokens)
    return math.sqrt(own * shared)


def words(count: int) -> str:
    """A prompt that no cache has seen."""
    return " ".join(secrets.choice(WORDS) for _ in range(count))


async def _several(client: Client, prompts: list[str], tokens: int) -> tuple[float, list[float]]:
    """Tokens per second of all together, and each one's wait for its first token."""
    began = time.monotonic()
    try:
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(client.ask(prompt, tokens)) for prompt in prompts]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    took_s = time.monotonic() - began
    answers = [task.result() for task in asking]
    return sum(answer.tokens for answer in answers) / took_s, [each.ttft_s for each in answers]
