"""What an engine's answer is in Ollama's words: lines of JSON, one object where it is whole.

Durations are in nanoseconds and measured here or left out: `total_duration` from the request read
to its answer ended; `eval_duration`, of streams alone, from the first token to the last. How long
an engine read the prompt cannot be told apart from the wait before it, so it is not said.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from haneul.base import wire
from haneul.base.errors import EngineFailed, HaneulError
from haneul.base.wire import Usage
from haneul.services import openai
from haneul.services.answer import Choice, Said, ToolCall, read
from haneul.services.ask import Ask
from haneul.services.flights import Counters
from haneul.services.ollama.request import CHAT, EMBED, Client

LINES = b"application/x-ndjson"
# What may stand in JSON but ends a line for Python's and httpx's readers of lines.
LINE_ENDS = [(mark.encode(), b"\\u%04x" % ord(mark)) for mark in "\x85\u2028\u2029"]
REASONS = {"tool_calls": "stop", "function_call": "stop"}


class Vector(Struct, frozen=True):
    embedding: Raw
    index: int = 0


class Vectors(Struct, frozen=True):
    """An engine's embeddings, their numbers as they were written."""

    data: list[Vector]
    usage: Usage | None = None


_vectors = msgspec.json.Decoder(Vectors)


# Fields by which an engine names what it refuses, in the words of the client's own request.
FIELDS = {
    "chat_template_kwargs": "think",
    "max_completion_tokens": "options.num_predict",
    "max_tokens": "options.num_predict",
    "reasoning_effort": "think",
    "response_format": "format",
}


class Errors:
    """Errors as Ollama's clients read them: one text, so the field has to stand in it."""

    def body(self, error: HaneulError, request_id: str) -> bytes:
        root = (error.param or "").partition(".")[0]
        param = FIELDS.get(root) or error.param
        is_named = not param or f"'{param}'" in error.message
        text = error.message if is_named else f"{error.message} ({param})"
        return msgspec.json.encode({"error": text})

    def event(self, error: HaneulError, request_id: str) -> bytes:
        return ended(self.body(error, request_id))


def ended(data: bytes) -> bytes:
    """JSON as a line of its own, also for clients that end lines where Unicode does."""
    for mark, escape in LINE_ENDS:
        data = data.replace(mark, escape)
    return data + b"\n"


def head(model: str) -> dict[str, Any]:
    """What every line begins with."""
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"model": model, "created_at": now}


def words(
    route: str, said: Said, calls: list[ToolCall], logprobs: list[dict[str, Any]] | None
) -> dict[str, Any]:
    """What a line of an address says."""
    scores = {"logprobs": logprobs} if logprobs else {}
    if route != CHAT:
        thinking = {"thinking": said.thought} if said.thought else {}
        return {"response": said.content or "", **thinking, **scores}
    message: dict[str, Any] = {"role": "assistant", "content": said.content or ""}
    if said.thought:
        message["thinking"] = said.thought
    if calls:
        message["tool_calls"] = [_call(call, at) for at, call in enumerate(calls)]
    return {"message": message, **scores}


def _call(call: ToolCall, at: int) -> dict[str, Any]:
    function = {"index": at, "name": call.function.name or "", "arguments": call.given}
    return {"id": call.id, "function": function} if call.id else {"function": function}


def whole(ask: Ask, data: bytes, *, cost_nano: int, currency: str) -> bytes:
    """A whole answer of a chat or a generation."""
    client: Client = ask.client
    answer = read(data)
    choice = answer.choice
    scores = choice.logprobs.content if choice.logprobs else None
    line = {
        **head(client.model),
        **words(ask.name, choice.said, choice.said.tool_calls or [], scores),
        **_end(choice, client),
        **_counts(answer.usage),
        "cost_nano": cost_nano,
        "currency": currency,
    }
    return msgspec.json.encode(line)


def embedded(ask: Ask, data: bytes, *, cost_nano: int, currency: str) -> bytes:
    """The answer of either address of embeddings."""
    try:
        found = _vectors.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise EngineFailed("The engine's answer is not of the OpenAI protocol.") from cause
    ordered = sorted(found.data, key=lambda vector: vector.index)
    rows = [vector.embedding for vector in ordered]
    if ask.name != EMBED:
        return msgspec.json.encode({"embedding": rows[0] if rows else []})
    told = {
        "model": ask.client.model,
        "embeddings": rows,
        "total_duration": time.monotonic_ns() - ask.client.began_ns,
        **({"prompt_eval_count": found.usage.prompt_tokens} if found.usage else {}),
        "cost_nano": cost_nano,
        "currency": currency,
    }
    return msgspec.json.encode(told)


def _end(choice: Choice, client: Client) -> dict[str, Any]:
    reason = choice.finish_reason
    why = {"done_reason": REASONS.get(reason, reason)} if reason else {}
    return {"done": True, **why, "total_duration": time.monotonic_ns() - client.began_ns}


def _counts(usage: Usage | None) -> dict[str, Any]:
    """The engine's own; nothing where it gave none."""
    if usage is None:
        return {}
    return {"prompt_eval_count": usage.prompt_tokens, "eval_count": usage.completion_tokens or 0}


class Stream(openai.Stream):
    """Reads an engine's chunks, tells lines."""

    content_type = LINES

    def __init__(self, ask: Ask, counters: Counters) -> None:
        super().__init__(ask, counters)
        self._client: Client = ask.client
        self._calls: dict[int, dict[str, Any]] = {}  # as they come together
        self._last = Choice()
        self._first_ns = self._last_ns = 0

    def _give(self, event: bytes, payload: bytes, chunk: wire.Chunk) -> bytes:
        answer = read(payload)
        if not answer.choices:
            return b""
        choice = answer.choice
        self._last = choice if choice.finish_reason else self._last
        for part in choice.said.tool_calls or []:
            self._merge(part)
        scores = choice.logprobs.content if choice.logprobs else None
        if choice.said.content or choice.said.thought or choice.said.tool_calls:
            self._last_ns = time.monotonic_ns()
            self._first_ns = self._first_ns or self._last_ns
        if not (choice.said.content or choice.said.thought or scores):
            return b""
        return self._line(words(self._ask.name, choice.said, [], scores), done=False)

    def _comment(self, event: bytes) -> bytes:
        """Lines of JSON have no place for a sign of life."""
        return b""

    def _merge(self, part: ToolCall) -> None:
        """Ollama tells calls whole: the parts are kept until the end."""
        function = part.function
        number = part.index
        if number is None:
            number = len(self._calls) - (function.name is None)
        call = self._calls.setdefault(number, {"id": None, "name": "", "arguments": ""})
        call["id"] = part.id or call["id"]
        call["name"] += function.name or ""
        call["arguments"] += function.arguments or ""

    def _line(self, fields: dict[str, Any], **more: Any) -> bytes:
        return ended(msgspec.json.encode({**head(self._client.model), **fields, **more}))

    def ending(self, *, cost_nano: int, currency: str) -> bytes:
        route, told = self._ask.name, b""
        if self._calls:
            told = self._line(words(route, Said(), self._called(), None), done=False)
        end = _end(self._last, self._client)
        if self.has_usage:
            end["prompt_eval_count"] = self._counters.prompt_tokens
            end["eval_count"] = self._counters.completion_tokens
        if self._last_ns > self._first_ns:
            end["eval_duration"] = self._last_ns - self._first_ns
        cost = {"cost_nano": cost_nano, "currency": currency}
        return told + self._line({**words(route, Said(), [], None), **end, **cost})

    def _called(self) -> list[ToolCall]:
        known = [self._calls[number] for number in sorted(self._calls)]
        return [
            msgspec.convert({"id": call.pop("id"), "function": call}, ToolCall)
            for call in [dict(call) for call in known]
        ]
