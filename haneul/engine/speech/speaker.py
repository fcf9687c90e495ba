"""A worker with the gift of speech: the Kernel that chats through a kernel of tokens.

What the worker lacks goes to another kernel beside it, which starts at the first such request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from msgspec.structs import replace

from haneul.base.errors import BrokenFile, ContextTooLong, EngineFailed
from haneul.base.wire import ChatRequest, CompletionRequest
from haneul.engine.kernel import Facts, Kernel, Piece, Prompt, Ranks, ScoredToken, Terms, Vectors
from haneul.engine.speech.asked import chat_job, completion_job, defaults, lacking, stops
from haneul.engine.speech.spelling import Spelling
from haneul.engine.speech.template import ChatTemplate
from haneul.engine.speech.thinking import Thinking, Thought, totals
from haneul.engine.speech.turn import PlainReader, Reader, Said, open_turn
from haneul.engine.worker.job import Job, Loaded, Step, WorkerSpec
from haneul.engine.worker.process import WorkerProcess
from haneul.engine.worker.stepper import CannotServe


class Speaker:
    """One model in a worker. Implements Kernel."""

    def __init__(
        self,
        spec: WorkerSpec,
        fallback: Kernel,
        metadata: Mapping[str, Any],
        *,
        is_borrowed: bool = False,
    ) -> None:
        self.name = spec.kernel
        self._worker = WorkerProcess(spec)
        self._fallback = fallback
        self._is_borrowed = is_borrowed  # another's: it runs already and is not ended here
        self._fallback_has_started = is_borrowed
        self._fallback_lock = asyncio.Lock()
        self._defaults = defaults(metadata)
        self._loaded: Loaded | None = None
        self._template = ChatTemplate(None, bos="", eos="")

    async def start(self) -> Facts:
        """Loads the model. Raises BrokenFile, or CannotServe when another kernel might do it."""
        loaded = self._loaded = await self._worker.start()
        self._template = ChatTemplate(loaded.template, bos=loaded.bos, eos=loaded.eos)
        has_tools = await asyncio.to_thread(lambda: self._template.has_tools)
        return replace(loaded.facts, has_tools=has_tools)

    async def died(self) -> str:
        return await self._worker.died()

    async def chat(self, request: ChatRequest, terms: Terms) -> AsyncGenerator[Piece, None]:
        turn = await asyncio.to_thread(open_turn, request, self._template)
        job = chat_job(request, terms, turn, self._defaults)
        if self._lacking(job):
            pieces = (await self._other()).chat(request, terms)
        else:
            pieces = self._speak(job, stops(request), turn.reader, turn.thinking)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def complete(
        self, prompt: Prompt, request: CompletionRequest, terms: Terms
    ) -> AsyncGenerator[Piece, None]:
        job = completion_job(prompt, request, terms, self._defaults)
        if self._lacking(job):
            pieces = (await self._other()).complete(prompt, request, terms)
        else:
            pieces = self._speak(job, stops(request), PlainReader())
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def embed(self, inputs: list[Prompt]) -> Vectors:
        return await self._fallback.embed(inputs)  # which needs no start for it

    async def rerank(self, query: str, documents: list[str]) -> Ranks:
        return await self._fallback.rerank(query, documents)

    async def tokenise(self, text: str, *, with_special: bool) -> list[int]:
        value = {"text": text, "with_special": with_special}
        tokens: list[int] = await self._worker.ask("tokenise", value)
        return tokens

    async def detokenise(self, tokens: list[int]) -> str:
        return str(await self._worker.ask("detokenise", tokens)) if tokens else ""

    async def render(self, request: ChatRequest) -> str:
        return (await asyncio.to_thread(open_turn, request, self._template)).prompt

    async def counters(self) -> dict[str, float]:
        counts: dict[str, float] = await self._worker.ask("counters")
        return counts

    async def close(self) -> None:
        await self._worker.close()
        if not self._is_borrowed:
            await self._fallback.close()

    def _lacking(self, job: Job) -> str | None:
        assert self._loaded is not None
        return lacking(job, self._loaded.lacks)

    async def _other(self) -> Kernel:
        async with self._fallback_lock:
            if not self._fallback_has_started:
                try:
                    await self._fallback.start()
                except (BrokenFile, CannotServe) as cause:  # though the file was loaded before
                    raise EngineFailed("No other kernel here loads this model.") from cause
                self._fallback_has_started = True
        return self._fallback

    async def _speak(
        self,
        job: Job,
        stop: list[str],
        reader: Reader | PlainReader,
        thinking: Thinking | None = None,
    ) -> AsyncGenerator[Piece, None]:
        """The pieces of one answer. Ended early, or by a stop string, it frees its place."""
        spelling = Spelling(stop)
        scores: list[ScoredToken] = []  # of text that is held back
        run = self._worker.run(job)
        if thinking is not None:
            run = self._bounded(run, job, reader, Thought(thinking))
        async with aclosing(run) as steps:
            async for step in steps:
                text = spelling.add(step.data)
                scores += step.scores
                reason = "stop" if spelling.is_stopped else step.finish_reason
                said = reader.add(text)
                if reason:
                    said += reader.end(spelling.end())
                    if reason == "stop" and reader.has_calls:
                        reason = "tool_calls"
                for piece in _pieces(said, step, scores, reason, spelling.stopped_by):
                    yield piece
                if said:
                    scores = []
                if reason:
                    return

    async def _bounded(
        self,
        run: AsyncGenerator[Step, None],
        job: Job,
        reader: Reader | PlainReader,
        thought: Thought,
    ) -> AsyncGenerator[Step, None]:
        """The same steps; a thought that has had its tokens is ended, and the answer goes on."""
        async with aclosing(run) as steps:
            async for step in steps:
                yield step
                if thought.is_over(step, is_thinking=reader.is_thinking):
                    break
            else:
                return
        end, rest = thought.closed(job)
        first = replace(step, data=end.encode(), scores=[])
        if rest is None:
            yield replace(first, finish_reason="length")
            return
        yield first
        try:
            async with aclosing(self._worker.run(rest)) as steps:
                async for step in steps:
                    yield totals(step, first)
        except ContextTooLong:  # the thought has filled the context
            yield replace(first, data=b"", finish_reason="length")


def _pieces(
    said: list[Said],
    step: Step,
    scores: list[ScoredToken],
    reason: str | None,
    stopped_by: str | None,
) -> list[Piece]:
    """What was said, one piece each; the first has the scores, the last the reason to end."""
    said = said or [Said()]
    last = len(said) - 1
    return [
        Piece(
            text=one.text,
            reasoning=one.reasoning,
            tool_calls=one.tool_calls,
            scores=scores if place == 0 and (one.text or one.reasoning or reason) else [],
            finish_reason=reason if place == last else None,
            stop_reason=stopped_by if place == last else None,
            prompt_tokens=step.prompt_tokens,
            cached_tokens=step.cached_tokens,
            completion_tokens=step.completion_tokens,
        )
        for place, one in enumerate(said)
    ]
