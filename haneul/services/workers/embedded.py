"""The embedded engines of the first process, as its workers know them and wake them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import msgspec
from msgspec import Struct

from haneul.base import http
from haneul.base.config import Config
from haneul.base.errors import EngineUnavailable, HaneulError
from haneul.base.http_connection import Disconnected
from haneul.chips.estimate import Estimate
from haneul.services.affinity import mark
from haneul.services.gate import Gates
from haneul.services.remote import NO_HEADERS, Headers, Reply
from haneul.services.replica import READY
from haneul.services.targets import EMBEDDED, Target, Targets
from haneul.services.workers.peer import Peer
from haneul.store.prices import PriceRow


class Told(Struct, frozen=True, kw_only=True):
    """An embedded target, as the first process has it now."""

    model: str
    socket: str
    slots: int
    state: str
    forecast: Estimate | None = None  # of the seconds until it answers; None: it cannot start
    digest: str | None = None
    engine_version: str | None = None
    chip: str | None = None
    context_tokens: int | None = None
    created_us: int = 0
    price: PriceRow | None = None
    upcoming: tuple[PriceRow, ...] = ()


def tell(targets: Iterable[Target]) -> list[Told]:
    """The embedded ones of all targets."""
    return [
        Told(
            model=target.model,
            socket=target.replica.address.uds,
            slots=target.gate.inside_max,
            state=target.state,
            forecast=target.awake.forecast() if target.awake is not None else None,
            digest=target.digest,
            engine_version=target.engine_version,
            chip=target.chip,
            context_tokens=target.context_tokens,
            created_us=target.created_us,
            price=target.price,
            upcoming=target.upcoming,
        )
        for target in targets
        if target.replica is not None
    ]


class Embedded:
    """A worker's way to one embedded engine: its socket, and the first process to wake it."""

    def __init__(self, client: http.Client, first: Peer, told: Told, within_s: float) -> None:
        self.made = told  # what its target was made of
        self.told = told  # what holds now
        self._client = client
        self._first = first
        self._within_s = within_s
        self._waking: asyncio.Task[None] | None = None

    @property
    def sleeps(self) -> bool:
        return self.told.state != READY

    def forecast(self) -> Estimate | None:
        """Seconds until it answers, as the first process said of late."""
        return self.told.forecast

    def wake(self, within_s: float) -> None:
        """Begins to make it ready, for those who come later."""
        if self.sleeps and (self._waking is None or self._waking.done()):
            self._waking = asyncio.create_task(self._begin(within_s), name="wake")

    async def _begin(self, within_s: float) -> None:
        with suppress(HaneulError):  # whoever wants it then is told
            await self.ready(within_s)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Only the first process measures."""
        yield

    def keep(self, seconds: float) -> None:
        """Only the first process is asked to."""

    async def ready(self, within_s: float) -> None:
        """Returns when the engine answers. Raises EngineUnavailable when it will not in time."""
        if self.sleeps:
            await self._wake(within_s)

    async def send(
        self, method: str, path: str, *, body: bytes = b"", headers: Headers = NO_HEADERS
    ) -> Reply:
        """Sends a request; an engine that nobody can reach is woken, and asked once more."""
        try:
            return await self._send(method, path, body=body, headers=headers)
        except Disconnected:
            raise
        except EngineUnavailable:  # nothing was sent: it may be at rest, or at another socket
            await self._wake(self._within_s)
            return await self._send(method, path, body=body, headers=headers)

    async def _send(self, method: str, path: str, *, body: bytes, headers: Headers) -> Reply:
        to = http.unix(self.told.socket)
        return await self._client.send(to, method, path, body=body, headers=headers)

    async def _wake(self, within_s: float) -> None:
        body = self.told.model.encode()
        data = await self._first.ask("/ready", body, within_s=within_s + 1)
        self.told = msgspec.json.decode(data, type=Told)

    @property
    def server(self) -> tuple[str, int] | None:
        return None  # a socket of this machine

    def without_key(self, data: bytes) -> bytes:
        return data  # an embedded engine has none


class Followed:
    """Keeps a worker's embedded targets as the first process has its own."""

    def __init__(
        self, config: Config, *, targets: Targets, client: http.Client, gates: Gates, first: Peer
    ) -> None:
        self._config = config
        self._targets = targets
        self._client = client
        self._gates = gates
        self._first = first
        self._ways: dict[str, Embedded] = {}

    async def ask(self) -> list[Told]:
        """What the first process has now."""
        return msgspec.json.decode(await self._first.ask("/targets"), type=list[Told])

    def follow(self, told: list[Told]) -> None:
        """Has the same targets."""
        for model in self._ways.keys() - {each.model for each in told}:
            self._targets.remove_embedded(model)
            del self._ways[model]
        for each in told:
            way, target = self._ways.get(each.model), self._targets.embedded(each.model)
            if way is None or target is None or _is_another(way.made, each):
                way = Embedded(self._client, self._first, each, self._config.first_token_s)
                self._ways[each.model] = way
                target = self._target(each, way)
                self._targets.put_embedded(target)
            way.told = each
            target.price, target.upcoming = each.price, each.upcoming

    def _target(self, told: Told, way: Embedded) -> Target:
        name = f"unix:{told.socket}"
        gate = self._gates.of(name, told.slots)
        return Target(
            model=told.model,
            engine=EMBEDDED,
            upstream_model=told.model,
            transport=way,
            gate=gate,
            health=self._gates.health(gate, name),
            ready=way.ready,
            awake=way,
            sleeps=lambda: way.sleeps,
            currency=self._config.currency,
            digest=told.digest,
            engine_version=told.engine_version,
            chip=told.chip,
            context_tokens=told.context_tokens,
            created_us=told.created_us,
            is_own=True,
            id=mark(told.model.encode()),
        )


def _is_another(old: Told, new: Told) -> bool:
    """Whether it is another engine, and not the same in another state or at another price."""
    changing = {"state": "", "forecast": None, "price": None, "upcoming": ()}
    return msgspec.structs.replace(old, **changing) != msgspec.structs.replace(new, **changing)
