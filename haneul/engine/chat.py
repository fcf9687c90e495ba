"""Answers POST /v1/chat/completions, streamed or whole."""

from __future__ import annotations

import time
from typing import Any

from haneul.base.ids import new_id
from haneul.base.wire import ChatRequest
from haneul.engine.accept import Streaming
from haneul.engine.asgi import Answer
from haneul.engine.kernel import Piece, Scored, ScoredToken
from haneul.engine.tally import Tally


class ChatAnswer:
    """Turns the pieces of each choice into OpenAI's chunks, or into one answer at the end."""

    def __init__(
        self, request: ChatRequest, streaming: Streaming, *, model: str, answer: Answer
    ) -> None:
        self.tally = Tally(choices=request.n or 1)
        self._request = request
        self._streaming = streaming
        self._answer = answer
        self._head = {
            "id": new_id("chatcmpl").replace("_", "-"),
            "object": "chat.completion.chunk" if request.stream else "chat.completion",
            "created": int(time.time()),
            "model": model,
        }
        self._choices = [_Choice() for _ in range(request.n or 1)]

    async def emit(self, index: int, piece: Piece) -> None:
        """Takes one piece of one choice."""
        self.tally.add(index, piece)
        choice = self._choices[index]
        scores = [score(one, self._request.top_logprobs or 0) for one in piece.scores]
        if not self._request.stream:
            choice.keep(piece, scores)
            return
        if not choice.has_begun:
            choice.has_begun = True
            await self._chunk(index, {"role": "assistant", "content": ""}, None, [])
        if delta := _delta(piece):
            await self._chunk(index, delta, None, scores)
        if piece.finish_reason:
            await self._chunk(index, {}, piece, [])

    async def finish(self) -> None:
        """Ends the stream, or sends the whole answer."""
        usage = self.tally.usage()
        if not self._request.stream:
            choices = [
                choice.whole(index, has_logprobs=bool(self._request.logprobs))
                for index, choice in enumerate(self._choices)
            ]
            await self._answer.json({**self._head, "choices": choices, "usage": usage})
            return
        if self._streaming.include_usage:
            await self._answer.event({**self._head, "choices": [], "usage": usage})
        await self._answer.done()

    async def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        end: Piece | None,
        scores: list[dict[str, Any]],
    ) -> None:
        logprobs = {"content": scores, "refusal": None} if scores else None
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": end.finish_reason if end else None,
            **_stop_reason(end.stop_reason if end else None),
        }
        chunk: dict[str, Any] = {**self._head, "choices": [choice]}
        if self._streaming.continuous_usage_stats:
            chunk["usage"] = self.tally.usage()
        elif self._streaming.include_usage:
            chunk["usage"] = None
        await self._answer.event(chunk)


class _Choice:
    def __init__(self) -> None:
        self.has_begun = False
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: dict[int, dict[str, Any]] = {}
        self.scores: list[dict[str, Any]] = []
        self.finish_reason: str | None = None
        self.stop_reason: str | None = None

    def keep(self, piece: Piece, scores: list[dict[str, Any]]) -> None:
        self.text.append(piece.text)
        self.reasoning.append(piece.reasoning)
        self.scores += scores
        self.finish_reason = piece.finish_reason or self.finish_reason
        self.stop_reason = piece.stop_reason or self.stop_reason
        for part in piece.tool_calls:
            merge_call(self.calls, part)

    def whole(self, index: int, *, has_logprobs: bool) -> dict[str, Any]:
        text = "".join(self.text)
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if reasoning := "".join(self.reasoning):
            message["reasoning_content"] = reasoning
        if self.calls:
            message["content"] = text or None
            message["tool_calls"] = list(self.calls.values())
        logprobs = {"content": self.scores, "refusal": None} if has_logprobs else None
        return {
            "index": index,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": self.finish_reason,
            **_stop_reason(self.stop_reason),
        }


def score(one: ScoredToken, most: int) -> dict[str, Any]:
    """OpenAI's form of a scored token, with so many alternatives at most."""
    return {**_scored(one), "top_logprobs": [_scored(other) for other in one.top_logprobs[:most]]}


def merge_call(calls: dict[int, dict[str, Any]], part: dict[str, Any]) -> None:
    """Adds a streamed part of a tool call to the whole; arguments come in pieces of text."""
    function = part.get("function") or {}
    call = calls.setdefault(
        part.get("index", 0),
        {"id": "", "type": "function", "function": {"name": "", "arguments": ""}},
    )
    call["id"] = part.get("id") or call["id"]
    call["function"]["name"] += function.get("name") or ""
    call["function"]["arguments"] += function.get("arguments") or ""


def _stop_reason(stop: str | None) -> dict[str, str]:
    """vLLM's word for the stop string that ended an answer; absent where none did."""
    return {} if stop is None else {"stop_reason": stop}


def _scored(one: Scored) -> dict[str, Any]:
    return {"token": one.token, "logprob": one.logprob, "bytes": one.bytes}


def _delta(piece: Piece) -> dict[str, Any]:
    delta: dict[str, Any] = {}
    if piece.text:
        delta["content"] = piece.text
    if piece.reasoning:
        delta["reasoning_content"] = piece.reasoning
    if piece.tool_calls:
        delta["tool_calls"] = piece.tool_calls
    return delta
