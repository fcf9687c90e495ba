"""Ollama's requests as frozen structs: what a client may say, with its ranges.

Every field that is not here is refused by name. Source of names: Ollama's published API description
and the types of its Python client 0.6.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from haneul.base.wire import Count, Name, Penalty, Seed, Stop, Stops

Object = dict[str, Raw]  # kept byte by byte inside
Image = Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/=\s]*$")]  # base64
KeepAlive = int | float | str


class Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a request."""


class Options(Strict, frozen=True, kw_only=True):
    """How tokens are chosen. Ollama's defaults are not set here: the model's own hold."""

    num_predict: Annotated[int, Meta(ge=-2, le=1 << 24)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=1 << 20)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: Seed | None = None
    stop: Stop | Stops | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    num_ctx: Count | None = None
    # These ask for what is done anyway; any other value is refused.
    mirostat: Literal[0] | None = None
    tfs_z: Annotated[float, Meta(ge=1, le=1)] | None = None
    typical_p: Annotated[float, Meta(ge=1, le=1)] | None = None


class Function(Strict, frozen=True, kw_only=True):
    """What was called."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    arguments: Object = {}
    index: int | None = None


class Call(Strict, frozen=True, kw_only=True):
    """A call of the assistant."""

    function: Function
    id: Annotated[str, Meta(max_length=256)] | None = None
    type: Literal["function"] | None = None


class Message(Strict, frozen=True, kw_only=True):
    """One turn."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: list[Image] | None = None
    tool_calls: list[Call] | None = None
    tool_name: Annotated[str, Meta(max_length=256)] | None = None
    tool_call_id: Annotated[str, Meta(max_length=256)] | None = None


class Asking(Strict, frozen=True, kw_only=True):
    """What chats and generations share."""

    model: Name
    stream: bool | None = None  # streamed unless false
    format: Literal["", "json"] | Object | None = None
    options: Options | None = None
    keep_alive: KeepAlive | None = None
    think: bool | Literal["low", "medium", "high"] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    truncate: bool | None = None
    shift: bool | None = None


class OllamaChat(Asking, frozen=True, kw_only=True):
    """POST /api/chat."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=10_000)]
    tools: Annotated[list[Object], Meta(max_length=128)] | None = None


class OllamaGenerate(Asking, frozen=True, kw_only=True):
    """POST /api/generate."""

    prompt: str = ""
    system: str | None = None
    images: list[Image] | None = None
    raw: bool | None = None
    # Refused unless empty.
    suffix: str | None = None
    template: str | None = None
    context: list[int] | None = None


class Embedding(Strict, frozen=True, kw_only=True):
    """What both addresses of embeddings share."""

    model: Name
    options: Options | None = None
    keep_alive: KeepAlive | None = None
    truncate: bool | None = None


class OllamaEmbed(Embedding, frozen=True, kw_only=True):
    """POST /api/embed."""

    input: str | Annotated[list[str], Meta(max_length=128)]
    dimensions: Count | None = None


class OllamaEmbeddings(Embedding, frozen=True, kw_only=True):
    """POST /api/embeddings."""

    prompt: str


class OllamaPull(Strict, frozen=True, kw_only=True):
    """POST /api/pull; `name` is what `model` was once called."""

    model: Annotated[str, Meta(max_length=1024)] = ""
    name: Annotated[str, Meta(max_length=1024)] = ""
    stream: bool | None = None
    insecure: bool | None = None


class OllamaShow(Strict, frozen=True, kw_only=True):
    """POST /api/show."""

    model: Annotated[str, Meta(max_length=1024)] = ""
    name: Annotated[str, Meta(max_length=1024)] = ""
    verbose: bool | None = None


class OllamaDelete(Strict, frozen=True, kw_only=True):
    """DELETE /api/delete."""

    model: Annotated[str, Meta(max_length=1024)] = ""
    name: Annotated[str, Meta(max_length=1024)] = ""


class OllamaCopy(Strict, frozen=True, kw_only=True):
    """POST /api/copy."""

    source: Name
    destination: Name


class Wish(Struct, frozen=True, kw_only=True):
    """As much of any request as tells whether it only loads or unloads; the rest is not read."""

    model: str = ""
    messages: list[Any] = []
    prompt: str = ""
    input: Any = None
    images: list[Any] | None = None
    suffix: str | None = None
    stream: bool | None = None
    keep_alive: KeepAlive | None = None


T = TypeVar("T")


def decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """What reads a request of that kind."""
    return msgspec.json.Decoder(kind)
