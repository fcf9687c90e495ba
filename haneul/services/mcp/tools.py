"""The tools of this cloud: what they take, what they give, and the chat among them as a dialect."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from haneul.base.errors import BadRequest
from haneul.base.wire import Count, Name
from haneul.services import openai, strict
from haneul.services.answer import read
from haneul.services.ask import Ask
from haneul.services.dialect import Told
from haneul.services.flights import Counters
from haneul.services.keys import Key
from haneul.services.mcp import wire
from haneul.services.responses.request import encoded

LIST, CHAT, USAGE = "list_models", "chat", "usage"
DAYS_MAX = 366


class ListModels(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lists the models that this key may use, with their state, context and price."""


class Chat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Asks a model of this cloud; it costs what it costs the key's owner anywhere."""

    model: Annotated[Name, Meta(description="A name that list_models gives.")]
    message: Annotated[str, Meta(min_length=1, description="What the model is asked.")]
    system: Annotated[str, Meta(description="How the model is to answer.")] | None = None
    max_tokens: Annotated[Count, Meta(description="Tokens of the answer at most.")] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None


class Usage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sums what this key used and what it cost, by model and engine; money in nano-units."""

    days: Annotated[int, Meta(ge=1, le=DAYS_MAX, description="Of the last so many.")] = 30


class Answered(Struct, frozen=True, kw_only=True):
    """What a chat gives."""

    text: str
    model: str
    finish_reason: str | None
    prompt_tokens: int
    completion_tokens: int
    cost_nano: int
    currency: str


class Models(Struct, frozen=True, kw_only=True):
    """What a list gives."""

    models: list[dict[str, Any]]


class Used(Struct, frozen=True, kw_only=True):
    """What sums give."""

    days: int
    usage: list[dict[str, Any]]


TOOLS: dict[str, tuple[str, type[Struct], type[Struct]]] = {
    LIST: ("List models", ListModels, Models),
    CHAT: ("Chat", Chat, Answered),
    USAGE: ("Usage", Usage, Used),
}


@lru_cache(maxsize=1)
def listed() -> tuple[dict[str, Any], ...]:
    """Every tool as the protocol lists it."""
    return tuple(_tool(name, *facts) for name, facts in TOOLS.items())


def _tool(name: str, title: str, takes: type[Struct], gives: type[Struct]) -> dict[str, Any]:
    # A chat costs money and says something else each time; nothing is changed by any.
    hints = {"readOnlyHint": True, "openWorldHint": False, "idempotentHint": name != CHAT}
    return {
        "name": name,
        "title": title,
        "description": takes.__doc__,
        "inputSchema": _schema(takes),
        "outputSchema": _schema(gives),
        "annotations": {"title": title, **hints},
    }


def _schema(kind: type[Struct]) -> dict[str, Any]:
    """Of a struct that holds no other."""
    _, components = msgspec.json.schema_components([kind])
    return dict(components[kind.__name__])


def called(message: wire.McpMessage) -> tuple[str, Any]:
    """The tool that is called, and its arguments. Raises Refused."""
    call = wire.params(message, wire.ToolCall)
    if call.name not in TOOLS:
        raise wire.Refused(wire.INVALID_PARAMS, f"There is no tool '{call.name[:64]}' here.")
    kind = TOOLS[call.name][1]
    try:
        return call.name, strict.read(bytes(call.arguments), msgspec.json.Decoder(kind))
    except BadRequest as cause:
        raise wire.Refused(wire.INVALID_PARAMS, cause.message) from cause


class McpChat(wire.Errors):
    """A chat that a program asks for by the tool, on the one path of all requests."""

    name = "mcp"

    async def open(self, key: Key, data: bytes) -> Ask:
        message = wire.read(data)
        _, wanted = called(message)
        system = [{"role": "system", "content": wanted.system}] if wanted.system else []
        chat = {
            "model": wanted.model,
            "messages": [*system, {"role": "user", "content": wanted.message}],
            "max_tokens": wanted.max_tokens,
            "temperature": wanted.temperature,
        }
        said = {name: value for name, value in chat.items() if value is not None}
        ask = openai.read(openai.CHAT, encoded(said))
        return msgspec.structs.replace(ask, name=self.name, client=message.id)

    def stream(self, ask: Ask, counters: Counters) -> Told:
        return openai.Stream(ask, counters)  # never asked for: a tool answers whole

    def whole(self, ask: Ask, data: bytes, *, cost_nano: int, currency: str) -> bytes:
        answer, counters = read(data), Counters()
        if answer.usage is not None:
            openai.read_usage(answer.usage, counters)
        else:
            openai.count_whole(openai.read_whole(data), ask, counters)
        said = Answered(
            text=answer.choice.said.content or "",
            model=ask.model,
            finish_reason=answer.choice.finish_reason,
            prompt_tokens=counters.prompt_tokens,
            completion_tokens=counters.completion_tokens,
            cost_nano=cost_nano,
            currency=currency,
        )
        return wire.result(ask.client, wire.text(said.text, said))

    async def keep(self, key: Key, ask: Ask, answer: Told | bytes) -> None:
        """An answer is not to be found again."""
