"""The OpenAI dialect: what a request asks for, what goes to the engine, what its answer counts.

Pure: bytes and structs in, bytes and structs out. The bytes of every field that haneul does not
have to change go on as they came.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
from msgspec import Raw, Struct

from haneul.base import wire
from haneul.base.errors import BadRequest, EngineFailed
from haneul.base.wire import Body, ChatRequest, CompletionRequest, EmbeddingRequest, Usage
from haneul.services.flights import Counters

TEMPLATE_TOKENS = 512  # what a chat template may add of its own, beyond the bytes of the messages
BYTES_PER_TOKEN = 4  # of text, only where an engine does not say; flagged as 'counted'
EVENT_MAX_BYTES = 4 << 20
DONE = b"data: [DONE]\n\n"


class Route(Struct, frozen=True):
    """One address of the protocol."""

    name: str
    path: str
    decoder: Any
    prompt_fields: tuple[str, ...]


CHAT = Route(
    "chat",
    "/v1/chat/completions",
    wire.chat_decoder,
    ("messages", "tools", "response_format"),
)
COMPLETIONS = Route("completions", "/v1/completions", wire.completion_decoder, ("prompt",))
EMBEDDINGS = Route("embeddings", "/v1/embeddings", wire.embedding_decoder, ("input",))
ROUTES = {route.path: route for route in (CHAT, COMPLETIONS, EMBEDDINGS)}


class Ask(Struct, frozen=True, kw_only=True):
    """What one request asks for, as far as the gateway must know."""

    route: Route
    body: Body
    model: str
    is_stream: bool = False
    wants_usage: bool = False
    wants_each_usage: bool = False
    prompt_bytes: int = 0
    answers: int = 1  # n, times the prompts of a list
    completion_max: int | None = None  # per answer, where the request says
    end_user: str | None = None


def read(route: Route, data: bytes) -> Ask:
    """The request in a body. Raises BadRequest that names the field."""
    body = Body(data)
    request = wire.decode(data, route.decoder)
    prompt_bytes = sum(len(body.fields.get(name, b"")) for name in route.prompt_fields)
    ask = Ask(
        route=route,
        body=body,
        model=request.model,
        prompt_bytes=prompt_bytes,
        completion_max=0,
        answers=0,
        end_user=request.user,
    )
    return ask if isinstance(request, EmbeddingRequest) else _generation(ask, request)


def _generation(ask: Ask, request: ChatRequest | CompletionRequest) -> Ask:
    """The same, of a request whose answer is generated."""
    wants_usage, wants_each = _stream_options(ask.body, request)
    return msgspec.structs.replace(
        ask,
        is_stream=bool(request.stream),
        wants_usage=wants_usage,
        wants_each_usage=wants_each,
        answers=(request.n or 1) * _prompts(request),
        completion_max=_completion_max(request),
        end_user=request.user or getattr(request, "safety_identifier", None),
    )


def _stream_options(body: Body, request: ChatRequest | CompletionRequest) -> tuple[bool, bool]:
    """Whether the client wants usage at the end, and in each chunk (vLLM's habit)."""
    if request.stream_options is None:
        return False, False
    if not request.stream:
        raise BadRequest("'stream_options' goes with 'stream'.", param="stream_options")
    options = msgspec.json.decode(body.fields["stream_options"], type=dict[str, Any])
    wants_each = options.get("continuous_usage_stats") is True
    return request.stream_options.include_usage, wants_each


def _prompts(request: ChatRequest | CompletionRequest) -> int:
    if isinstance(request, ChatRequest) or isinstance(request.prompt, str):
        return 1
    is_token_ids = bool(request.prompt) and isinstance(request.prompt[0], int)
    return 1 if is_token_ids else max(1, len(request.prompt))


def _completion_max(request: ChatRequest | CompletionRequest) -> int | None:
    newer = getattr(request, "max_completion_tokens", None)
    if newer is not None and request.max_tokens not in (None, newer):
        raise BadRequest(
            "'max_tokens' and 'max_completion_tokens' differ; send one of them.",
            param="max_completion_tokens",
        )
    return newer if newer is not None else request.max_tokens


def prompt_max(ask: Ask, context_tokens: int | None) -> int:
    """No prompt has more tokens than bytes, nor more than its engine's context."""
    by_bytes = ask.prompt_bytes + TEMPLATE_TOKENS
    return (
        by_bytes if context_tokens is None else min(by_bytes, context_tokens * max(ask.answers, 1))
    )


def upstream_body(ask: Ask, model: str, *, completion_max: int | None) -> bytes:
    """The body for the engine: its name for the model, usage always asked for, a cap if any."""
    changes: dict[str, Any] = {"model": model}
    if ask.is_stream:
        options = msgspec.json.decode(ask.body.fields.get("stream_options", b"{}")) or {}
        changes["stream_options"] = {**options, "include_usage": True}
    if completion_max is not None:
        name = "max_completion_tokens" if ask.route is CHAT else "max_tokens"
        changes[name] = completion_max
    return ask.body.replace(**changes)


def each_usage(body: bytes) -> bytes:
    """The body again, asking for exact counts in every chunk, as the embedded engine gives."""
    fields = Body(body)
    options = msgspec.json.decode(fields.fields["stream_options"])
    return fields.replace(stream_options={**options, "continuous_usage_stats": True})


class Whole(Struct, frozen=True):
    """A whole answer, as far as the gateway reads it."""

    id: str | None = None
    usage: Usage | None = None


_whole = msgspec.json.Decoder(Whole)
_fields = msgspec.json.Decoder(dict[str, Raw])


def read_usage(usage: Usage, counters: Counters) -> None:
    """Takes an engine's own counts over."""
    prompt, answer = usage.prompt_tokens_details, usage.completion_tokens_details
    counters.prompt_tokens = usage.prompt_tokens
    counters.cached_tokens = min((prompt and prompt.cached_tokens) or 0, usage.prompt_tokens)
    counters.completion_tokens = usage.completion_tokens or 0
    counters.reasoning_tokens = (answer and answer.reasoning_tokens) or 0


def read_whole(data: bytes) -> Whole:
    """Raises EngineFailed for what is not an answer."""
    try:
        return _whole.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise EngineFailed("The engine's answer is not of the OpenAI protocol.") from cause


def with_cost(data: bytes, *, cost_nano: int, currency: str) -> bytes:
    """A whole answer, or its last chunk, with what it cost beside its usage."""
    fields: dict[str, Any] = dict(_fields.decode(data))
    usage: dict[str, Any] = dict(_fields.decode(fields["usage"]))
    fields["usage"] = {**usage, "cost_nano": cost_nano, "currency": currency}
    return msgspec.json.encode(fields)


class Stream:
    """Reads a streamed answer: counts what it delivers, and gives on what the client asked for."""

    def __init__(self, ask: Ask, counters: Counters) -> None:
        self._ask = ask
        self._counters = counters
        self._rest = b""
        self.upstream_id: str | None = None
        self.is_done = False  # [DONE] came
        self.has_usage = False  # the engine gave its counts
        self.has_content = False
        self.usage_event: dict[str, Any] | None = None  # the last chunk, held for its cost

    def feed(self, data: bytes) -> bytes:
        """The events to send on for these bytes. Raises EngineFailed."""
        text = self._rest + data.replace(b"\r\n", b"\n")
        *events, self._rest = text.split(b"\n\n")
        if len(self._rest) > EVENT_MAX_BYTES:
            raise EngineFailed("The engine sent an event larger than this gateway takes.")
        return b"".join([self._event(event) for event in events])

    def _event(self, event: bytes) -> bytes:
        if not event.startswith(b"data:"):
            return event + b"\n\n" if event.startswith(b":") else b""
        payload = event[5:].strip()
        if payload == b"[DONE]":
            self.is_done = True
            return b""
        try:
            chunk = wire.chunk_decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
            raise EngineFailed("The engine sent an event that is not of the protocol.") from cause
        if chunk.error is not msgspec.UNSET:
            raise EngineFailed("The engine failed while it was answering.")
        self._count(chunk)
        if chunk.usage is None or (chunk.choices and self._ask.wants_each_usage):
            return event + b"\n\n"
        fields = _fields.decode(payload)
        if not chunk.choices:
            self.usage_event = dict(fields)
            return b""
        del fields["usage"]
        return b"data: " + msgspec.json.encode(fields) + b"\n\n"

    def _count(self, chunk: wire.Chunk) -> None:
        if self.upstream_id is None:
            self.upstream_id = chunk.id
        said = [choice for choice in chunk.choices if _says_something(choice)]
        self.has_content = self.has_content or bool(said)
        if chunk.usage is not None:
            self.has_usage = True
            read_usage(chunk.usage, self._counters)
        elif not self.has_usage:
            if not self._counters.prompt_tokens:
                self._counters.prompt_tokens = -(-self._ask.prompt_bytes // BYTES_PER_TOKEN)
            self._counters.completion_tokens += len(said)

    def ending(self, *, cost_nano: int, currency: str) -> bytes:
        """The last events: the usage with its cost if it was asked for, and the end."""
        if not self._ask.wants_usage:
            return DONE
        last = self.usage_event or self._own_usage()
        event = with_cost(msgspec.json.encode(last), cost_nano=cost_nano, currency=currency)
        return b"data: " + event + b"\n\n" + DONE

    def _own_usage(self) -> dict[str, Any]:
        """The chunk that an engine without usage leaves out, from what was counted here."""
        counters = self._counters
        kind = "chat.completion.chunk" if self._ask.route is CHAT else "text_completion"
        return {
            "id": self.upstream_id or "",
            "object": kind,
            "created": int(time.time()),
            "model": self._ask.model,
            "choices": [],
            "usage": {
                "prompt_tokens": counters.prompt_tokens,
                "completion_tokens": counters.completion_tokens,
                "total_tokens": counters.tokens(),
            },
        }


def _says_something(choice: wire.ChunkChoice) -> bool:
    delta = choice.delta
    if isinstance(delta, wire.Delta):
        return bool(delta.content or delta.reasoning_content or delta.reasoning or delta.tool_calls)
    return bool(choice.text)
