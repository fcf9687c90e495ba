"""Ollama's requests as neutral ones.

Where the two protocols part:
- Ollama's calls often have no ids: a result belongs to the first call of its tool's name that has
  no result yet, or where no name is said, to the first call without one.
- `raw` text is continued as it is; all else goes through the model's own chat template.
- Too long a conversation is refused, never cut: `truncate` and `shift` can only be false.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
from msgspec import Struct

from haneul.base.errors import BadRequest, UnsupportedValue
from haneul.services import openai, strict
from haneul.services.ask import Ask
from haneul.services.ollama.wire import (
    Asking,
    Call,
    Embedding,
    Message,
    OllamaChat,
    OllamaEmbed,
    OllamaEmbeddings,
    OllamaGenerate,
    Options,
    decoder,
)

CHAT, GENERATE = "ollama_chat", "ollama_generate"
EMBED, EMBEDDINGS = "ollama_embed", "ollama_embeddings"
# How the files of images begin, in base64.
MAGIC = {"iVBORw0": "png", "/9j/": "jpeg", "R0lGOD": "gif", "UklGR": "webp"}
RAW_ONLY = ("system", "images", "format", "think", "logprobs")  # go through a template

_chats = decoder(OllamaChat)
_generations = decoder(OllamaGenerate)
_embeds = decoder(OllamaEmbed)
_embeddings = decoder(OllamaEmbeddings)


class Client(Struct, frozen=True):
    """What the answer must know of the request."""

    model: str  # as it was asked for, unless another answers
    began_ns: int  # on the monotonic clock, when it was read
    num_ctx: int | None  # tokens of context that were asked for

    def answered_by(self, model: str) -> Client:
        """As the answer says it where another model gave it."""
        return msgspec.structs.replace(self, model=model)


def read_chat(data: bytes) -> Ask:
    """POST /api/chat. Raises BadRequest that names the field."""
    request = strict.read(data, _chats)
    body = {
        **_common(request),
        "messages": _messages(request.messages),
        "tools": request.tools or None,
    }
    return _ask(openai.CHAT, CHAT, body, request)


def read_generate(data: bytes) -> Ask:
    """POST /api/generate. Raises BadRequest that names the field."""
    request = strict.read(data, _generations)
    for name in ("suffix", "template", "context"):
        if getattr(request, name):
            raise UnsupportedValue(f"'{name}' is not supported here.", param=name)
    if request.raw:
        return _raw(request)
    said = Message(role="user", content=request.prompt, images=request.images)
    messages = [said] if not request.system else [_system(request.system), said]
    body = {**_common(request), "messages": _messages(messages)}
    return _ask(openai.CHAT, GENERATE, body, request)


def _raw(request: OllamaGenerate) -> Ask:
    for name in RAW_ONLY:
        if getattr(request, name):
            raise UnsupportedValue(f"'{name}' does not go with 'raw'.", param=name)
    body = {**_common(request), "prompt": request.prompt}
    if "max_completion_tokens" in body:
        body["max_tokens"] = body.pop("max_completion_tokens")
    return _ask(openai.COMPLETIONS, GENERATE, body, request)


def _system(text: str) -> Message:
    return Message(role="system", content=text)


def read_embed(data: bytes) -> Ask:
    """POST /api/embed. Raises BadRequest that names the field."""
    request = strict.read(data, _embeds)
    body = {"model": request.model, "input": request.input, "dimensions": request.dimensions}
    return _embedding(EMBED, body, request)


def read_embeddings(data: bytes) -> Ask:
    """POST /api/embeddings. Raises BadRequest that names the field."""
    request = strict.read(data, _embeddings)
    return _embedding(EMBEDDINGS, {"model": request.model, "input": request.prompt}, request)


def _embedding(name: str, body: dict[str, Any], request: Embedding) -> Ask:
    options = request.options or Options()
    for option in Options.__struct_fields__:
        if option != "num_ctx" and getattr(options, option) is not None:
            where = f"options.{option}"
            raise UnsupportedValue(f"'{where}' has no meaning for embeddings.", param=where)
    _check_whole(request)
    return _ask(openai.EMBEDDINGS, name, body, request)


def _ask(route: Any, name: str, body: dict[str, Any], request: Asking | Embedding) -> Ask:
    kept = {field: value for field, value in body.items() if value is not None}
    ask = openai.read(route, msgspec.json.encode(kept))
    client = Client(
        model=request.model,
        began_ns=time.monotonic_ns(),
        num_ctx=request.options.num_ctx if request.options else None,
    )
    return msgspec.structs.replace(ask, name=name, client=client)


def _common(request: Asking) -> dict[str, Any]:
    _check_whole(request)
    if request.shift:
        raise UnsupportedValue("A conversation is never cut here.", param="shift")
    if request.top_logprobs and not request.logprobs:
        raise BadRequest("'top_logprobs' needs 'logprobs': true.", param="top_logprobs")
    return {
        "model": request.model,
        "stream": request.stream is not False,
        "response_format": _format(request.format),
        "logprobs": request.logprobs or None,
        "top_logprobs": request.top_logprobs,
        **_thinking(request.think),
        **_options(request.options or Options()),
    }


def _check_whole(request: Asking | Embedding) -> None:
    if request.truncate:
        raise UnsupportedValue("A prompt is never cut here.", param="truncate")


def _format(wanted: Any) -> dict[str, Any] | None:
    if not wanted:
        return None
    if wanted == "json":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": wanted}}


def _thinking(think: bool | str | None) -> dict[str, Any]:
    if isinstance(think, bool):
        return {"chat_template_kwargs": {"enable_thinking": think}}
    return {"reasoning_effort": think}


def _options(options: Options) -> dict[str, Any]:
    if options.num_predict in (0, -2):
        raise UnsupportedValue(
            "'options.num_predict' is -1 (no limit) or at least 1.", param="options.num_predict"
        )
    return {
        "max_completion_tokens": None if options.num_predict == -1 else options.num_predict,
        "temperature": options.temperature,
        "top_k": options.top_k,
        "top_p": options.top_p,
        "min_p": options.min_p,
        "seed": options.seed,
        "stop": options.stop or None,
        "repeat_penalty": options.repeat_penalty,
        "presence_penalty": options.presence_penalty,
        "frequency_penalty": options.frequency_penalty,
    }


def _messages(messages: list[Message]) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    waiting: list[tuple[str, str]] = []  # ids and names of the calls that have no result yet
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        _check_role(message, where)
        plain: dict[str, Any] = {"role": message.role, "content": _content(message, where)}
        if message.role == "tool":
            plain["tool_call_id"] = _answered(message, waiting, where)
        if message.thinking:
            plain["reasoning_content"] = message.thinking
        if message.tool_calls:
            calls = [_call(call, f"call_{at}_{n}") for n, call in enumerate(message.tool_calls)]
            waiting = [(call["id"], call["function"]["name"]) for call in calls]
            plain["tool_calls"] = calls
            plain["content"] = plain["content"] or None
        said.append(plain)
    return said


def _check_role(message: Message, where: str) -> None:
    of_role = {
        "thinking": "assistant",
        "tool_calls": "assistant",
        "tool_name": "tool",
        "tool_call_id": "tool",
    }
    for name, role in of_role.items():
        if getattr(message, name) and message.role != role:
            raise UnsupportedValue(
                f"'{name}' is not said by '{message.role}'.", param=f"{where}.{name}"
            )


def _content(message: Message, where: str) -> str | list[dict[str, Any]]:
    text = message.content or ""
    if not message.images:
        return text
    parts = [
        {"type": "image_url", "image_url": {"url": _image(image, f"{where}.images[{at}]")}}
        for at, image in enumerate(message.images)
    ]
    return [{"type": "text", "text": text}, *parts] if text else parts


def _image(image: str, where: str) -> str:
    data = "".join(image.split())
    kind = next((kind for begin, kind in MAGIC.items() if data.startswith(begin)), None)
    if kind is None:
        raise BadRequest("An image is a PNG, JPEG, GIF or WebP in base64.", param=where)
    return f"data:image/{kind};base64,{data}"


def _call(call: Call, fallback_id: str) -> dict[str, Any]:
    arguments = msgspec.json.encode(call.function.arguments).decode()
    function = {"name": call.function.name, "arguments": arguments}
    return {"id": call.id or fallback_id, "type": "function", "function": function}


def _answered(message: Message, waiting: list[tuple[str, str]], where: str) -> str:
    """The id of the call that a result belongs to; the call waits no longer."""
    given, name = message.tool_call_id, message.tool_name
    for one in waiting:
        if one[0] == given if given else (not name or one[1] == name):
            waiting.remove(one)
            return one[0]
    if given:
        return given
    raise BadRequest("No call waits for this result.", param=f"{where}.tool_name")
