"""The OpenAI protocol as frozen structs: what a request may say, with its ranges.

Only what haneul reads is typed; the bytes of everything else are kept (see Body). Source of names
and ranges: the published OpenAI API description, 2026-08.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct

from haneul.base.errors import BadRequest

Name = Annotated[str, Meta(min_length=1, max_length=512)]
Count = Annotated[int, Meta(ge=1, le=1 << 24)]
Seed = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Stop = Annotated[str, Meta(min_length=1, max_length=512)]
Stops = Annotated[list[Stop], Meta(max_length=16)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
Biases = Annotated[dict[Annotated[str, Meta(pattern=r"^[0-9]{1,9}$")], Bias], Meta(max_length=1024)]
Choices = Annotated[int, Meta(ge=1, le=128)]
EXACT = 2.0**63  # whole numbers below have one integer


class StreamOptions(Struct, frozen=True):
    include_usage: bool = False
    include_obfuscation: bool = False


class ContentPart(Struct, frozen=True):
    """One piece of a message: {"type": "text", "text": "…"}; other types are for some engines."""

    type: Annotated[str, Meta(max_length=64)]
    text: str | None = None


class Message(Struct, frozen=True, kw_only=True):
    """One turn of a chat. Assistant messages may carry tool calls instead of content."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    tool_calls: list[Any] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    reasoning_content: str | None = None  # an assistant's thoughts, as open engines return them


class Sampling(Struct, frozen=True, kw_only=True):
    """The fields that chat and plain completions share."""

    model: Name
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    n: Choices | None = None
    stop: Stop | Stops | None = None
    seed: Seed | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Biases | None = None
    user: Annotated[str, Meta(max_length=512)] | None = None
    # Habits of open engines (llama.cpp, vLLM), honoured by the embedded engine too.
    top_k: Annotated[int, Meta(ge=-1, le=1 << 20)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    ignore_eos: bool | None = None


class ChatRequest(Sampling, frozen=True, kw_only=True):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=10_000)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    response_format: dict[str, Any] | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=128)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Annotated[str, Meta(max_length=64)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None  # vLLM's name: what the template is told
    enable_thinking: bool | None = None  # Qwen's names
    thinking_budget: Annotated[int, Meta(ge=0, le=1 << 24)] | None = None  # tokens of thought
    safety_identifier: Annotated[str, Meta(max_length=512)] | None = None


Tokens = Annotated[list[Annotated[int, Meta(ge=0, le=1 << 24)]], Meta(min_length=1)]
Prompts = Annotated[list[str], Meta(min_length=1, max_length=128)]
TokenLists = Annotated[list[Tokens], Meta(min_length=1, max_length=128)]


class CompletionRequest(Sampling, frozen=True, kw_only=True):
    """POST /v1/completions. A prompt is text or token ids, or a list of either."""

    prompt: str | list[Any]
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    echo: bool | None = None


class EmbeddingRequest(Struct, frozen=True, kw_only=True):
    """POST /v1/embeddings. An input is text or token ids, or a list of either."""

    model: Name
    input: str | list[Any]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None
    user: Annotated[str, Meta(max_length=512)] | None = None


Counted = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]  # what both databases keep as INTEGER


class TokenDetails(Struct, frozen=True):
    cached_tokens: Counted | None = None
    reasoning_tokens: Counted | None = None


class Usage(Struct, frozen=True, kw_only=True):
    """The tokens of one answer, as every OpenAI-compatible engine reports them."""

    prompt_tokens: Counted = 0
    completion_tokens: Counted | None = None
    total_tokens: int | None = None
    prompt_tokens_details: TokenDetails | None = None
    completion_tokens_details: TokenDetails | None = None


class Delta(Struct, frozen=True):
    """What one chunk adds to one choice; only its presence counts here."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: Any = None


class ChunkChoice(Struct, frozen=True):
    index: int = 0
    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class Chunk(Struct, frozen=True):
    """One server-sent event of a streamed answer, of either kind."""

    id: str | None = None
    choices: list[ChunkChoice] = []
    usage: Usage | None = None
    error: Any = None


R = TypeVar("R")

_fields = msgspec.json.Decoder(dict[str, Raw])
_encoded = msgspec.json.Encoder().encode


class Body:
    """A JSON object as it came: the raw bytes of each field, and one typed reading of it."""

    __slots__ = ("fields",)

    def __init__(self, data: bytes) -> None:
        try:
            self.fields = _fields.decode(data)
        except msgspec.ValidationError as cause:
            raise BadRequest("The request body must be a JSON object.") from cause
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
            raise BadRequest(f"The request body is not valid JSON: {cause}") from cause

    def unknown(self, known: frozenset[str]) -> list[str]:
        """The fields whose names are not in known, null values left out."""
        unknown = (name for name in self.fields if name not in known)
        return [name for name in unknown if bytes(self.fields[name]) != b"null"]

    def replace(self, **values: Any) -> bytes:
        """The object again with some fields set (UNSET removes one); all others byte by byte."""
        merged: dict[str, Any] = {**self.fields, **values}
        if UNSET in values.values():
            merged = {name: value for name, value in merged.items() if value is not UNSET}
        return _encoded(merged)


def lenient(data: bytes | Raw, decoder: msgspec.json.Decoder[R]) -> R:
    """A reading that takes 5.0 for 5, as JSON Schema does. Raises what the decoder raises."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        if "got `float`" not in str(error):
            raise
        whole = _whole_numbers(msgspec.json.decode(data))
        return decoder.decode(msgspec.json.encode(whole))


def _whole_numbers(value: Any) -> Any:
    """The same with each number as an integer that is one."""
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        return int(value)
    if isinstance(value, list):
        return [_whole_numbers(each) for each in value]
    if isinstance(value, dict):
        return {name: _whole_numbers(each) for name, each in value.items()}
    return value


def decode(data: bytes, decoder: msgspec.json.Decoder[R]) -> R:
    """One typed reading of a body; raises BadRequest that names the field."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as cause:
        return _again(data, decoder, cause)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise BadRequest(f"The request body is not valid JSON: {cause}") from cause


def _again(data: bytes, decoder: msgspec.json.Decoder[R], error: msgspec.ValidationError) -> R:
    """The reading where only numbers were spelled otherwise. Raises BadRequest."""
    try:
        return lenient(data, decoder)
    except msgspec.ValidationError as cause:
        reason, _, path = str(cause).partition(" - at `")
        param = path.rpartition("$")[2].rstrip("`").lstrip(".") or _missing(reason)
        where = f"'{param}': " if param else ""
        raise BadRequest(f"Invalid {where}{reason}.", param=param or None) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise BadRequest(f"The request body is not valid JSON: {cause}") from cause


def _missing(reason: str) -> str:
    """The field that msgspec names in its own sentence about a missing field."""
    marker = "missing required field `"
    return reason.partition(marker)[2].rstrip("`")


chat_decoder = msgspec.json.Decoder(ChatRequest)
completion_decoder = msgspec.json.Decoder(CompletionRequest)
embedding_decoder = msgspec.json.Decoder(EmbeddingRequest)
chunk_decoder = msgspec.json.Decoder(Chunk)
