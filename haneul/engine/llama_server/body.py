"""What llama-server is asked: its request bodies, made from OpenAI's fields."""

from __future__ import annotations

from typing import Any

import msgspec

from haneul.base.errors import UnsupportedValue
from haneul.base.wire import ChatRequest, CompletionRequest, Message, Sampling
from haneul.engine.kernel import Prompt
from haneul.engine.speech.asked import LEGACY_MAX_TOKENS, SAME_NAME
from haneul.engine.speech.turn import needs_worker

SEEDS = (1 << 32) - 1  # the largest 32-bit number means "random" to the kernel
_SAME_NAME = (*SAME_NAME, "ignore_eos")


def chat_body(request: ChatRequest, seed: int | None) -> bytes:
    """The body for the kernel's /v1/chat/completions. Raises UnsupportedValue."""
    if field := needs_worker(request):
        raise UnsupportedValue(f"This value of '{field}' is not honoured here.", param=field)
    body = _sampling(request, seed) | template_fields(request)
    limit = request.max_completion_tokens or request.max_tokens
    if limit is not None:
        body["max_tokens"] = limit
    if request.logprobs:
        body |= {"logprobs": True, "top_logprobs": max(1, request.top_logprobs or 0)}
    if request.response_format and request.response_format.get("type") != "text":
        body["response_format"] = request.response_format
    return msgspec.json.encode(body)


def template_fields(request: ChatRequest) -> dict[str, Any]:
    """What the chat template reads: the messages and the tools."""
    fields: dict[str, Any] = {"messages": [_message(message) for message in request.messages]}
    if request.tools:
        fields |= {"tools": request.tools, "tool_choice": request.tool_choice or "auto"}
        if request.parallel_tool_calls is not None:
            fields["parallel_tool_calls"] = request.parallel_tool_calls
    return fields


def completion_body(prompt: Prompt, request: CompletionRequest, seed: int | None) -> bytes:
    """The body for the kernel's own /completion, which tells tokens and their scores."""
    body = _sampling(request, seed)
    body |= {"prompt": prompt, "n_predict": request.max_tokens or LEGACY_MAX_TOKENS}
    if request.logprobs is not None:
        body["n_probs"] = max(1, request.logprobs)
    return msgspec.json.encode(body)


def _sampling(request: Sampling, seed: int | None) -> dict[str, Any]:
    body: dict[str, Any] = {"stream": True, "timings_per_token": True, "cache_prompt": True}
    # An event after each batch of the prompt: writing it is how the kernel notices a hang-up.
    body["return_progress"] = True
    for name in _SAME_NAME:
        if (value := getattr(request, name)) is not None:
            body[name] = value
    if seed is not None:
        body["seed"] = seed % SEEDS
    if request.stop:
        body["stop"] = [request.stop] if isinstance(request.stop, str) else request.stop
    if request.logit_bias:
        body["logit_bias"] = [_bias(int(token), bias) for token, bias in request.logit_bias.items()]
    return body


def _bias(token: int, bias: float) -> list[Any]:
    """[token, bias]; false bans a token altogether, which is what OpenAI's -100 promises."""
    return [token, False if bias <= -100 else bias]


def _message(message: Message) -> dict[str, Any]:
    said: dict[str, Any] = {
        "role": "system" if message.role == "developer" else message.role,
        "content": message.content if message.content is not None else "",
    }
    if message.tool_calls:
        said["tool_calls"] = message.tool_calls
    if message.tool_call_id is not None:
        said["tool_call_id"] = message.tool_call_id
    return said
