"""The fixed requests that every setup is measured with, over the protocol that clients use.

Some streams one after the other, several at once with prompts of their own, several whose prompts
begin alike, and one more behind that long beginning. Prompts are as long as in real use, because
what a kernel costs depends on it: a slow model gets fewer of them and shorter answers, and shorter
prompts only when nothing else is left. Each prompt is fresh, so that no cache of an earlier round
answers it; every setup gets as many words and tokens.
"""

from __future__ import annotations

import asyncio
import time
from statistics import median

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from haneul.base import http
from haneul.base.errors import EngineFailed
from haneul.services.measure import WORD_TOKENS_MAX, chunks
from haneul.services.tune.chooser import Sample
from haneul.services.tune.text import fresh_words

ROUND_S, FULL_ROUND_S = 11.0, 24.0  # about so long may a round of the default setup take
REQUEST_S = 120.0
PROBE_TOKENS = 12
BATCH_GAIN = 1.5  # of decoding several streams together over one, at the least
# Streams, tokens of an answer, tokens of an answer behind a shared beginning: from full to least.
SIZES = ((8, 32, 24), (6, 24, 16), (4, 24, 16), (3, 16, 12), (3, 12, 8))
LENGTHS = (1.0, 0.5, 0.25, 0.125, 0.0625)  # of prompts; the shorter ones where nothing else helps
STRETCH = 2.0  # times the wanted time, before prompts are shortened
ROOM = 0.9  # of the context for a prompt and its answer, as texts differ in tokens a word


class Load(Struct, frozen=True, kw_only=True):
    """How much is asked for in one round."""

    streams: int = 8
    prompt_words: int = 100  # about 128 tokens of an English vocabulary
    answer_tokens: int = 32
    shared_words: int = 380  # that the prompts of the third part begin with alike: 500 tokens
    own_words: int = 16  # that follow them
    shared_answer_tokens: int = 24
    singles: int = 2  # streams one after the other

    def sized(self, streams: int, answer_tokens: int, shared_answer_tokens: int) -> Load:
        """As many streams and tokens, behind prompts of the same lengths."""
        return replace(
            self,
            streams=streams,
            answer_tokens=answer_tokens,
            shared_answer_tokens=shared_answer_tokens,
        )

    def for_crossing(self, streams: int) -> Load:
        """So many streams with longer answers: the kernel for one stream is at its best there."""
        return self.sized(streams, 2 * self.answer_tokens, 2 * self.shared_answer_tokens)

    def shortened(self, factor: float) -> Load:
        """The same with shorter prompts."""
        return replace(
            self,
            prompt_words=max(8, round(self.prompt_words * factor)),
            shared_words=max(8, round(self.shared_words * factor)),
            own_words=max(4, round(self.own_words * factor)),
        )

    @property
    def prompt_words_most(self) -> int:
        """Of the longest prompt."""
        return max(self.prompt_words, self.shared_words + self.own_words)

    @property
    def read_words(self) -> int:
        """Of one round, each shared beginning once."""
        own = (self.singles + self.streams) * self.prompt_words
        return own + self.shared_words + (self.streams + 1) * self.own_words

    def decode_steps(self, gain: float) -> float:
        """Of one round, in steps of one stream; `gain`: of steps that several share."""
        single = (self.singles + 1) * self.answer_tokens
        several = self.streams * (self.answer_tokens + self.shared_answer_tokens)
        return single + several / gain


class Asked(Struct, frozen=True):
    """One answer: its tokens and seconds."""

    prompt_tokens: int
    tokens: int
    ttft_s: float
    took_s: float


class Rate(Struct, frozen=True):
    """Tokens per second of some answers, and how long a first token took."""

    tokens_per_s: float
    ttft_s: float  # median


class Alike(Struct, frozen=True):
    """Tokens per second behind a long beginning: of several that share it, of one after them."""

    shared: float
    long: float


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
    words = min(Load().prompt_words, max(4, context_tokens // WORD_TOKENS_MAX))
    asked = await client.ask(fresh_words(words), PROBE_TOKENS)
    step_s = (asked.took_s - asked.ttft_s) / max(1, asked.tokens - 1)
    return fitted(
        word_s=asked.ttft_s / words,
        step_s=step_s,
        words_room=int(ROOM * context_tokens * words / asked.prompt_tokens),
        round_s=round_s,
    )


def fitted(*, word_s: float, step_s: float, words_room: int, round_s: float) -> Load:
    """The largest load whose round takes at most so long, else the least.

    Shorter prompts are the last resort: before them a round may take STRETCH times as long.
    `word_s`: to read a word of a prompt; `step_s`: to write a token of one stream; `words_room`:
    that the context holds.
    """
    loads = [Load().shortened(length).sized(*size) for length in LENGTHS for size in SIZES]
    held = [load for load in loads if load.prompt_words_most <= words_room] or loads[-1:]
    for load in held:
        expected_s = word_s * load.read_words + step_s * load.decode_steps(BATCH_GAIN)
        is_least = load.streams == SIZES[-1][0] and load.answer_tokens == SIZES[-1][1]
        if expected_s <= round_s * (STRETCH if is_least else 1):
            return load
    return held[-1]


async def alone(client: Client, load: Load) -> Rate:
    """Streams one after the other."""
    asked = [
        await client.ask(fresh_words(load.prompt_words), load.answer_tokens)
        for _ in range(load.singles)
    ]
    took_s = sum(each.took_s for each in asked)
    tokens = sum(each.tokens for each in asked)
    return Rate(tokens / took_s, median(each.ttft_s for each in asked))


async def together(client: Client, load: Load) -> Rate:
    """Several at once, with prompts of their own."""
    prompts = [fresh_words(load.prompt_words) for _ in range(load.streams)]
    return await _several(client, prompts, load.answer_tokens)


async def shared(client: Client, load: Load, beginning: str) -> Rate:
    """Several at once, whose prompts begin alike."""
    prompts = [f"{beginning} {fresh_words(load.own_words)}" for _ in range(load.streams)]
    return await _several(client, prompts, load.shared_answer_tokens)


async def alike(client: Client, load: Load) -> Alike:
    """Several whose prompts begin alike, then one more behind that beginning."""
    beginning = fresh_words(load.shared_words)
    several = await shared(client, load, beginning)
    one = await client.ask(f"{beginning} {fresh_words(load.own_words)}", load.answer_tokens)
    return Alike(several.tokens_per_s, one.tokens / one.took_s)


def sample(single: Rate, several: Rate, behind: Alike) -> Sample:
    """The parts of one round."""
    return Sample(
        single=single.tokens_per_s,
        long=behind.long,
        together=several.tokens_per_s,
        shared=behind.shared,
        ttft_s=single.ttft_s,
        together_ttft_s=several.ttft_s,
    )


def words_of(sample: Sample, load: Load) -> str:
    """A round as people read it while a search runs."""
    return (
        f"{sample.single:.1f} tok/s alone, {sample.long:.1f} behind a long text, "
        f"{sample.together:.1f} for {load.streams}, {sample.shared:.1f} with a shared beginning"
    )


async def _several(client: Client, prompts: list[str], tokens: int) -> Rate:
    """All at the same time."""
    began = time.monotonic()
    try:
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(client.ask(prompt, tokens)) for prompt in prompts]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    took_s = time.monotonic() - began
    answers = [task.result() for task in asking]
    written = sum(answer.tokens for answer in answers)
    return Rate(written / took_s, median(each.ttft_s for each in answers))
