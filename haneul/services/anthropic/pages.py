"""What Anthropic's clients ask beside messages: how many tokens a prompt has, which models are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from haneul.base.errors import BadRequest, EngineFailed, UnsupportedValue
from haneul.base.units import MILLION
from haneul.base.wire import Body
from haneul.services.anthropic.request import read_count
from haneul.services.anthropic.told import Errors
from haneul.services.call import Call
from haneul.services.chat import ERROR_MAX_BYTES, Gateway
from haneul.services.keyring import require
from haneul.services.refusal import engine_error
from haneul.services.targets import EMBEDDED, Target

Handler = Callable[[Call], Awaitable[None]]
VERSION = b"anthropic-version"  # the header that Anthropic's clients send
COUNT = "/v1/messages/count_tokens"
PAGE, PAGE_MAX = 20, 1000  # models


class Rendered(Struct, frozen=True):
    """The prompt that a model's template makes."""

    prompt: str


class Tokens(Struct, frozen=True):
    """How many there are."""

    count: int


class Pages:
    """The handlers; each answers its call."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> dict[str, dict[str, Handler]]:
        return {COUNT: {"POST": self.count}}

    async def count(self, call: Call) -> None:
        """The tokens of a prompt, as the engine itself cuts it. Loads the model if need be."""
        config = self._gateway.config
        key = await self._gateway.who(call)
        require(key, "infer")
        data = await self._gateway.body(call, key)
        model, body = read_count(data)
        target = self._gateway.find(key, model)[0]
        if target.engine != EMBEDDED:
            raise UnsupportedValue(
                f"The engine '{target.engine}' of this model does not count tokens.", param="model"
            )
        call.within(config.first_token_s)
        await target.ready(config.first_token_s)
        asked = Body(body).replace(model=target.upstream_model)
        rendered = await _ask(target, "/apply-template", asked, Rendered)
        tokens = await _ask(target, "/tokenize", msgspec.json.encode(rendered), Tokens)
        await _json(call, {"input_tokens": tokens.count})

    async def models(self, call: Call) -> None:
        """GET /v1/models: a page of the models this key may use."""
        call.errors = Errors()
        key = await self._gateway.who(call)
        targets = [
            target
            for target in self._gateway.targets.every()
            if key.models is None or key.models & {target.model, target.upstream_model}
        ]
        await _json(call, page(targets, call.query))

    async def model(self, call: Call) -> None:
        """GET /v1/models/{model}."""
        call.errors = Errors()
        key = await self._gateway.who(call)
        name = call.path.removeprefix("/v1/models/")
        await _json(call, show(self._gateway.find(key, name)[0]))


def page(targets: list[Target], query: str) -> dict[str, Any]:
    """One page of models. Raises BadRequest for a cursor that is none."""
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    for name in asked.keys() - {"limit", "after_id", "before_id"}:
        raise BadRequest(f"'{name[:64]}' is not taken here.", param=name[:64])
    limit = asked.get("limit", str(PAGE))
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= PAGE_MAX:
        raise BadRequest(f"'limit' is a whole number from 1 to {PAGE_MAX}.", param="limit")
    names = [target.model for target in targets]
    first, last = 0, len(names)
    if "after_id" in asked:
        first = _place(names, asked["after_id"], "after_id") + 1
    if "before_id" in asked:
        last = _place(names, asked["before_id"], "before_id")
        first = max(first, last - int(limit))
    shown = targets[first:last][: int(limit)]
    return {
        "data": [show(target) for target in shown],
        "has_more": first > 0 if "before_id" in asked else first + len(shown) < last,
        "first_id": shown[0].model if shown else None,
        "last_id": shown[-1].model if shown else None,
    }


def _place(names: list[str], name: str, param: str) -> int:
    if name not in names:
        raise BadRequest(f"'{param}' names no model of this list.", param=param)
    return names.index(name)


def show(target: Target) -> dict[str, Any]:
    """A model as Anthropic lists it."""
    created = datetime.fromtimestamp(target.created_us // MILLION, UTC)
    return {
        "type": "model",
        "id": target.model,
        "display_name": target.model,
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "max_input_tokens": target.context_tokens,
        "max_tokens": target.context_tokens,
    }


async def _ask(target: Target, path: str, body: bytes, kind: type[Any]) -> Any:
    """One question to an engine that is not about an answer."""
    reply = await target.transport.send("POST", path, body=body)
    async with reply:
        if reply.status != 200:
            raise engine_error(reply, await reply.read(ERROR_MAX_BYTES), target)
        try:
            return msgspec.json.decode(await reply.read(), type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as cause:
            raise EngineFailed() from cause


async def _json(call: Call, value: Any) -> None:
    await call.answer(200, msgspec.json.encode(value))
