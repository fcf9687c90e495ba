"""Answers POST /v1/completions, streamed or whole."""

from __future__ import annotations

import codecs
import time
from typing import Any

from haneul.base.ids import new_id
from haneul.base.wire import CompletionRequest
from haneul.engine.accept import Streaming
from haneul.engine.asgi import Answer
from haneul.engine.kernel import Piece, Scored, ScoredToken
from haneul.engine.tally import Tally


class CompletionAnswer:
    """Turns the pieces of each choice into OpenAI's older form; echoes hold the prompts' texts."""

    def __init__(
        self,
        request: CompletionRequest,
        streaming: Streaming,
        *,
        prompts: int,
        echoes: list[str],
        model: str,
        answer: Answer,
    ) -> None:
        choices = request.n or 1
        self.tally = Tally(choices=choices)
        self._request = request
        self._streaming = streaming
        self._answer = answer
        self._head = {
            "id": new_id("cmpl").replace("_", "-"),
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
        }
        self._choices = [
            _Choice(echoes[index // choices] if echoes else "", request.logprobs)
            for index in range(prompts * choices)
        ]

    async def emit(self, index: int, piece: Piece) -> None:
        """Takes one piece of one choice."""
        self.tally.add(index, piece)
        choice = self._choices[index]
        choice.keep(piece)
        has_news = choice.text or piece.finish_reason
        if self._request.stream and has_news:
            chunk: dict[str, Any] = {**self._head, "choices": [choice.take(index)]}
            if self._streaming.continuous_usage_stats:
                chunk["usage"] = self.tally.usage()
            elif self._streaming.include_usage:
                chunk["usage"] = None
            await self._answer.event(chunk)

    async def finish(self) -> None:
        """Ends the stream, or sends the whole answer."""
        usage = self.tally.usage()
        if not self._request.stream:
            choices = [choice.take(index) for index, choice in enumerate(self._choices)]
            await self._answer.json({**self._head, "choices": choices, "usage": usage})
            return
        if self._streaming.include_usage:
            await self._answer.event({**self._head, "choices": [], "usage": usage})
        await self._answer.done()


class _Choice:
    """What has come of one choice and was not yet sent."""

    def __init__(self, echo: str, logprobs: int | None) -> None:
        self.text = echo
        self._scores = Scores(logprobs) if logprobs is not None else None
        self._finish_reason: str | None = None

    def keep(self, piece: Piece) -> None:
        self.text += piece.text
        self._finish_reason = piece.finish_reason
        if self._scores is not None:
            for one in piece.scores:
                self._scores.add(one)

    def take(self, index: int) -> dict[str, Any]:
        text, self.text = self.text, ""
        return {
            "index": index,
            "text": text,
            "logprobs": self._scores.take() if self._scores is not None else None,
            "finish_reason": self._finish_reason,
        }


class Scores:
    """OpenAI's older form of log-probabilities: four lists of equal length."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._offset = 0  # characters
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._clear()

    def _clear(self) -> None:
        self._tokens: list[str] = []
        self._values: list[float] = []
        self._tops: list[dict[str, float]] = []
        self._offsets: list[int] = []

    def add(self, one: ScoredToken) -> None:
        """The token's place is counted in characters of the text after the prompt."""
        best = {shown(other): other.logprob for other in one.top_logprobs[: self._most]}
        self._tokens.append(shown(one))
        self._values.append(one.logprob)
        self._tops.append(best | {shown(one): one.logprob})  # the taken one is always there
        self._offsets.append(self._offset)
        self._offset += len(self._decoder.decode(bytes(one.bytes)))

    def take(self) -> dict[str, Any]:
        """The lists so far, emptied."""
        lists = {
            "tokens": self._tokens,
            "token_logprobs": self._values,
            "top_logprobs": self._tops,
            "text_offset": self._offsets,
        }
        self._clear()
        return lists


def shown(one: Scored) -> str:
    """The token's text, or its bytes in OpenAI's way when they are no text by themselves."""
    try:
        return bytes(one.bytes).decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in one.bytes)
