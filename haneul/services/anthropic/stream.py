"""A streamed answer as the Messages API's events: a block at a time, each begun and ended."""

from __future__ import annotations

from typing import Any

import msgspec

from haneul.base import wire
from haneul.base.errors import EngineFailed
from haneul.base.ids import new_id
from haneul.services import openai
from haneul.services.answer import Choice, Said, ToolCall, read
from haneul.services.anthropic.request import Client
from haneul.services.anthropic.told import ending, head, usage
from haneul.services.ask import Ask
from haneul.services.flights import Counters

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
TEXT, THINKING = -2, -1  # what a block can be beside a call, whose number is from 0 on


def named(name: str, **fields: Any) -> bytes:
    """One named event."""
    data = msgspec.json.encode({"type": name, **fields})
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


class Stream(openai.Stream):
    """Reads an engine's chunks, tells events."""

    def __init__(self, ask: Ask, counters: Counters) -> None:
        super().__init__(ask, counters)
        self._client: Client = ask.client
        self._has_begun = False
        self._open: int | None = None  # what the block that is open is
        self._blocks = 0  # begun so far
        self._calls = 0  # begun so far
        self._last = Choice()

    def _give(self, event: bytes, payload: bytes, chunk: wire.Chunk) -> bytes:
        told = self._begin()
        for choice in read(payload).choices[:1]:
            told += self._say(choice.said)
            if choice.finish_reason is not None:
                self._last = choice
        return told

    def _comment(self, event: bytes) -> bytes:
        """An engine's sign of life."""
        return PING

    def _begin(self) -> bytes:
        if self._has_begun:
            return b""
        self._has_begun = True
        known = self._counters if self.has_usage else Counters()
        message = {
            **head(self._client.model),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**usage(known), "output_tokens": 0},
        }
        return named("message_start", message=message) + PING

    def _say(self, said: Said) -> bytes:
        told = b""
        if said.thought:
            block = {"type": "thinking", "thinking": "", "signature": ""}
            told += self._in(THINKING, block)
            if not self._client.hides_thinking:
                told += self._add({"type": "thinking_delta", "thinking": said.thought})
        if said.content:
            told += self._in(TEXT, {"type": "text", "text": ""})
            told += self._add({"type": "text_delta", "text": said.content})
        for part in said.tool_calls or []:
            told += self._call(part)
        return told

    def _call(self, part: ToolCall) -> bytes:
        number, told = self._number(part), b""
        if number != self._open:
            if number < self._calls or part.function.name is None:
                raise EngineFailed("The engine mixed the parts of its calls.")
            self._calls = number + 1
            block = {
                "type": "tool_use",
                "id": part.id or new_id("toolu"),
                "name": part.function.name,
                "input": {},
            }
            told = self._in(number, block)
        if part.function.arguments:
            delta = {"type": "input_json_delta", "partial_json": part.function.arguments}
            told += self._add(delta)
        return told

    def _number(self, part: ToolCall) -> int:
        """Which call it is a part of: some engines leave out the number."""
        if part.index is not None:
            return part.index
        return self._calls if part.function.name is not None else self._calls - 1

    def _in(self, kind: int, block: dict[str, Any]) -> bytes:
        """Begins a block unless it is open already."""
        if self._open == kind:
            return b""
        told = self._end_block()
        self._open = kind
        told += named("content_block_start", index=self._blocks, content_block=block)
        self._blocks += 1
        return told

    def _add(self, delta: dict[str, Any]) -> bytes:
        return named("content_block_delta", index=self._blocks - 1, delta=delta)

    def _end_block(self) -> bytes:
        if self._open is None:
            return b""
        told = b""
        if self._open == THINKING:
            told = self._add({"type": "signature_delta", "signature": ""})
        self._open = None
        return told + named("content_block_stop", index=self._blocks - 1)

    def ending(self, *, cost_nano: int, currency: str) -> bytes:
        told = self._begin() + self._end_block()
        counts = {**usage(self._counters), "cost_nano": cost_nano, "currency": currency}
        delta = ending(self._last, has_calls=self._calls > 0)
        return told + named("message_delta", delta=delta, usage=counts) + named("message_stop")
