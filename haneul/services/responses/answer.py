"""The Response object, and an engine's answer told as one or as the events that make it."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from msgspec import Struct

from haneul.base import wire
from haneul.base.errors import EngineFailed, HaneulError
from haneul.base.wire import Usage
from haneul.services import openai
from haneul.services.ask import Ask
from haneul.services.flights import Counters
from haneul.services.responses.items import Item
from haneul.services.responses.output import Event, Output, Said, Scores
from haneul.services.responses.request import Reasoning, ResponseRequest, Text

REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Asked(Struct, frozen=True):
    """What is remembered of a request until its answer: the id that the answer will have."""

    id: str
    created_at: int
    request: ResponseRequest
    items: list[Item]  # of this request alone
    chain: list[str]  # the responses that it continues, the oldest first

    def answered_by(self, model: str) -> Asked:
        """As the answer says it where another model gave it."""
        request = msgspec.structs.replace(self.request, model=model)
        return msgspec.structs.replace(self, request=request)


class Choice(Struct, frozen=True):
    """An answer, or a chunk of one."""

    message: Said | None = None
    delta: Said | None = None
    logprobs: Scores | None = None
    finish_reason: str | None = None


class Chunk(Struct, frozen=True):
    choices: list[Choice] = []
    usage: Usage | None = None


_chunk = msgspec.json.Decoder(Chunk)


def read_chunk(data: bytes) -> Chunk:
    """The words in an engine's whole answer or chunk. Raises EngineFailed."""
    try:
        return _chunk.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise EngineFailed("The engine sent an answer that is not of the protocol.") from cause


def response(asked: Asked, *, status: str, **facts: Any) -> dict[str, Any]:
    """The Response object: what was asked, and the facts of its answer."""
    request = asked.request
    thinking, text = request.reasoning or Reasoning(), request.text or Text()
    return {
        "id": asked.id,
        "object": "response",
        "created_at": asked.created_at,
        "status": status,
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "metadata": request.metadata or {},
        "model": request.model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {"effort": thinking.effort, "summary": thinking.summary},
        "safety_identifier": request.safety_identifier,
        "service_tier": "default",
        "store": request.is_kept,
        "temperature": request.temperature,
        "text": {
            "format": text.format or {"type": "text"},
            "verbosity": text.verbosity or "medium",
        },
        "tool_choice": request.tool_choice or "auto",
        "tools": request.tools or [],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": request.user,
        **facts,
    }


def ended(
    asked: Asked, output: Output, reason: str | None, usage: dict[str, Any] | None
) -> dict[str, Any]:
    """The Response object of an answer that the engine ended for a reason."""
    status = ending_status(reason)
    facts: dict[str, Any] = {"output": output.items(), "usage": usage}
    if status == "completed":
        facts["completed_at"] = int(time.time())
    else:
        facts["incomplete_details"] = {"reason": REASONS[reason or ""]}
    return response(asked, status=status, **facts)


def ending_status(reason: str | None) -> str:
    return "incomplete" if reason in REASONS else "completed"


def show_usage(counters: Counters, *, cost_nano: int, currency: str) -> dict[str, Any]:
    """Counts in the API's names, with what they cost; writing to the cache is not billed here."""
    return {
        "input_tokens": counters.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": counters.cached_tokens,
            "cache_write_tokens": 0,
        },
        "output_tokens": counters.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": counters.reasoning_tokens},
        "total_tokens": counters.tokens(),
        "cost_nano": cost_nano,
        "currency": currency,
    }


def whole(ask: Ask, data: bytes, *, cost_nano: int, currency: str) -> bytes:
    """The Response object for an engine's whole answer. Raises EngineFailed."""
    answer, output, counters = read_chunk(data), Output(), Counters()
    choice = answer.choices[0] if answer.choices else Choice()
    output.add(choice.message or Said(), choice.logprobs)
    output.finish(ending_status(choice.finish_reason))
    if answer.usage is not None:
        openai.read_usage(answer.usage, counters)
    else:
        openai.count_whole(openai.read_whole(data), ask, counters)
    usage = show_usage(counters, cost_nano=cost_nano, currency=currency)
    return msgspec.json.encode(ended(ask.client, output, choice.finish_reason, usage))


class ResponseStream(openai.Stream):
    """Tells a streamed answer as typed events, each with its number."""

    def __init__(self, ask: Ask, counters: Counters) -> None:
        super().__init__(ask, counters)
        self.errors = self
        self.response: dict[str, Any] | None = None  # once it has ended
        self._asked: Asked = ask.client
        self._output = Output()
        self._reason: str | None = None
        self._number = 0

    def _give(self, event: bytes, payload: bytes, chunk: wire.Chunk) -> bytes:
        said = read_chunk(payload)
        events = self._beginning()
        for choice in said.choices[:1]:
            if choice.delta is not None:
                events += self._output.add(choice.delta, choice.logprobs)
            self._reason = choice.finish_reason or self._reason
        return self._told(events)

    def ending(self, *, cost_nano: int, currency: str) -> bytes:
        events = self._beginning() + self._output.finish(ending_status(self._reason))
        usage = show_usage(self._counters, cost_nano=cost_nano, currency=currency)
        self.response = ended(self._asked, self._output, self._reason, usage)
        last = {"type": f"response.{self.response['status']}", "response": self.response}
        return self._told([*events, last])

    def body(self, error: HaneulError, request_id: str) -> bytes:
        return msgspec.json.encode(error.as_openai())

    def event(self, error: HaneulError, request_id: str) -> bytes:
        """The last event of an answer that failed after it had begun."""
        self._output.finish("incomplete")
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        facts = {
            "error": {"code": code, "message": error.message},
            "output": self._output.items(),
        }
        failed = response(self._asked, status="failed", **facts)
        return self._told([{"type": "response.failed", "response": failed}])

    def _beginning(self) -> list[Event]:
        if self._number:
            return []
        begun = response(self._asked, status="in_progress")
        names = ("response.created", "response.in_progress")
        return [{"type": name, "response": begun} for name in names]

    def _told(self, events: list[Event]) -> bytes:
        return b"".join(map(self._one, events))

    def _one(self, event: Event) -> bytes:
        data = msgspec.json.encode({**event, "sequence_number": self._number})
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), data)
