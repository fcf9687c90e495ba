"""Listing, showing, pulling, copying and deleting models, as Ollama's clients ask for it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from sqlalchemy import Connection

from haneul.base import places
from haneul.base.errors import BadRequest, Conflict, NotAllowed, UnsupportedValue
from haneul.base.gguf import read_header
from haneul.base.units import now_us
from haneul.models import hub
from haneul.models.folder import removal
from haneul.models.pulling.progress import Progress
from haneul.models.reference import parse
from haneul.services import strict
from haneul.services.acting import actor_of
from haneul.services.call import JSON, Call
from haneul.services.chat import Gateway
from haneul.services.keyring import require
from haneul.services.keys import Key
from haneul.services.ollama import listed
from haneul.services.ollama.told import LINES, ended
from haneul.services.ollama.wire import (
    OllamaCopy,
    OllamaDelete,
    OllamaPull,
    OllamaShow,
    decoder,
)
from haneul.services.targets import Target
from haneul.store import audit
from haneul.store import models as queries
from haneul.store.audit import Actor
from haneul.store.database import Database
from haneul.store.models import ModelRow

Handler = Callable[[Call], Awaitable[None]]
BODY_BYTES, BODY_S = 64 << 10, 10.0
REPORT_S = 1.0  # between two lines of a pull, also where nothing moves
NAME = re.compile(r"[A-Za-z0-9][\w.:/@-]{0,127}", re.ASCII)
STAGES = {
    "asking": "pulling manifest",
    "waiting": "waiting for another pull",
    "unpacking": "unpacking",
    "checking": "verifying sha256 digest",
    "ready": "writing manifest",
}
_pulls = decoder(OllamaPull)
_shows = decoder(OllamaShow)
_deletes = decoder(OllamaDelete)
_copies = decoder(OllamaCopy)


class Library:
    """The handlers; each answers its call."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        database: Database,
        refresh: Callable[[], Awaitable[None]],
        judge: hub.Judge,
    ) -> None:
        self._gateway = gateway
        self._database = database
        self._refresh = refresh
        self._judge = judge

    def routes(self) -> dict[str, dict[str, Handler]]:
        return {
            "/api/tags": {"GET": self.tags},
            "/api/ps": {"GET": self.ps},
            "/api/show": {"POST": self.show},
            "/api/pull": {"POST": self.pull},
            "/api/copy": {"POST": self.copy},
            "/api/delete": {"DELETE": self.delete},
        }

    async def tags(self, call: Call) -> None:
        """The models this key may use."""
        rows = await self._rows()
        targets = self._seen(await self._gateway.who(call))
        models = [listed.tag(target, _row(target, rows)) for target in targets]
        await _json(call, {"models": models})

    async def ps(self, call: Call) -> None:
        """Those of them that are loaded here."""
        rows = await self._rows()
        targets = self._seen(await self._gateway.who(call))
        known = [(target, row) for target in targets if (row := _row(target, rows))]
        told = [listed.running(target, row) for target, row in known]
        await _json(call, {"models": [model for model in told if model]})

    async def show(self, call: Call) -> None:
        """What a model's file says."""
        key = await self._gateway.who(call)
        asked = strict.read(await _body(call), _shows)
        target = self._gateway.find(key, _named(asked.model or asked.name))[0]
        row = await self._database.ask(queries.get, target.model)
        if target.replica is None or row is None:
            raise UnsupportedValue(
                "This model is on a remote engine, which shows nothing of it.", param="model"
            )
        header = await asyncio.to_thread(read_header, row.path)
        await _json(call, listed.show(row, header, is_verbose=bool(asked.verbose)))

    async def pull(self, call: Call) -> None:
        """Fetches a model, telling how far it is."""
        key = await self._admin(call)
        asked = strict.read(await _body(call), _pulls)
        name = _named(asked.model or asked.name)
        if asked.insecure:
            raise UnsupportedValue("A model is never pulled insecurely.", param="insecure")
        if parse(name).kind in ("file", "folder"):
            raise NotAllowed("A file of the cloud's machine is added there: haneul pull FILE.")
        hub.name_of(name)  # raises for a name that the catalogue does not have
        if asked.stream is False:
            await self._pull_quietly(call, name, actor_of(call, key))
        else:
            await self._pull_in_lines(call, name, actor_of(call, key))

    async def _pull_in_lines(self, call: Call, name: str, actor: Actor) -> None:
        call.begin(200, LINES)
        latest: list[Progress] = [Progress(stage="asking")]
        moved = asyncio.Event()
        loop = asyncio.get_running_loop()

        def report(progress: Progress) -> None:
            latest[0] = progress
            loop.call_soon_threadsafe(moved.set)

        pulling = asyncio.create_task(self._ensure(name, actor, report), name=f"pull {name}")
        try:
            while not pulling.done():
                moved.clear()
                await self._line(call, _status(latest[0], name))
                waiting = asyncio.create_task(moved.wait())
                await asyncio.wait(
                    [pulling, waiting], timeout=REPORT_S, return_when=asyncio.FIRST_COMPLETED
                )
                waiting.cancel()
            pulling.result()
        finally:
            pulling.cancel()
            await asyncio.gather(pulling, return_exceptions=True)
        await call.send(_encoded({"status": "success"}), more=False)

    async def _pull_quietly(self, call: Call, name: str, actor: Actor) -> None:
        pulling = asyncio.create_task(self._ensure(name, actor, None), name=f"pull {name}")
        try:
            while not pulling.done():
                call.within(self._gateway.config.idle_s)
                await asyncio.wait([pulling], timeout=REPORT_S)
            pulling.result()
        finally:
            pulling.cancel()
            await asyncio.gather(pulling, return_exceptions=True)
        await _json(call, {"status": "success"})

    async def _ensure(
        self, name: str, actor: Actor, report: Callable[[Progress], None] | None
    ) -> None:
        await hub.ensure(
            name,
            database=self._database,
            folder=places.blobs(self._gateway.config.home),
            on_progress=report,
            judge=self._judge,
            actor=actor,
        )
        await self._refresh()

    async def _line(self, call: Call, value: dict[str, Any]) -> None:
        call.within(self._gateway.config.idle_s)
        await call.send(_encoded(value), more=True)

    async def copy(self, call: Call) -> None:
        """Another name for the same file."""
        key = await self._admin(call)
        asked = strict.read(await _body(call), _copies)
        if not NAME.fullmatch(asked.destination):
            raise BadRequest(
                "A name has letters, digits and . : / @ _ - , 128 at most.", param="destination"
            )
        row = await self._here(key, asked.source, "source")
        if await self._database.call(queries.get, asked.destination) is not None:
            raise Conflict(f"There is a model '{asked.destination}' already.", param="destination")
        other = msgspec.structs.replace(row, name=asked.destination, pulled_us=now_us())
        await self._database.call(_copy, other, row.name, actor_of(call, key))
        await self._refresh()
        await call.answer(200, b"", JSON)

    async def delete(self, call: Call) -> None:
        """Removes a model, and its file where no other name means it."""
        key = await self._admin(call)
        asked = strict.read(await _body(call), _deletes)
        row = await self._here(key, _named(asked.model or asked.name), "model")
        unused = await self._database.call(removal.forget, row, actor_of(call, key))
        await self._refresh()  # which ends its engine
        if unused:
            home = self._gateway.config.home
            await asyncio.to_thread(removal.remove_files, row.digest, unused, home)
        await call.answer(200, b"", JSON)

    async def _here(self, key: Key, name: str, param: str) -> ModelRow:
        target = self._gateway.find(key, name)[0]
        row = await self._database.call(queries.get, target.model)
        if target.replica is None or row is None:
            raise UnsupportedValue("This model is on a remote engine.", param=param)
        return row

    async def _admin(self, call: Call) -> Key:
        key = await self._gateway.who(call)
        require(key, "admin")
        return key

    async def _rows(self) -> dict[str, ModelRow]:
        return {row.name: row for row in await self._database.ask(queries.every)}

    def _seen(self, key: Key) -> list[Target]:
        return [
            target
            for target in self._gateway.targets.every()
            if key.models is None or key.models & {target.model, target.upstream_model}
        ]


def _copy(connection: Connection, other: ModelRow, of: str, actor: Actor) -> None:
    queries.put(connection, other)
    audit.note(connection, actor, "model.copy", other.name, of, after={"digest": other.digest})


def _row(target: Target, rows: dict[str, ModelRow]) -> ModelRow | None:
    return rows.get(target.model) if target.replica else None


def _status(progress: Progress, name: str) -> dict[str, Any]:
    """A report in Ollama's words. What is not known is left out."""
    if progress.stage != "downloading":
        return {"status": STAGES[progress.stage]}
    told: dict[str, Any] = {"status": f"pulling {name}", "completed": progress.done_bytes}
    if progress.total_bytes is not None:
        told["total"] = progress.total_bytes
    return told


def _named(name: str) -> str:
    if not name:
        raise BadRequest("'model' is missing.", param="model")
    return name


def _encoded(value: dict[str, Any]) -> bytes:
    return ended(msgspec.json.encode(value))


async def _body(call: Call) -> bytes:
    return await call.body(max_bytes=BODY_BYTES, within_s=BODY_S)


async def _json(call: Call, value: Any) -> None:
    await call.answer(200, msgspec.json.encode(value), JSON)
