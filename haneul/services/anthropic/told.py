"""What an engine's answer is in the Messages API's words: whole answers, usage, errors."""

from __future__ import annotations

from typing import Any

import msgspec

from haneul.base.errors import HaneulError
from haneul.base.ids import new_id
from haneul.services import openai
from haneul.services.answer import Choice, Said, ToolCall, read
from haneul.services.anthropic.request import Client
from haneul.services.ask import Ask
from haneul.services.flights import Counters

REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def whole(ask: Ask, data: bytes, *, cost_nano: int, currency: str) -> bytes:
    """The message that an engine's whole answer is."""
    client: Client = ask.client
    answer = read(data)
    choice = answer.choice
    counters = Counters()
    if answer.usage is not None:
        openai.read_usage(answer.usage, counters)
    else:
        openai.count_whole(openai.read_whole(data), ask, counters)
    message = {
        **head(client.model),
        "content": _blocks(choice.said, hides_thinking=client.hides_thinking),
        **ending(choice, has_calls=bool(choice.said.tool_calls)),
        "usage": {**usage(counters), "cost_nano": cost_nano, "currency": currency},
    }
    return msgspec.json.encode(message)


def head(model: str) -> dict[str, Any]:
    """What every message begins with."""
    return {"id": new_id("msg"), "type": "message", "role": "assistant", "model": model}


def usage(counters: Counters) -> dict[str, Any]:
    """Anthropic counts what was read from the cache beside the input, not within it."""
    return {
        "input_tokens": counters.prompt_tokens - counters.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": counters.cached_tokens,
        "output_tokens": counters.completion_tokens,
    }


def ending(choice: Choice, *, has_calls: bool) -> dict[str, Any]:
    """Why it ended. Some engines say 'stop' after a call that had to be made."""
    reason = REASONS.get(choice.finish_reason or "")
    if has_calls and reason == "end_turn":
        reason = "tool_use"
    if reason == "end_turn" and isinstance(choice.stop_reason, str):
        return {"stop_reason": "stop_sequence", "stop_sequence": choice.stop_reason}
    return {"stop_reason": reason, "stop_sequence": None}


def _blocks(said: Said, *, hides_thinking: bool) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if said.thought:
        thought = "" if hides_thinking else said.thought
        blocks.append({"type": "thinking", "thinking": thought, "signature": ""})
    if said.content:
        blocks.append({"type": "text", "text": said.content})
    return blocks + [_tool_use(call) for call in said.tool_calls or []]


def _tool_use(call: ToolCall) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": call.id or new_id("toolu"),
        "name": call.function.name or "",
        "input": call.given,
    }


TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
# Fields by which an engine names what it refuses, in the words of the client's own request.
FIELDS = {
    "chat_template_kwargs": "thinking",
    "max_completion_tokens": "max_tokens",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "reasoning_effort": "output_config.effort",
    "response_format": "output_config.format",
    "stop": "stop_sequences",
    "user": "metadata.user_id",
}


class Errors:
    """Errors as Anthropic's clients read them, with haneul's code and field beside the message."""

    def body(self, error: HaneulError, request_id: str) -> bytes:
        return msgspec.json.encode({**_error(error), "request_id": request_id})

    def event(self, error: HaneulError, request_id: str) -> bytes:
        return b"event: error\ndata: " + self.body(error, request_id) + b"\n\n"


def _error(error: HaneulError) -> dict[str, Any]:
    below_500 = "invalid_request_error" if error.status < 500 else "api_error"
    said = {"type": TYPES.get(error.status, below_500), "message": error.message}
    root, dot, rest = (error.param or "").partition(".")
    param = FIELDS.get(root) or (error.param and f"{root}{dot}{rest}")
    return {"type": "error", "error": {**said, "code": error.code, "param": param}}
