"""What an engine says, read for clients of another protocol: whole answers and chunks alike."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from haneul.base.errors import EngineFailed
from haneul.base.wire import Usage

INVALID = "INVALID_JSON"  # Anthropic's word for a tool's input that could not be read


class Function(Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class ToolCall(Struct, frozen=True):
    """A call, or a part of one that is streamed."""

    index: int | None = None
    id: str | None = None
    function: Function = Function()

    @property
    def given(self) -> dict[str, Any]:
        """The arguments; those that are no JSON object under a name that says so."""
        text = self.function.arguments or "{}"
        try:
            return msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError):
            return {INVALID: text}


class Said(Struct, frozen=True):
    """A whole message, or what a chunk adds to it."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None

    @property
    def thought(self) -> str:
        return self.reasoning_content or self.reasoning or ""


class Scores(Struct, frozen=True):
    """The likelihood of each token of a chat, as the engine wrote it."""

    content: list[dict[str, Any]] | None = None


class Choice(Struct, frozen=True):
    message: Said | None = None
    delta: Said | None = None
    text: str | None = None  # of a plain completion
    finish_reason: str | None = None
    stop_reason: str | int | None = None  # vLLM's word: the stop string, or a token's number
    logprobs: Scores | None = None

    @property
    def said(self) -> Said:
        """What a chat or a completion says, whole or streamed."""
        return self.message or self.delta or Said(content=self.text)


class Answer(Struct, frozen=True):
    """A whole answer, or a chunk of one."""

    choices: list[Choice] = []
    usage: Usage | None = None

    @property
    def choice(self) -> Choice:
        """The first; an empty one where there is none."""
        return self.choices[0] if self.choices else Choice()


_answers = msgspec.json.Decoder(Answer)


def read(data: bytes) -> Answer:
    """Raises EngineFailed for what is not of the protocol."""
    try:
        return _answers.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise EngineFailed("The engine's answer is not of the OpenAI protocol.") from cause
