"""Which requests are taken: every field is honoured, knowingly without effect, or refused by name.

Without effect, and why that is no lie:
- user, safety_identifier, metadata: for whoever keeps records; an engine keeps none.
- prompt_cache_key: advice about routing; there is one cache here, and it is always on.
- a message's name, refusal, annotations, reasoning_content where the chat template has no place for
  it; reasoning_content of anyone but an assistant.
- `strict` of a function that the model may call but need not: see haneul.engine.speech.turn.
- response_format beside a call that must be made: there are no words for it.
- store: false, modalities: ["text"], service_tier: "auto" or "default",
  include_obfuscation: false: they ask for what is done anyway. Any other value is refused.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw, Struct

from haneul.base.errors import BadRequest, ContextTooLong, UnknownField, UnsupportedValue
from haneul.base.wire import (
    Body,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Message,
    Sampling,
    chat_decoder,
    completion_decoder,
    decode,
    embedding_decoder,
)
from haneul.engine.json_schema import check_regex, check_schema
from haneul.engine.kernel import Facts

SEQUENCES_MAX = 128  # of one request: prompts times choices
TOKEN_MAX_CHARS = 256  # longer than any token of the vocabularies in use

_RECORDED = frozenset({"user", "safety_identifier", "metadata", "prompt_cache_key"})
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "store": (False,),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
}
_KNOWN = _RECORDED | _NEUTRAL.keys()
CHAT_FIELDS = frozenset(ChatRequest.__struct_fields__) | _KNOWN
COMPLETION_FIELDS = frozenset(CompletionRequest.__struct_fields__) | _KNOWN
EMBEDDING_FIELDS = frozenset(EmbeddingRequest.__struct_fields__)
_MESSAGE_FIELDS = frozenset(Message.__struct_fields__) | {
    "refusal",
    "annotations",
}
_EFFORTS = ("none", "minimal", "low", "medium", "high")
_SWITCHES = ("enable_thinking", "thinking")
_FUNCTION_NAME = re.compile(r"[\w.-]{1,128}")
_FORMATS = ("text", "json_object", "json_schema", "regex")


class Streaming(Struct, frozen=True, forbid_unknown_fields=True):
    """What the caller wants beside the text of a stream."""

    include_usage: bool = False
    include_obfuscation: bool = False
    continuous_usage_stats: bool = False  # vLLM's name: exact usage on every chunk


_streaming = msgspec.json.Decoder(Streaming)
_messages = msgspec.json.Decoder(list[dict[str, Raw]])


def accept_chat(data: bytes, facts: Facts) -> tuple[ChatRequest, Streaming]:
    """A chat request that will be honoured whole. Raises BadRequest that names the field."""
    body = Body(data)
    _known_fields(body, CHAT_FIELDS)
    request = decode(data, chat_decoder)
    _check_message_fields(body.fields["messages"])
    check_length(len(body.fields["messages"]), facts, "messages")
    for position, message in enumerate(request.messages):
        _check_message(message, f"messages[{position}]", facts)
    _check_sampling(request, facts)
    _check_limits(request)
    _check_thinking(request)
    _check_tools(request, facts)
    _check_format(request.response_format)
    if is_enforced(request):
        _check_strict_tools(request.tools or [])
    if request.top_logprobs and not request.logprobs:
        raise BadRequest("'top_logprobs' needs 'logprobs': true.", param="top_logprobs")
    return request, _accept_streaming(body, request)


def accept_completion(data: bytes, facts: Facts) -> tuple[CompletionRequest, Streaming]:
    """A plain completion request that will be honoured whole. Raises BadRequest."""
    body = Body(data)
    _known_fields(body, COMPLETION_FIELDS)
    request = decode(data, completion_decoder)
    _check_sampling(request, facts)
    if request.echo and request.logprobs is not None:
        raise UnsupportedValue(
            "'echo' together with 'logprobs' is not supported: prompts are not scored.",
            param="echo",
        )
    return request, _accept_streaming(body, request)


def accept_embedding(data: bytes, facts: Facts) -> EmbeddingRequest:
    """An embedding request that will be honoured whole. Raises BadRequest."""
    body = Body(data)
    _known_fields(body, EMBEDDING_FIELDS)
    request = decode(data, embedding_decoder)
    if request.dimensions is not None and request.dimensions != facts.width:
        raise UnsupportedValue(
            f"This model's embeddings have {facts.width} dimensions; no other number can be had.",
            param="dimensions",
        )
    return request


def check_sequences(prompts: int, choices: int) -> None:
    """Raises UnsupportedValue when one request asks for more sequences than is fair."""
    if prompts * choices > SEQUENCES_MAX:
        raise UnsupportedValue(
            f"{prompts} prompts with {choices} choices each are more than {SEQUENCES_MAX} answers.",
            param="n",
        )


def check_length(characters: int, facts: Facts, param: str) -> None:
    """Refuses a text that no vocabulary could fit in, before it is cut into tokens for seconds."""
    if characters > facts.context_tokens * TOKEN_MAX_CHARS:
        raise ContextTooLong(
            f"{characters} characters cannot fit the {facts.context_tokens} tokens of "
            "this model's context.",
            param=param,
            context_tokens=facts.context_tokens,
        )


def _known_fields(body: Body, known: frozenset[str]) -> None:
    for name in body.unknown(known):
        raise UnknownField(f"'{name[:64]}' is not honoured by this engine.", param=name[:64])
    for name, accepted in _NEUTRAL.items():
        value = _plain(body.fields[name]) if name in body.fields else None
        if value is not None and value not in accepted:
            raise UnsupportedValue(f"This value of '{name}' is not supported here.", param=name)


def _plain(raw: Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as cause:
        raise BadRequest(f"The request body is not valid JSON: {cause}") from cause


def _accept_streaming(body: Body, request: Sampling) -> Streaming:
    if request.stream_options is None:
        return Streaming()
    if not request.stream:
        raise BadRequest("'stream_options' needs 'stream': true.", param="stream_options")
    try:
        options = _streaming.decode(body.fields["stream_options"])
    except msgspec.ValidationError as cause:
        raise UnknownField(f"'stream_options': {cause}.", param="stream_options") from cause
    if options.include_obfuscation:
        name = "stream_options.include_obfuscation"
        raise UnsupportedValue("Obfuscation is not supported here.", param=name)
    return options


def _check_message_fields(raw: Raw) -> None:
    for position, message in enumerate(_messages.decode(raw)):
        for name, value in message.items():
            if name not in _MESSAGE_FIELDS and bytes(value) not in (b"null", b"[]"):
                where = f"messages[{position}].{name[:64]}"
                raise UnknownField(f"'{where}' is not honoured by this engine.", param=where)


def _check_message(message: Message, where: str, facts: Facts) -> None:
    if message.role == "function":
        raise UnsupportedValue("Role 'function' is not supported.", param=f"{where}.role")
    if (message.tool_calls or message.role == "tool") and not facts.has_tools:
        raise _no_tools(f"{where}.tool_calls" if message.tool_calls else f"{where}.role")
    for position, call in enumerate(message.tool_calls or []):
        _check_call(call, f"{where}.tool_calls[{position}]")
    if message.content is None and not message.tool_calls:
        raise BadRequest("A message needs content.", param=f"{where}.content")
    if isinstance(message.content, list):
        for position, part in enumerate(message.content):
            place = f"{where}.content[{position}]"
            if part.type != "text":
                shown = part.type[:64]
                raise UnsupportedValue(
                    f"Content of type '{shown}' is not supported by this model.",
                    param=f"{place}.type",
                )
            if part.text is None:
                raise BadRequest("A text part needs text.", param=f"{place}.text")


def _check_call(call: Any, where: str) -> None:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRequest("A call needs a function with a name.", param=where)
    if not isinstance(function.get("arguments"), str | None):
        raise BadRequest("Arguments are JSON in a text.", param=f"{where}.function.arguments")
    if not isinstance(call.get("id"), str | None):
        raise BadRequest("Must be a text.", param=f"{where}.id")


def _check_sampling(request: Sampling, facts: Facts) -> None:
    for token in request.logit_bias or {}:
        if int(token) >= facts.vocabulary:
            raise BadRequest(
                f"Token {token} is not in the vocabulary of {facts.vocabulary}.", param="logit_bias"
            )
    check_sequences(1, request.n or 1)


def _check_limits(request: ChatRequest) -> None:
    old, new = request.max_tokens, request.max_completion_tokens
    if old is not None and new is not None and old != new:
        raise BadRequest(
            "'max_tokens' and 'max_completion_tokens' say different things.",
            param="max_completion_tokens",
        )


def _check_tools(request: ChatRequest, facts: Facts) -> None:
    if request.tools and not facts.has_tools:
        raise _no_tools("tools")
    if request.parallel_tool_calls is not None and not request.tools:
        raise BadRequest("'parallel_tool_calls' needs 'tools'.", param="parallel_tool_calls")
    names = [_function_name(tool, f"tools[{at}]") for at, tool in enumerate(request.tools or [])]
    _check_choice(request.tool_choice, names)


def _function_name(tool: dict[str, Any], where: str) -> str:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, dict):
        raise BadRequest("A tool must be of type 'function'.", param=where)
    name = function.get("name")
    if not isinstance(name, str) or not _FUNCTION_NAME.fullmatch(name):
        raise BadRequest(
            "A function needs a name of letters, digits, '_', '-' and '.', 128 at most.",
            param=f"{where}.function.name",
        )
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise BadRequest("Parameters must be a JSON schema.", param=f"{where}.function.parameters")
    if not isinstance(function.get("strict"), bool | None):
        raise BadRequest("Must be true or false.", param=f"{where}.function.strict")
    return name


def _check_choice(choice: str | dict[str, Any] | None, names: list[str]) -> None:
    if isinstance(choice, dict):
        function = choice.get("function")
        if choice.get("type") != "function" or not isinstance(function, dict):
            raise UnsupportedValue("Only a function can be chosen.", param="tool_choice.type")
        if function.get("name") not in names:
            raise BadRequest(
                "There is no such function among 'tools'.", param="tool_choice.function.name"
            )
    elif choice not in (None, "none", "auto", "required"):
        raise UnsupportedValue(
            "'tool_choice' can be none, auto, required or a function.", param="tool_choice"
        )
    elif choice == "required" and not names:
        raise BadRequest("'tool_choice' needs 'tools'.", param="tool_choice")


def is_enforced(request: ChatRequest) -> bool:
    """Whether calls are held to their functions' schemas: they must be made, or words have a form
    that must be kept as well."""
    if isinstance(request.tool_choice, dict) or request.tool_choice == "required":
        return True
    kind = (request.response_format or {}).get("type", "text")
    return kind != "text" and request.tool_choice != "none"


def _check_strict_tools(tools: list[dict[str, Any]]) -> None:
    for position, tool in enumerate(tools):
        parameters = tool["function"].get("parameters")
        if tool["function"].get("strict") and parameters is not None:
            check_schema(parameters, f"tools[{position}].function.parameters")


def _check_thinking(request: ChatRequest) -> None:
    """Whether a model can be told so is known with its template (haneul.engine.speech.turn)."""
    if request.reasoning_effort is not None and request.reasoning_effort not in _EFFORTS:
        raise UnsupportedValue(
            f"'reasoning_effort' can be {', '.join(_EFFORTS)}.", param="reasoning_effort"
        )
    told = request.chat_template_kwargs or {}
    for name, value in told.items():
        where = f"chat_template_kwargs.{name[:64]}"
        if name not in _SWITCHES:
            raise UnknownField(f"'{where}' is not honoured by this engine.", param=where)
        if not isinstance(value, bool | None):
            raise BadRequest("Must be true or false.", param=where)
    wishes = {value for value in told.values() if value is not None}
    if request.enable_thinking is not None:
        wishes.add(request.enable_thinking)
    if request.reasoning_effort is not None:
        wishes.add(request.reasoning_effort != "none")
    if len(wishes) > 1:
        raise BadRequest("Thinking is both asked for and not.", param="chat_template_kwargs")


def _no_tools(param: str) -> UnsupportedValue:
    return UnsupportedValue("This model's chat template knows no tools.", param=param)


def _check_format(wanted: dict[str, Any] | None) -> None:
    if wanted is None:
        return
    kind = wanted.get("type")
    if kind not in _FORMATS:
        raise UnsupportedValue(
            f"'response_format' can be {', '.join(_FORMATS)}.", param="response_format.type"
        )
    allowed = {"type", kind} if kind in ("json_schema", "regex") else {"type"}
    for name in wanted.keys() - allowed:
        raise UnknownField(param=f"response_format.{name[:64]}")
    if kind == "regex":
        check_regex(wanted.get("regex"), "response_format.regex")
    if kind == "json_schema":
        described = wanted.get("json_schema")
        if not isinstance(described, dict):
            raise BadRequest("A schema is missing.", param="response_format.json_schema")
        for name in described.keys() - {"name", "description", "schema", "strict"}:
            raise UnknownField(param=f"response_format.json_schema.{name[:64]}")
        check_schema(described.get("schema"), "response_format.json_schema.schema")
