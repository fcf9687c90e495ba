"""Every address of Ollama's API: those that engines are asked at, and those about models."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from haneul import __version__
from haneul.base.errors import UnsupportedValue
from haneul.services.call import JSON, Call
from haneul.services.chat import Gateway
from haneul.services.heads import APP, terms_of
from haneul.services.keyring import from_app, require
from haneul.services.keys import Key
from haneul.services.ollama import keep_alive, request
from haneul.services.ollama.dialect import Ollama
from haneul.services.ollama.library import Library
from haneul.services.ollama.told import LINES, ended, head
from haneul.services.ollama.wire import Wish
from haneul.services.replays import HEADER as IDEMPOTENCY
from haneul.services.replays import name_of
from haneul.services.targets import Target

Handler = Callable[[Call], Awaitable[None]]
ASKED = {
    "/api/chat": request.CHAT,
    "/api/generate": request.GENERATE,
    "/api/embed": request.EMBED,
    "/api/embeddings": request.EMBEDDINGS,
}
# What an answer that only loads or unloads says beside the model.
EMPTY: dict[str, dict[str, Any]] = {
    request.CHAT: {"message": {"role": "assistant", "content": ""}},
    request.GENERATE: {"response": ""},
    request.EMBED: {"embeddings": []},
    request.EMBEDDINGS: {"embedding": []},
}
UNLOAD_S = 30.0  # for an engine to end; the client has its answer by then
_wishes = msgspec.json.Decoder(Wish)


class Pages:
    """The handlers; each answers its call."""

    def __init__(self, gateway: Gateway, library: Library) -> None:
        self._gateway = gateway
        self._library = library
        self._dialects = {name: Ollama(name, self._context) for name in ASKED.values()}

    def routes(self) -> dict[str, dict[str, Handler]]:
        asked: dict[str, dict[str, Handler]] = {
            path: {"POST": self._asker(self._dialects[name])} for path, name in ASKED.items()
        }
        return {
            **asked,
            **self._library.routes(),
            "/api/version": {"GET": self.version},
            "/api/create": {"POST": self.refuse},
            "/api/push": {"POST": self.refuse},
            "/api/blobs/": {"POST": self.refuse, "GET": self.refuse},
        }

    async def version(self, call: Call) -> None:
        """haneul's own."""
        await call.answer(200, msgspec.json.encode({"version": __version__}), JSON)

    async def refuse(self, call: Call) -> None:
        """Models are made and shared elsewhere."""
        await self._gateway.who(call)
        raise UnsupportedValue(f"{call.path} is not supported here: models are pulled, not made.")

    def _context(self, key: Key, model: str) -> int | None:
        return self._gateway.find(key, model)[0].context_tokens

    def _asker(self, dialect: Ollama) -> Handler:
        async def ask(call: Call) -> None:
            await self._ask(call, dialect)

        return ask

    async def _ask(self, call: Call, dialect: Ollama) -> None:
        """Answers by an engine; loads or unloads where nothing else is asked for."""
        key = await self._gateway.who(call)
        wish = _wish(await self._gateway.body(call, key))
        is_last = wish is not None and keep_alive.seconds(wish.keep_alive) == 0
        target = self._unloadable(key, wish.model) if wish is not None and is_last else None
        if wish is not None and _is_empty(wish, dialect.name):
            await self._load(call, key, wish, dialect.name, is_last=is_last)
            return
        if wish is not None:
            self._keep(key, wish)
        await self._gateway.serve(call, dialect)
        if target is not None:
            call.within(UNLOAD_S)
            await self._unload(target.model)

    def _keep(self, key: Key, wish: Wish) -> None:
        """The model stays as long as the client wishes, where that is longer than it would."""
        seconds = keep_alive.seconds(wish.keep_alive)
        if seconds and (awake := self._gateway.find(key, wish.model)[0].awake) is not None:
            awake.keep(seconds)

    def _unloadable(self, key: Key, model: str) -> Target:
        """The model that is to be unloaded, for everybody: which takes the scope 'admin'."""
        require(key, "admin")
        target = self._gateway.find(key, model)[0]
        if target.replica is None:
            raise UnsupportedValue(
                "This model is on a remote engine and cannot be unloaded from here.",
                param="keep_alive",
            )
        return target

    async def _load(self, call: Call, key: Key, wish: Wish, name: str, *, is_last: bool) -> None:
        began_ns = time.monotonic_ns()
        _check_head(call, key)
        target = self._gateway.find(key, wish.model)[0]
        call.within(self._gateway.config.first_token_s)
        if is_last:
            await self._unload(target.model)
        else:
            self._keep(key, wish)
            await target.ready(self._gateway.config.first_token_s)
        took_ns = time.monotonic_ns() - began_ns
        told: dict[str, Any] = {**head(wish.model), **EMPTY[name]}
        if name in (request.CHAT, request.GENERATE):
            told |= {"done": True, "done_reason": "unload" if is_last else "load"}
            told["total_duration"] = took_ns
        is_lines = "done" in told and wish.stream is not False
        data = msgspec.json.encode(told)
        await call.answer(200, ended(data) if is_lines else data, LINES if is_lines else JSON)

    async def _unload(self, model: str) -> None:
        """Stops a model's engine, unless others are being answered."""
        target = self._gateway.targets.embedded(model)  # a tuned one may have taken its place
        if target is None or target.gate.busy.inside or target.gate.waiting:
            return
        if target.replica is not None:
            await target.replica.stop()


def _check_head(call: Call, key: Key) -> None:
    """What stands in the head of a request holds where nothing is generated, too."""
    require(from_app(key, call.headers.get(APP)), "infer")
    terms_of(call, key)
    if IDEMPOTENCY in call.headers:
        name_of(call)


def _wish(data: bytes) -> Wish | None:
    """None for what is no request: whoever reads all of it says why."""
    try:
        return _wishes.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _is_empty(wish: Wish, name: str) -> bool:
    """Whether nothing is asked of the model but to be there."""
    if name == request.CHAT:
        return not wish.messages
    if name == request.EMBED:
        return wish.input in ("", [])
    return not (wish.prompt or wish.images or wish.suffix)
