"""What a request of the Responses API may say, and the chat that asks an engine for it.

Every field is honoured, forwarded or refused by name. Source of names and ranges: the published
OpenAI API description, 2026-10.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from haneul.base import wire
from haneul.base.errors import BadRequest, UnknownField, UnsupportedValue
from haneul.base.wire import Body, Count, Name
from haneul.services import openai
from haneul.services.ask import Ask
from haneul.services.responses.items import messages

# Open engines' habits and chat's own fields that Responses has no place for: they go on as came.
FORWARDED = frozenset(
    {
        "chat_template_kwargs",
        "frequency_penalty",
        "ignore_eos",
        "logit_bias",
        "min_p",
        "presence_penalty",
        "repeat_penalty",
        "seed",
        "stop",
        "top_k",
    }
)
LOGPROBS = "message.output_text.logprobs"
User = Annotated[str, Meta(max_length=512)]
Label = Annotated[str, Meta(max_length=64)]
Labels = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=16),
]


class Reasoning(Struct, frozen=True, forbid_unknown_fields=True):
    """How much is thought; a summary is whatever there is, which is none."""

    effort: Label | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class Text(Struct, frozen=True, forbid_unknown_fields=True):
    """The form of the words."""

    format: dict[str, Any] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class StreamOptions(Struct, frozen=True, forbid_unknown_fields=True):
    include_obfuscation: bool | None = None


class ResponseRequest(Struct, frozen=True, kw_only=True):
    """POST /v1/responses."""

    model: Name
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=128)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Count | None = None  # of built-in tools, of which there are none
    text: Text | None = None
    reasoning: Reasoning | None = None
    max_output_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    include: Annotated[list[Label], Meta(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    previous_response_id: Label | None = None
    metadata: Labels | None = None
    truncation: Literal["auto", "disabled"] | None = None
    background: bool | None = None
    service_tier: Label | None = None
    prompt_cache_key: User | None = None  # advice about routing; there is one cache here
    user: User | None = None
    safety_identifier: User | None = None

    @property
    def is_kept(self) -> bool:
        """Whether the answer is to be found again: so unless said otherwise."""
        return self.store is not False

    @property
    def wants_logprobs(self) -> bool:
        return LOGPROBS in (self.include or []) or bool(self.top_logprobs)


KNOWN = frozenset(ResponseRequest.__struct_fields__) | FORWARDED
_decoder = msgspec.json.Decoder(ResponseRequest)


def read(data: bytes) -> tuple[ResponseRequest, dict[str, Any]]:
    """The request in a body, and its fields that go on as they came. Raises BadRequest."""
    body = Body(data)
    for name in body.unknown(KNOWN):
        raise UnknownField(f"'{name[:64]}' is not honoured here.", param=name[:64])
    request = wire.decode(data, _decoder)
    _refuse(request)
    return request, {name: body.fields[name] for name in FORWARDED & body.fields.keys()}


def _refuse(request: ResponseRequest) -> None:
    """Raises UnsupportedValue for what is known and not done here."""
    thinking = request.reasoning or Reasoning()
    refused = [
        ("background", request.background is True),
        ("truncation", request.truncation == "auto"),
        ("service_tier", request.service_tier not in (None, "auto", "default")),
        ("reasoning.summary", thinking.summary in ("concise", "detailed")),
        ("reasoning.generate_summary", thinking.generate_summary in ("concise", "detailed")),
    ]
    options = request.stream_options
    if options is not None:
        refused.append(("stream_options.include_obfuscation", bool(options.include_obfuscation)))
    refused += [
        (f"include[{at}]", name != LOGPROBS) for at, name in enumerate(request.include or [])
    ]
    for name, is_refused in refused:
        if is_refused:
            raise UnsupportedValue(f"This value of '{name}' is not supported here.", param=name)
    if options is not None and not request.stream:
        raise BadRequest("'stream_options' goes with 'stream'.", param="stream_options")


def neutral(
    request: ResponseRequest, items: list[dict[str, Any]], forwarded: dict[str, Any]
) -> Ask:
    """The chat that asks for the same, with the whole conversation. Raises BadRequest."""
    thinking, text = request.reasoning or Reasoning(), request.text or Text()
    chat: dict[str, Any] = {
        "model": request.model,
        "messages": _told(request.instructions) + messages(items),
        "stream": request.stream,
        "max_completion_tokens": request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "tools": _tools(request.tools),
        "tool_choice": _tool_choice(request.tool_choice),
        "parallel_tool_calls": request.parallel_tool_calls if request.tools else None,
        "response_format": _format(text.format),
        "reasoning_effort": thinking.effort,
        "verbosity": text.verbosity if text.verbosity != "medium" else None,
        "logprobs": request.wants_logprobs or None,
        "top_logprobs": request.top_logprobs or None,
        "user": request.user,
        "safety_identifier": request.safety_identifier,
        **forwarded,
    }
    said = {name: value for name, value in chat.items() if value is not None}
    return openai.read(openai.CHAT, encoded(said))


def encoded(value: Any) -> bytes:
    """JSON. Raises BadRequest for text that is no Unicode, as half of a surrogate pair."""
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, RecursionError) as cause:
        raise BadRequest("The request holds what cannot be said in JSON.") from cause


def _told(instructions: str | None) -> list[dict[str, Any]]:
    return [] if instructions is None else [{"role": "system", "content": instructions}]


def _tools(tools: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    return [_tool(tool, f"tools[{at}]") for at, tool in enumerate(tools or [])] or None


def _tool(tool: dict[str, Any], where: str) -> dict[str, Any]:
    kind = tool.get("type")
    if kind != "function":
        shown = kind[:64] if isinstance(kind, str) else "…"
        message = f"Tools of type '{shown}' are not supported here; only functions are."
        raise UnsupportedValue(message, param=f"{where}.type")
    for name, value in tool.items():
        if name not in ("type", "name", "description", "parameters", "strict"):
            if value is None or value is False:
                continue
            raise UnknownField(f"'{name[:64]}' is not honoured here.", param=f"{where}.{name[:64]}")
    if not isinstance(tool.get("name"), str):
        raise BadRequest("A function needs a name.", param=f"{where}.name")
    said = ("name", "description", "parameters", "strict")
    function = {name: tool[name] for name in said if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _tool_choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    if not isinstance(choice, dict):
        if choice in (None, "none", "auto", "required"):
            return choice
        message = "'tool_choice' can be none, auto, required or a function."
        raise UnsupportedValue(message, param="tool_choice")
    if choice.get("type") != "function" or choice.keys() - {"type", "name"}:
        message = "Only a function, by its name, can be chosen."
        raise UnsupportedValue(message, param="tool_choice.type")
    return {"type": "function", "function": {"name": choice.get("name")}}


def _format(wanted: dict[str, Any] | None) -> dict[str, Any] | None:
    if wanted is None:
        return None
    kind = wanted.get("type")
    known = {"json_schema": {"name", "schema", "strict", "description"}}
    if kind not in ("text", "json_object", "json_schema"):
        message = "'text.format' can be text, json_object or json_schema."
        raise UnsupportedValue(message, param="text.format.type")
    described = {name: value for name, value in wanted.items() if name != "type"}
    for name in described.keys() - known.get(kind, set()):
        where = f"text.format.{name[:64]}"
        raise UnknownField(f"'{where}' is not honoured here.", param=where)
    if kind == "text":
        return None
    said = {name: value for name, value in described.items() if value is not None}
    return {"type": kind, "json_schema": said} if kind == "json_schema" else {"type": kind}
