"""The addresses of Anthropic's clients."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from haneul.base import errors
from haneul.openapi import rules
from haneul.openapi.errors import ASKING as FAILS
from haneul.openapi.errors import MODEL, READING
from haneul.openapi.headers import ASKED, ASKING
from haneul.openapi.operation import EVENTS, Operation
from haneul.openapi.words import shared
from haneul.services.anthropic.wire import CountRequest, MessagesRequest, Prompting

VERSIONS = ("anthropic-version", "anthropic-beta")


class AnthropicUsage(Struct, kw_only=True):
    """Tokens; those read from the cache are counted beside the input."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    cost_nano: int
    currency: str


class AnthropicAnswer(Struct, kw_only=True):
    """A whole message."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[dict[str, Any]]
    stop_reason: str | None
    stop_sequence: str | None
    usage: AnthropicUsage


class InputTokens(Struct, kw_only=True):
    """How long a prompt is."""

    input_tokens: Annotated[int, Meta(ge=0)]


class AnthropicModel(Struct, kw_only=True):
    """A model as Anthropic lists it."""

    type: Literal["model"]
    id: str
    display_name: str
    created_at: str
    lifecycle: str
    max_input_tokens: int | None
    max_tokens: int | None


class AnthropicModels(Struct, kw_only=True):
    """A page of models."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


OPERATIONS = (
    Operation(
        method="POST",
        address="/v1/messages",
        text="Answers a chat in Anthropic's protocol, whole or streamed.",
        scope="infer",
        body=MessagesRequest,
        rules=(rules.EFFORT, rules.CHOSEN, rules.TOOLS),
        answer=AnthropicAnswer,
        streams=EVENTS,
        takes=(*ASKING, *VERSIONS),
        gives=ASKED,
        errors=FAILS,
        shapes=("AnthropicError",),
    ),
    Operation(
        method="POST",
        address="/v1/messages/count_tokens",
        text="Counts a prompt's tokens as its engine cuts them; embedded models only.",
        scope="infer",
        body=CountRequest,
        rules=(rules.EFFORT, rules.CHOSEN, rules.TOOLS),
        answer=InputTokens,
        takes=VERSIONS,
        errors=(*READING, *MODEL, errors.UnsupportedValue, errors.EngineFailed),
        shapes=("AnthropicError",),
    ),
)
FIELDS: dict[type, dict[str, str]] = {
    Prompting: {
        "model": "A model or a route.",
        "messages": "Text, images (for the engines that take them), `thinking`, `tool_use`, "
        '`tool_result`; an `is_error` result begins with "Error: ".',
        "system": "Stands before the messages.",
        "tools": "One's own; `strict` goes on. Anthropic's own tools are refused.",
        "tool_choice": "`auto`, `any`, `tool`, `none`, `disable_parallel_tool_use`.",
        "thinking": "Of models that can be told; `budget_tokens` is checked, otherwise without "
        "effect: `max_tokens` bounds the answer, thoughts included.",
        "output_config": "`effort` low, medium, high; `format`. Efforts above are refused.",
        "cache_control": "Without effect: prefixes are cached by themselves.",
        "speed": "`standard` asks for what is done anyway.",
    },
    MessagesRequest: {
        "max_tokens": "Tokens of the answer at most.",
        **shared("stream"),
        "stop_sequences": "Texts that end the answer.",
        **shared("temperature", "top_p", "top_k"),
        "metadata": "`user_id` is kept in the ledger.",
        "service_tier": "Both ask for what is done anyway.",
        "container": "Refused.",
        "inference_geo": "Refused.",
        "context_management": "Refused.",
    },
    CountRequest: {},
}
