"""What an engine really does on this machine: a short run after its first load, about 8 s.

Three figures, each tokens per second: `prefill` of one prompt, `decode` of one stream, `capacity`
of all slots decoding together. A slow model is cut off by time, not waited for.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator

import msgspec
from msgspec import Struct

from haneul.base import http
from haneul.base.errors import EngineFailed
from haneul.base.wire import Chunk, Usage, chunk_decoder

DECODE_TOKENS = 48
DECODE_S = 6.0
PREFILL_WORDS = 320
PREFILL_S = 60.0
BURST_S = 0.005
WORD_TOKENS_MAX = 10  # of one word, where a vocabulary has no more than bytes
WORDS = ("river", "stone", "cloud", "winter", "garden", "letter", "morning", "silver", "forest")


class Speeds(Struct, frozen=True):
    """Tokens per second, measured here."""

    prefill: float
    decode: float
    capacity: float  # of `streams` decoding together
    streams: int


class _Answer(Struct, frozen=True):
    usage: Usage


async def measure(
    client: http.Client, to: http.Address, model: str, *, streams: int, context_tokens: int
) -> Speeds:
    """Runs the three measurements on a ready engine. Raises EngineFailed, EngineUnavailable."""
    tokens = max(4, min(DECODE_TOKENS, context_tokens // 4))
    words = max(4, min(PREFILL_WORDS, context_tokens // WORD_TOKENS_MAX))
    await _decode(client, to, model, 4)  # the first run pays for pages and threads
    prefill = await _prefill(client, to, model, words)
    decode = await _decode(client, to, model, tokens)
    began = time.monotonic()
    counted = await asyncio.gather(*(_stream(client, to, model, tokens) for _ in range(streams)))
    tokens = sum(count for count, _, _ in counted)
    first = min(first for _, first, _ in counted)
    last = max(last for _, _, last in counted)
    capacity = tokens / (last - (first if last - first >= BURST_S else began))
    return Speeds(prefill, decode, max(capacity, decode), streams)


async def _prefill(client: http.Client, to: http.Address, model: str, words: int) -> float:
    body = _body(model, words=words, max_tokens=1)
    began = time.monotonic()
    async with asyncio.timeout(PREFILL_S):
        reply = await client.send(to, "POST", "/v1/completions", body=body)
        async with reply:
            data = await reply.read()
    if reply.status != 200:
        raise EngineFailed(f"The engine answered its measurement with status {reply.status}.")
    usage = msgspec.json.decode(data, type=_Answer).usage
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
    return (usage.prompt_tokens - (cached or 0)) / (time.monotonic() - began)


async def _decode(client: http.Client, to: http.Address, model: str, tokens: int) -> float:
    began = time.monotonic()
    count, first, last = await _stream(client, to, model, tokens)
    if last - first < BURST_S:  # they came in one piece: only the whole can be timed
        return count / (last - began)
    return (count - 1) / (last - first)


async def _stream(
    client: http.Client, to: http.Address, model: str, tokens: int
) -> tuple[int, float, float]:
    """Tokens that came, and when the first and the last did."""
    body = _body(model, words=4, max_tokens=tokens, stream=True)
    count, first, last = 0, 0.0, 0.0
    reply = await client.send(to, "POST", "/v1/completions", body=body)
    async with reply:
        if reply.status != 200:
            raise EngineFailed(f"The engine answered its measurement with status {reply.status}.")
        async for chunk in chunks(reply):
            if chunk.usage and chunk.usage.completion_tokens:
                count, last = chunk.usage.completion_tokens, time.monotonic()
                first = first or last
            if count > 1 and last - first > DECODE_S:
                break
    if count < 1:
        raise EngineFailed("The engine gave no tokens when it was measured.")
    return count, first, last


async def chunks(reply: http.Reply) -> AsyncIterator[Chunk]:
    """The events of a streamed answer as they come."""
    rest = b""
    async for data in reply.chunks():
        *events, rest = (rest + data).split(b"\n\n")
        for event in events:
            if event.startswith(b"data: {"):
                yield chunk_decoder.decode(event[6:])


def _body(model: str, *, words: int, max_tokens: int, stream: bool = False) -> bytes:
    """A prompt that no cache has seen, and an answer of exactly so many tokens."""
    prompt = " ".join(secrets.choice(WORDS) for _ in range(words))
    body = {
        "model": model,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": True,
    }
    if stream:
        options = {"include_usage": True, "continuous_usage_stats": True}
        body |= {"stream": True, "stream_options": options}
    return msgspec.json.encode(body)
