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
from haneul.base.errors import BadRequest, EngineFailed, HaneulError, UnknownField
from haneul.base.wire import (
    Body,
    ChatRequest,
    Choices,
    CompletionRequest,
    Delta,
    EmbeddingRequest,
    Usage,
)
from haneul.services.ask import Ask, Route
from haneul.services.deltas import Deltas, says_something
from haneul.services.dialect import Errors, Told
from haneul.services.flights import Counters
from haneul.services.keys import Key

TEMPLATE_TOKENS = 512  # what a chat template may add of its own, beyond the bytes of the messages
BYTES_PER_TOKEN = 4  # of text, only where an engine does not say; flagged as 'counted'
EVENT_MAX_BYTES = 4 << 20
COUNT_MAX = (1 << 31) - 1  # what both databases keep as INTEGER
# Names under which some engines take an answer's length too: it has to be said in one place.
LENGTH_ALIASES = ("n_predict", "max_new_tokens")
COST = b"cost_nano"
DONE = b"data: [DONE]\n\n"
EVENTS = b"text/event-stream; charset=utf-8"

CHAT = Route(
    "chat",
    "/v1/chat/completions",
    wire.chat_decoder,
    ("messages", "tools", "response_format"),
)
COMPLETIONS = Route("completions", "/v1/completions", wire.completion_decoder, ("prompt",))
EMBEDDINGS = Route("embeddings", "/v1/embeddings", wire.embedding_decoder, ("input",))


def read(route: Route, data: bytes) -> Ask:
    """The request in a body. Raises BadRequest that names the field."""
    body = Body(data)
    request = wire.decode(data, route.decoder)
    for name in LENGTH_ALIASES:
        if name in body.fields:
            raise UnknownField(f"'{name}' is not taken here; say 'max_tokens'.", param=name)
    prompt_bytes = 0
    for name in route.prompt_fields:
        if (raw := body.fields.get(name)) is not None:
            prompt_bytes += len(raw)
    ask = Ask(
        route=route,
        name=route.name,
        body=body,
        model=request.model,
        prompt_bytes=prompt_bytes,
        prompts=_prompts(request),
        completion_max=0,
        answers=0,
        end_user=request.user,
    )
    return ask if isinstance(request, EmbeddingRequest) else _generation(ask, request)


def _generation(ask: Ask, request: ChatRequest | CompletionRequest) -> Ask:
    """The same, of a request whose answer is generated."""
    wants_usage = wants_each = False
    if request.stream_options is not None:
        wants_usage, wants_each = _stream_options(ask.body, request)
    return msgspec.structs.replace(
        ask,
        is_stream=bool(request.stream),
        wants_usage=wants_usage,
        wants_each_usage=wants_each,
        answers=_choices(ask.body, request) * ask.prompts,
        completion_max=_completion_max(request),
        thinking_max=getattr(request, "thinking_budget", None),
        end_user=request.user or getattr(request, "safety_identifier", None),
    )


def _stream_options(body: Body, request: ChatRequest | CompletionRequest) -> tuple[bool, bool]:
    """Whether the client wants usage at the end, and in each chunk (vLLM's habit)."""
    assert request.stream_options is not None
    if not request.stream:
        raise BadRequest("'stream_options' goes with 'stream'.", param="stream_options")
    options = msgspec.json.decode(body.fields["stream_options"], type=dict[str, Any])
    wants_each = options.get("continuous_usage_stats") is True
    return request.stream_options.include_usage, wants_each


def _prompts(request: ChatRequest | CompletionRequest | EmbeddingRequest) -> int:
    if isinstance(request, ChatRequest):
        return 1
    texts = request.input if isinstance(request, EmbeddingRequest) else request.prompt
    is_one = isinstance(texts, str) or (bool(texts) and isinstance(texts[0], int))
    return 1 if is_one else max(1, len(texts))


def _choices(body: Body, request: ChatRequest | CompletionRequest) -> int:
    """How many answers are made of each prompt: `best_of` of them, where an engine knows it."""
    asked = request.n or 1
    if (raw := body.fields.get("best_of")) is None or bytes(raw) == b"null":
        return asked
    try:
        return max(asked, wire.lenient(raw, _choice_counts))
    except msgspec.ValidationError as cause:
        raise BadRequest(f"Invalid 'best_of': {cause}.", param="best_of") from cause


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
    if context_tokens is None:
        return by_bytes
    return min(by_bytes, context_tokens * max(ask.answers, ask.prompts))


def upstream_body(
    ask: Ask, model: str, *, completion_max: int | None, is_each: bool = False
) -> bytes:
    """The body for the engine: its name for the model, usage always asked for, a cap if any.

    `is_each`: exact counts in every chunk of a stream, as the embedded engine gives.
    """
    changes: dict[str, Any] = {"model": model}
    if ask.is_stream:
        options = msgspec.json.decode(ask.body.fields.get("stream_options", b"{}")) or {}
        each = {"continuous_usage_stats": True} if is_each else {}
        changes["stream_options"] = {**options, "include_usage": True, **each}
    if completion_max is not None:
        name = "max_completion_tokens" if ask.route is CHAT else "max_tokens"
        changes[name] = completion_max
    return ask.body.replace(**changes)


class WholeChoice(Struct, frozen=True):
    """One answer; only the length of its text counts here."""

    message: Delta | None = None
    text: str | None = None


class Whole(Struct, frozen=True):
    """A whole answer, as far as the gateway reads it."""

    id: str | None = None
    choices: list[WholeChoice] | None = None
    usage: Usage | None = None
    error: Any = None


class Priced(Struct, frozen=True):
    """Where the cost of an answer belongs."""

    usage: Raw = Raw(b"null")


_choice_counts = msgspec.json.Decoder(Choices)
_whole = msgspec.json.Decoder(Whole)
_priced = msgspec.json.Decoder(Priced)
_fields = msgspec.json.Decoder(dict[str, Raw])


def read_usage(usage: Usage, counters: Counters) -> None:
    """Takes an engine's own counts over."""
    prompt, answer = usage.prompt_tokens_details, usage.completion_tokens_details
    counters.prompt_tokens = usage.prompt_tokens or _rest(usage)
    counters.cached_tokens = min((prompt and prompt.cached_tokens) or 0, counters.prompt_tokens)
    counters.completion_tokens = usage.completion_tokens or 0
    counters.reasoning_tokens = (answer and answer.reasoning_tokens) or 0


def _rest(usage: Usage) -> int:
    """The prompt's tokens where an engine counts only all together, as some rerankers do."""
    rest = (usage.total_tokens or 0) - (usage.completion_tokens or 0)
    return min(max(0, rest), COUNT_MAX)


def read_whole(data: bytes) -> Whole:
    """Raises EngineFailed for what is not an answer."""
    try:
        whole = _whole.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise EngineFailed("The engine's answer is not of the OpenAI protocol.") from cause
    if whole.error is not None:
        raise EngineFailed("The engine failed while it was answering.")
    return whole


def count_whole(whole: Whole, ask: Ask, counters: Counters) -> None:
    """Counts an answer whose engine did not: by the bytes of its texts."""
    answer_bytes = sum(_text_bytes(choice) for choice in whole.choices or [])
    counters.prompt_tokens = _tokens(ask.prompt_bytes)
    counters.completion_tokens = _tokens(answer_bytes)


def _text_bytes(choice: WholeChoice) -> int:
    said = choice.message or Delta()
    texts = (choice.text, said.content, said.reasoning_content or said.reasoning)
    called = msgspec.json.encode(said.tool_calls) if said.tool_calls else b""
    return sum(len(text.encode()) for text in texts if text) + len(called)


def _tokens(text_bytes: int) -> int:
    """Tokens of a text nobody counted, rounded up."""
    return -(-text_bytes // BYTES_PER_TOKEN)


def with_cost(data: bytes, *, cost_nano: int, currency: str) -> bytes:
    """A whole answer, or its last chunk, with what it cost beside its usage, if it has any.

    The engine's own bytes, with two fields put in, unless it is not plain where they belong.
    """
    raw = bytes(_priced.decode(data).usage)
    more = b'"cost_nano":%d,"currency":"%b"}' % (cost_nano, currency.encode())
    if raw == b"null":
        return data
    if raw.endswith(b"}") and data.count(raw) == 1 and COST not in raw:
        at = data.index(raw) + len(raw) - 1
        comma = b"," if b":" in raw else b""
        return b"%b%b%b%b" % (data[:at], comma, more, data[at + 1 :])
    fields: dict[str, Any] = dict(_fields.decode(data))
    usage: dict[str, Any] = dict(_fields.decode(raw))
    fields["usage"] = {**usage, "cost_nano": cost_nano, "currency": currency}
    return msgspec.json.encode(fields)


class OpenAIErrors:
    """Errors as OpenAI's clients read them."""

    def body(self, error: HaneulError, request_id: str) -> bytes:
        return msgspec.json.encode(error.as_openai())

    def event(self, error: HaneulError, request_id: str) -> bytes:
        return b"data: " + self.body(error, request_id) + b"\n\n"


class OpenAI(OpenAIErrors):
    """The neutral dialect: a client of it gets the engine's own bytes wherever it can."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.name = route.name

    async def open(self, key: Key, data: bytes) -> Ask:
        return read(self.route, data)

    def stream(self, ask: Ask, counters: Counters) -> Told:
        return Stream(ask, counters)

    def whole(self, ask: Ask, data: bytes, *, cost_nano: int, currency: str) -> bytes:
        return with_cost(data, cost_nano=cost_nano, currency=currency)

    async def keep(self, key: Key, ask: Ask, answer: Told | bytes) -> None:
        """Nothing of OpenAI's plain answers is to be found again."""


DIALECTS = {route.path: OpenAI(route) for route in (CHAT, COMPLETIONS, EMBEDDINGS)}


class Stream(Deltas):
    """Reads a streamed answer: counts what it delivers, and gives on what the client asked for.

    Another dialect's stream overrides `_give`, `_comment` and `ending`.
    """

    content_type = EVENTS

    def __init__(self, ask: Ask, counters: Counters) -> None:
        super().__init__(counters)
        self._ask = ask
        self.upstream_id: str | None = None
        self.is_done = False  # [DONE] came
        self.failure: HaneulError | None = None  # what ended it, once what came before is sent
        self.errors: Errors | None = None
        self.usage_event: dict[str, Any] | None = None  # the last chunk, held for its cost

    def _read(self, data: bytes) -> bytes:
        text = self._rest + data if self._rest else data
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
        *events, self._rest = text.split(b"\n\n")
        ready: list[bytes] = []
        try:
            for event in events:
                ready.append(self._event(event))
            if len(self._rest) > EVENT_MAX_BYTES:
                raise EngineFailed("The engine sent an event larger than this gateway takes.")
        except EngineFailed as error:
            self.failure = error
        return b"".join(ready)

    def _event(self, event: bytes) -> bytes:
        """What goes on for one event. Raises EngineFailed."""
        is_plain = event.startswith(b"data:") and b"\n" not in event
        payload = event[5:].strip() if is_plain else _payload(event)
        if not payload:
            return self._comment(event) if event.lstrip(b"\n").startswith(b":") else b""
        if payload == b"[DONE]":
            self.is_done = True
            return b""
        try:
            chunk = wire.chunk_decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
            raise EngineFailed("The engine sent an event that is not of the protocol.") from cause
        if chunk.error is not None:
            raise EngineFailed("The engine failed while it was answering.")
        self._count(chunk)
        return self._give(event, payload, chunk)

    def _comment(self, event: bytes) -> bytes:
        """What the client gets for an engine's sign of life."""
        return event.strip(b"\n") + b"\n\n"

    def _give(self, event: bytes, payload: bytes, chunk: wire.Chunk) -> bytes:
        """What the client gets for an event of the engine."""
        if chunk.usage is None or (chunk.choices and self._ask.wants_each_usage):
            sent = (event if event[:1] == b"d" else event.strip(b"\n")) + b"\n\n"
        else:
            fields = _fields.decode(payload)
            if not chunk.choices:
                self.usage_event = dict(fields)
                return b""
            del fields["usage"]
            sent = b"data: " + msgspec.json.encode(fields) + b"\n\n"
        self._learn(event, chunk, sent)
        return sent

    def _meter(self, usage: Usage) -> None:
        read_usage(usage, self._counters)

    def _count(self, chunk: wire.Chunk) -> None:
        if self.upstream_id is None:
            self.upstream_id = chunk.id
        if chunk.usage is not None:
            if not self.has_usage:
                self._forget()
            self.has_usage = True
            self._meter(chunk.usage)
        elif not self.has_usage:
            if not self._counters.prompt_tokens:
                self._counters.prompt_tokens = _tokens(self._ask.prompt_bytes)
            for choice in chunk.choices:
                self._counters.completion_tokens += says_something(choice)

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


def _payload(event: bytes) -> bytes:
    """The data of an event of several lines, joined as the standard says; b"" if it has none."""
    lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines)
