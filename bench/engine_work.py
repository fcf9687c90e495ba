"""What the engines are given: greedy answers of forced length to prompts of token ids.

A   one prompt of 128 tokens                    B   16 different prompts of 128 at once
C   8 prompts that share 800 tokens, 32 each    W   the same again: the shared part is in memory
D   4 chats of 4 turns side by side             E   a text of about 290 tokens written once more
M   8 answers running, then a prompt of 4,000: how long the eight stand still

Prompts are cut from English text and never the same twice, except where that is the point.
"""

from __future__ import annotations

import asyncio
import json
import pydoc_data.topics
import time
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any, NamedTuple

from bench.engine_sides import Running
from haneul.base.http import Address, Client
from haneul.engine.sse import events

NEW_TOKENS = 64
EDIT_TOKENS = 256
TEXT = " ".join(" ".join(pydoc_data.topics.topics.values()).split())


class Asked(NamedTuple):
    """One answer: seconds to the first token, gaps between tokens, tokens, its text."""

    first_s: float
    gaps_s: list[float]
    tokens: int
    text: str


class Found(NamedTuple):
    """One round of one workload on one engine."""

    tokens_per_s: float
    asked: list[Asked]
    stall_s: float  # the longest gap of answers that were running already
    cpu_s: float = 0.0  # of all processor cores together: what others do counts little in it


class Target(NamedTuple):
    """A running engine and a client of it."""

    engine: Running
    client: Client

    async def tokens(self, text: str) -> list[int]:
        """Token ids, as haneul's /tokenize tells them."""
        body = json.dumps({"prompt": text, "add_special_tokens": False}).encode()
        at = Address("127.0.0.1", self.engine.port)
        reply = await self.client.send(at, "POST", "/tokenize", body=body)
        found: list[int] = json.loads(await reply.read())["tokens"]
        return found

    async def ask(self, path: str, **fields: Any) -> Asked:
        """One streamed answer of forced length."""
        body = {"model": self.engine.model, "stream": True, "temperature": 0, "ignore_eos": True}
        body |= {"max_tokens": NEW_TOKENS, "stream_options": {"include_usage": True}, **fields}
        began = time.perf_counter()
        moments, texts, tokens = [], [], 0
        data = json.dumps(body).encode()
        at = Address("127.0.0.1", self.engine.port)
        reply = await self.client.send(
            at, "POST", path, body=data, headers={"content-type": "application/json"}
        )
        async with reply:
            async for event in events(reply.chunks()):
                if event == b"[DONE]":
                    break
                told = json.loads(event)
                if told.get("usage"):
                    tokens = told["usage"]["completion_tokens"]
                for choice in told.get("choices", []):
                    if text := choice.get("text") or choice.get("delta", {}).get("content"):
                        moments.append(time.perf_counter())
                        texts.append(text)
        if not moments:
            raise RuntimeError(f"{self.engine.name} gave no text: status {reply.status}")
        gaps = [after - before for before, after in pairwise(moments)]
        return Asked(moments[0] - began, gaps, tokens, "".join(texts))


class Words:
    """English text as token ids from the one end, and as text from the other; each part once."""

    def __init__(self, tokens: list[int]) -> None:
        self._tokens = tokens
        self._at = self._text_at = 0

    def take(self, count: int) -> list[int]:
        """So many token ids that were not taken before. Raises ValueError at the end."""
        if self._at + count > len(self._tokens):
            raise ValueError("the text is used up: fewer rounds")
        self._at += count
        return self._tokens[self._at - count : self._at]

    def text(self, characters: int) -> str:
        """So many characters that were not taken before."""
        self._text_at += characters
        return TEXT[-self._text_at :][:characters]


Prompts = list[list[int]]
Run = Callable[[Target], Coroutine[Any, Any, Found]]


def workloads(names: str, words: Words) -> list[tuple[str, Run]]:
    """The runs of one round: each gives every engine the same prompts."""
    found: list[tuple[str, Run]] = []
    for name in names:
        if name in "AB":
            prompts = [words.take(128) for _ in range(1 if name == "A" else 16)]
            found.append((name, _run(_prompts, prompts)))
        elif name == "C":
            stem = words.take(800)
            for kind in "CW":
                if kind in names:
                    prompts = [stem + words.take(32) for _ in range(8)]
                    found.append((kind, _run(_prompts, prompts)))
        elif name == "D":
            found.append((name, _run(_chats, [words.text(1200) for _ in range(4)])))
        elif name == "E":
            text = words.take(290)
            found.append((name, _run(_edit, [[*text, *text[:20]]])))
        elif name == "M":
            prompts = [*(words.take(64) for _ in range(8)), words.take(4000)]
            found.append((name, _run(_newcomer, prompts)))
    return found


def _run(work: Callable[[Target, Any], Coroutine[Any, Any, Found]], what: Any) -> Run:
    return lambda target: work(target, what)


async def _together(target: Target, prompts: Prompts, **fields: Any) -> list[Asked]:
    return await asyncio.gather(
        *(target.ask("/v1/completions", prompt=prompt, **fields) for prompt in prompts)
    )


async def _prompts(target: Target, prompts: Prompts, **fields: Any) -> Found:
    began = time.perf_counter()
    asked = await _together(target, prompts, **fields)
    seconds = time.perf_counter() - began
    return Found(sum(one.tokens for one in asked) / seconds, asked, 0.0)


async def _edit(target: Target, prompts: Prompts) -> Found:
    return await _prompts(target, prompts, max_tokens=EDIT_TOKENS)


async def _chats(target: Target, openings: list[str]) -> Found:
    async def chat(opening: str) -> list[Asked]:
        messages, asked, size = [], [], len(opening) // 5
        for turn in range(4):
            said = opening[: 2 * size] if not turn else opening[(turn + 1) * size :][:size]
            messages.append({"role": "user", "content": said})
            asked.append(await target.ask("/v1/chat/completions", messages=messages))
            messages.append({"role": "assistant", "content": asked[-1].text})
        return asked

    began = time.perf_counter()
    asked = [one for chats in await asyncio.gather(*map(chat, openings)) for one in chats]
    seconds = time.perf_counter() - began
    return Found(sum(one.tokens for one in asked) / seconds, asked, 0.0)


async def _newcomer(target: Target, prompts: Prompts) -> Found:
    """Tokens per second of all; the newcomer's answer; the longest stall of the others."""
    began = time.perf_counter()
    running = asyncio.create_task(_together(target, prompts[:-1], max_tokens=4 * NEW_TOKENS))
    await asyncio.sleep(2.0)
    came = await _together(target, prompts[-1:])
    asked = await running
    seconds = time.perf_counter() - began
    stall_s = max(max(one.gaps_s) for one in asked)
    return Found(sum(one.tokens for one in [*asked, *came]) / seconds, came, stall_s)
