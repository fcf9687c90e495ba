"""POST /mcp: the Model Context Protocol over HTTP, without sessions and without streams.

A request is answered whole, as the specification lets a server choose, and nothing is remembered
between two of them. A chat goes the one path of all requests: metered, limited and billed to the
key that came with it. There is nothing to listen to and nothing to end: GET and DELETE are 405.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET

from haneul import __version__
from haneul.base.errors import BadRequest, HaneulError, NotAllowed
from haneul.base.units import now_us
from haneul.services.call import JSON, Call
from haneul.services.chat import Gateway
from haneul.services.heads import APP, terms_of
from haneul.services.keyring import from_app, require
from haneul.services.keys import Key
from haneul.services.ledger import Ledger
from haneul.services.mcp import tools, wire
from haneul.services.mcp.wire import McpMessage, Refused
from haneul.store import ledger as queries
from haneul.store.database import Database
from haneul.store.spending import DAY_US

HERE = "/mcp"
VERSION = b"mcp-protocol-version"
INSTRUCTIONS = (
    "Models of a haneul cloud. list_models says which; what a chat costs is in its answer."
)
Listed = Callable[[Key], list[dict[str, Any]]]  # the models that a key may use
Handler = Callable[[Call], Awaitable[None]]


class Pages:
    """The handler; it answers its call."""

    def __init__(
        self, gateway: Gateway, *, database: Database, ledger: Ledger, models: Listed
    ) -> None:
        self._gateway = gateway
        self._database = database
        self._ledger = ledger
        self._models = models
        self._chat = tools.McpChat()

    def routes(self) -> dict[str, dict[str, Handler]]:
        return {HERE: {"POST": self.post}}

    async def post(self, call: Call) -> None:
        """Answers one message."""
        _check_origin(call)
        key = from_app(await self._gateway.who(call), call.headers.get(APP))
        _check_version(call)
        terms_of(call, key)
        config = self._gateway.config
        data = await call.body(max_bytes=config.body_max_bytes, within_s=config.body_s)
        message = wire.read(data)
        if message.id is UNSET:
            await call.answer(202, b"", JSON)
            return
        try:
            await self._request(call, key, message)
        except Refused as refused:
            await call.answer(200, wire.failure(message.id, refused.code, refused.message), JSON)

    async def _request(self, call: Call, key: Key, message: McpMessage) -> None:
        """Answers a request, with its result. Raises Refused."""
        match message.method:
            case "initialize":
                wire.params(message, wire.Hello)
                given = _hello()
            case "ping":
                given = {}
            case "tools/list":
                given = {"tools": tools.listed()}
            case "tools/call":
                await self._tool(call, key, message)
                return
            case _:
                raise Refused(wire.NO_METHOD, f"'{message.method[:64]}' is not offered here.")
        await _answer(call, message, given)

    async def _tool(self, call: Call, key: Key, message: McpMessage) -> None:
        """Runs a tool; what fails in it is told as its result, as models are to read it."""
        name, wanted = tools.called(message)
        try:
            if name == tools.CHAT:
                await self._gateway.serve(call, self._chat)
                return
            given = await self._given(key, wanted)
        except HaneulError as error:
            if call.has_begun:
                raise
            given = wire.text(f"{error.message} ({error.code})", is_error=True)
        await _answer(call, message, given)

    async def _given(self, key: Key, wanted: Any) -> dict[str, Any]:
        """What the other tools give."""
        if isinstance(wanted, tools.ListModels):
            return _told(tools.Models(models=self._models(key)))
        require(key, "usage")
        await self._ledger.flush()
        now = now_us()
        rows = await self._database.ask(
            lambda connection: queries.usage(
                connection,
                since_us=now - wanted.days * DAY_US,
                until_us=now + 1,
                key_id=key.id,
                tenant_id=None,
            )
        )
        used = [msgspec.structs.asdict(row) for row in rows]
        return _told(tools.Used(days=wanted.days, usage=used))


def _told(given: Any) -> dict[str, Any]:
    return wire.text(msgspec.json.encode(given).decode(), given)


def _hello() -> dict[str, Any]:
    """Who answers. A client of another version may go on in ours, or leave."""
    return {
        "protocolVersion": wire.VERSION,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "haneul", "title": "haneul", "version": __version__},
        "instructions": INSTRUCTIONS,
    }


def _check_origin(call: Call) -> None:
    """A page of another site may not speak to this cloud through its visitor's browser."""
    origin = call.headers.get(b"origin")
    if origin is None:
        return
    try:
        name = urlsplit(origin.decode("latin-1")).netloc
    except ValueError:
        name = ""
    if not name or name.lower() != call.headers.get(b"host", b"").decode("latin-1").lower():
        raise NotAllowed("A page of another origin may not ask here.")


def _check_version(call: Call) -> None:
    """What comes after the greeting says the version that was agreed on; older clients do not."""
    said = call.headers.get(VERSION)
    if said is not None and said != wire.VERSION.encode():
        raise BadRequest(
            f"The protocol is spoken here in its version {wire.VERSION}.", param=VERSION.decode()
        )


async def _answer(call: Call, message: McpMessage, value: Any) -> None:
    assert message.id is not UNSET
    await call.answer(200, wire.result(message.id, value), JSON)
