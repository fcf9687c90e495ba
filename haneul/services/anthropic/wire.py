"""The Messages API's requests as frozen structs: what a client may say, with its ranges.

Every field that is not here is refused by name. Source of names and ranges: Anthropic's published
API description and the types of its Python client 2.12.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from haneul.base.wire import Count, Name, Stops

Object = dict[str, Raw]  # kept byte by byte inside


class Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a request."""


class CacheControl(Strict, frozen=True, kw_only=True):
    """Where a prefix may be cached: prefixes are cached here by themselves."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class Block(Strict, frozen=True, kw_only=True, tag_field="type"):
    """A piece of a message."""

    cache_control: CacheControl | None = None


class TextBlock(Block, frozen=True, kw_only=True, tag="text"):
    text: str
    citations: None = None


class Base64Source(Strict, frozen=True, kw_only=True, tag_field="type", tag="base64"):
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/=]*$")]


class UrlSource(Strict, frozen=True, kw_only=True, tag_field="type", tag="url"):
    url: Annotated[str, Meta(max_length=8192)]


class ImageBlock(Block, frozen=True, kw_only=True, tag="image"):
    source: Base64Source | UrlSource


class ThinkingBlock(Block, frozen=True, kw_only=True, tag="thinking"):
    thinking: str
    signature: str = ""  # nothing is signed here: any is taken


class Caller(Strict, frozen=True, kw_only=True):
    """Who called a tool: the model itself."""

    type: Literal["direct"]


class ToolUseBlock(Block, frozen=True, kw_only=True, tag="tool_use"):
    id: Annotated[str, Meta(min_length=1, max_length=256)]
    name: Annotated[str, Meta(min_length=1, max_length=256)]
    input: Object
    caller: Caller | None = None
    toolset_name: None = None


class ToolResultBlock(Block, frozen=True, kw_only=True, tag="tool_result"):
    tool_use_id: Annotated[str, Meta(min_length=1, max_length=256)]
    content: str | list[TextBlock | ImageBlock] | None = None
    is_error: bool | None = None
    toolset_name: None = None


AnyBlock = TextBlock | ImageBlock | ThinkingBlock | ToolUseBlock | ToolResultBlock


class Message(Strict, frozen=True, kw_only=True):
    """One turn."""

    role: Literal["user", "assistant", "system"]
    content: str | list[AnyBlock]


class Tool(Strict, frozen=True, kw_only=True):
    """A tool of the client's own; Anthropic's own tools are not here."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    input_schema: Object
    type: Literal["custom"] | None = None
    description: str | None = None
    strict: bool | None = None
    cache_control: CacheControl | None = None
    eager_input_streaming: bool | None = None
    defer_loading: bool | None = None
    allowed_callers: list[Literal["direct"]] | None = None


class Choice(Strict, frozen=True, kw_only=True, tag_field="type"):
    """Whether a tool is called."""

    disable_parallel_tool_use: bool | None = None


class AutoChoice(Choice, frozen=True, kw_only=True, tag="auto"):
    """As the model likes."""


class AnyChoice(Choice, frozen=True, kw_only=True, tag="any"):
    """One must be."""


class ToolChoice(Choice, frozen=True, kw_only=True, tag="tool"):
    """This one must be."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]


class NoChoice(Strict, frozen=True, kw_only=True, tag_field="type", tag="none"):
    """None may be."""


class Thinks(Strict, frozen=True, kw_only=True, tag_field="type"):
    """Whether the model thinks first, and whether the client sees it."""

    display: Literal["summarized", "omitted"] | None = None


class Enabled(Thinks, frozen=True, kw_only=True, tag="enabled"):
    budget_tokens: Annotated[int, Meta(ge=1024, le=1 << 24)]


class Adaptive(Thinks, frozen=True, kw_only=True, tag="adaptive"):
    """As the model likes."""


class Disabled(Strict, frozen=True, kw_only=True, tag_field="type", tag="disabled"):
    """It does not."""


class JsonFormat(Strict, frozen=True, kw_only=True):
    """The answer is JSON of this schema."""

    type: Literal["json_schema"]
    schema: Object


class OutputConfig(Strict, frozen=True, kw_only=True):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormat | None = None


class Metadata(Strict, frozen=True, kw_only=True):
    user_id: Annotated[str, Meta(max_length=512)] | None = None


class Prompting(Strict, frozen=True, kw_only=True):
    """What the fields of a message and of a count of its tokens share."""

    model: Name
    messages: Annotated[list[Message], Meta(min_length=1, max_length=10_000)]
    system: str | list[TextBlock] | None = None
    tools: Annotated[list[Tool], Meta(max_length=128)] | None = None
    tool_choice: AutoChoice | AnyChoice | ToolChoice | NoChoice | None = None
    thinking: Enabled | Adaptive | Disabled | None = None
    output_config: OutputConfig | None = None
    cache_control: CacheControl | None = None
    speed: Literal["standard"] | None = None


class MessagesRequest(Prompting, frozen=True, kw_only=True):
    """POST /v1/messages."""

    max_tokens: Count
    stream: bool | None = None
    stop_sequences: Stops | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=1 << 20)] | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    container: None = None
    inference_geo: None = None
    context_management: None = None


class CountRequest(Prompting, frozen=True, kw_only=True):
    """POST /v1/messages/count_tokens."""


messages_decoder: msgspec.json.Decoder[MessagesRequest] = msgspec.json.Decoder(MessagesRequest)
count_decoder: msgspec.json.Decoder[CountRequest] = msgspec.json.Decoder(CountRequest)


def encoded(value: Any) -> str:
    """JSON in a text."""
    return msgspec.json.encode(value).decode()
