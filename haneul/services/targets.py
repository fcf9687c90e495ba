"""What can answer for a model: the embedded engines and the remote ones, in one name space.

A public model name leads to every target that has it; `router` chooses among them. Embedded models
start when they are first asked for. Remote models are named ENGINE/MODEL, and by MODEL alone
together with whatever else has that name. A route leads to the targets of its members.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
from msgspec import Struct, field

from haneul.base import http
from haneul.base.errors import HaneulError, ModelNotFound
from haneul.base.log import logger
from haneul.chips.estimate import Estimate
from haneul.services.gate import Gate
from haneul.services.health import Health
from haneul.services.leaders import Leaders
from haneul.services.prices import Rates, rates_of
from haneul.services.remote import Headers, PlainTransport, Transport, read_key_file
from haneul.services.replica import READY, Replica
from haneul.services.routes import Route
from haneul.store.engines import EngineRow
from haneul.store.prices import PriceRow

if TYPE_CHECKING:
    from haneul.services.tls import Connections

log = logger("targets")

EMBEDDED = "embedded"
REMOTE_INSIDE_MAX = 256  # a remote engine has its own queue; this bounds ours


class Waking(Protocol):
    """An engine that is started when it is wanted."""

    def forecast(self) -> Estimate | None:
        """Seconds until it answers, 0 where it does; None where it cannot start."""
        ...

    def wake(self, within_s: float) -> None:
        """Begins to make it ready, for those who come later."""
        ...

    def measured(self) -> AbstractContextManager[None]:
        """It is not idle while the block runs, though it makes room if it has to."""
        ...

    def keep(self, seconds: float) -> None:
        """Stays at least so long after its last request; below 0: for ever."""
        ...


class Target(Struct, kw_only=True, eq=False):
    """One engine serving one model under its public name."""

    model: str
    engine: str
    upstream_model: str
    transport: Transport
    gate: Gate
    ready: Callable[[float], Awaitable[None]]
    currency: str
    price: PriceRow | None = None  # that held when the store was last read
    upcoming: tuple[PriceRow, ...] = ()  # that begin later, the first to begin first
    digest: str | None = None
    engine_version: str | None = None
    chip: str | None = None
    context_tokens: int | None = None
    created_us: int = 0
    replica: Replica | None = None
    is_own: bool = False  # hardware that is paid for, asked or not
    thinking_field: str | None = None  # under which its engine takes a bound of thoughts
    id: int = 0  # 64 bits of its name, by which prompts find their home
    health: Health = field(default_factory=Health)
    terms: dict[Any, Any] = field(default_factory=dict)  # what bills of it have in common
    leaders: Leaders | None = None  # where the engine shares prefixes
    awake: Waking | None = None  # of an embedded one
    sleeps: Callable[[], bool] | None = None  # of one that another process of this cloud keeps

    @property
    def rates(self) -> Rates:
        """Nano-units per million tokens, in force now."""
        return rates_of(self.price)

    def price_at(self, at_us: int) -> PriceRow | None:
        """The price in force at a moment, to the microsecond."""
        begun = [price for price in self.upcoming if price.from_us <= at_us]
        return begun[-1] if begun else self.price

    @property
    def hour_nano(self) -> int:
        """Owning the chip for an hour; 0 for a provider's."""
        return self.price.hour_nano if self.price else 0

    @property
    def is_ready(self) -> bool:
        """Whether it answers without being started first."""
        if self.sleeps is not None:
            return not self.sleeps()
        return self.replica is None or self.replica.state == READY

    @property
    def state(self) -> str:
        """ready, loading, stopped, …; a remote engine counts as ready until it is not."""
        return self.replica.state if self.replica else READY


class Found(NamedTuple):
    """What a public name leads to."""

    name: str
    pools: tuple[tuple[Target, ...], ...]  # of each member, then of each fallback
    names: tuple[str, ...]  # of the pools' models, as the route says them
    members: int = 1  # the first pools, which are meant; the others are asked when these fail
    weights: tuple[int, ...] = ()  # of the members; empty: they are equals

    def kept(self, pools: tuple[tuple[Target, ...], ...]) -> Found:
        """The same with other targets; pools without any are left out."""
        kept = [number for number, pool in enumerate(pools) if pool]
        return Found(
            self.name,
            tuple(pools[number] for number in kept),
            tuple(self.names[number] for number in kept),
            sum(number < self.members for number in kept),
            tuple(self.weights[number] for number in kept if number < len(self.weights)),
        )

    @property
    def targets(self) -> list[Target]:
        """All, each once, in the order of the pools."""
        return list({id(target): target for pool in self.pools for target in pool}.values())


class Targets:
    """Every target, by public name."""

    def __init__(self, client: http.Client, aliases: Mapping[str, str] | None = None) -> None:
        self._client = client
        self._aliases = aliases or {}  # other names of the catalogue for its models
        self._tls: Connections | None = None
        self._embedded: dict[str, Target] = {}
        self._remote: dict[str, list[Target]] = {}  # by engine
        self._rows: dict[str, EngineRow] = {}
        self._found: dict[str, Found] = {}  # what was asked for since something changed
        self.routes: dict[str, Route] = {}

    def every(self) -> list[Target]:
        """All targets, embedded first."""
        remote = [target for targets in self._remote.values() for target in targets]
        return [*self._embedded.values(), *remote]

    def find(self, name: str) -> list[Target]:
        """The targets of a public name, the first meant first. Raises ModelNotFound."""
        return self.look_up(name).targets

    def look_up(self, name: str) -> Found:
        """What a public name leads to. Raises ModelNotFound."""
        if (found := self._found.get(name)) is None:
            found = self._route(self.routes[name]) if name in self.routes else self._plain(name)
            if not found.pools:
                raise ModelNotFound(param="model")
            self._found[name] = found
        return found

    def _plain(self, name: str) -> Found:
        targets = tuple(self.named(name))
        return Found(name, (targets,) if targets else (), (name,))

    def _route(self, route: Route) -> Found:
        """The targets of a route's members that are here, then of its fallbacks."""
        names = (*(member.model for member in route.members), *route.fallbacks)
        pools = tuple(tuple(self.named(name)) for name in names)
        weights = tuple(route.weights) if route.is_weighted else ()
        return Found(route.name, pools, names, len(route.members), weights).kept(pools)

    def named(self, name: str) -> list[Target]:
        """Those that have the name: the embedded one, then ENGINE/MODEL, or MODEL anywhere."""
        if (alias := self.routes.get(name)) is not None and alias.is_alias:
            name = alias.members[0].model
        own = self._embedded.get(name) or self._embedded.get(self._aliases.get(name, ""))
        engine, _, model = name.partition("/")
        remote = [each for each in self._remote.get(engine, []) if each.upstream_model == model]
        remote = remote or [
            each
            for targets in self._remote.values()
            for each in targets
            if each.upstream_model == name
        ]
        return [own, *remote] if own else remote

    def names(self) -> list[tuple[str, list[Target]]]:
        """Every public name and what it leads to, ENGINE/MODEL and MODEL being two."""
        plain = {name for each in self.every() for name in (each.model, each.upstream_model)}
        found = [self.look_up(name) for name in plain if name not in self.routes]
        return [(each.name, each.targets) for each in [*found, *self.leading()]]

    def leading(self) -> list[Found]:
        """The routes that lead somewhere now."""
        return [found for route in self.routes.values() if (found := self._route(route)).pools]

    def set_routes(self, routes: list[Route]) -> None:
        """Follows the routes in the store."""
        self.routes = {route.name: route for route in routes}
        self._found.clear()

    def embedded(self, model: str) -> Target | None:
        return self._embedded.get(model)

    def put_embedded(self, target: Target) -> None:
        """Adds an embedded target; one it replaces is the caller's to stop."""
        self._embedded[target.model] = target
        self._found.clear()

    def remove_embedded(self, model: str) -> Target | None:
        """Takes an embedded target out; its replica is the caller's to stop."""
        self._found.clear()
        return self._embedded.pop(model, None)

    def set_remote(
        self, rows: list[EngineRow], prices: Callable[[EngineRow, str], Prices], make: Make
    ) -> None:
        """Follows the engines in the store: new ones are added, changed ones replaced."""
        self._found.clear()
        for name in self._rows.keys() - {row.name for row in rows}:
            self._remote.pop(name, None)
            self._rows.pop(name)
        for row in rows:
            if self._rows.get(row.name) != row:
                try:
                    self._remote[row.name] = self._remote_targets(row, make)
                except HaneulError as error:  # its address or its key file is of no use
                    self._remote[row.name] = []
                    log.warning("engine_unusable", engine=row.name, reason=error.message)
                self._rows[row.name] = row
            for target in self._remote[row.name]:
                target.price, target.upcoming = prices(row, target.upstream_model)

    def _remote_targets(self, row: EngineRow, make: Make) -> list[Target]:
        transport = self._transport(row)
        return [
            make(row, model, transport) for model in msgspec.json.decode(row.models, type=list[str])
        ]

    def _transport(self, row: EngineRow) -> Transport:
        headers = read_key_file(row.key_file)
        if row.url.startswith("https://"):
            return self._secured(row.url, headers)
        return PlainTransport(self._client, http.address(row.url), headers)

    def _secured(self, url: str, headers: Headers) -> Transport:
        if self._tls is None:
            # Loaded with the first provider: aiohttp takes 12 MB, which engines next door do not.
            from haneul.services.tls import Connections

            self._tls = Connections(most=REMOTE_INSIDE_MAX)
        return self._tls.to(url, headers)

    async def aclose(self) -> None:
        """Stops every replica and closes the provider connections."""
        replicas = [target.replica for target in self._embedded.values() if target.replica]
        await asyncio.gather(*(replica.stop() for replica in replicas))
        if self._tls is not None:
            await self._tls.aclose()


Prices = tuple[PriceRow | None, tuple[PriceRow, ...]]  # in force, and those to come
Make = Callable[[EngineRow, str, Transport], Target]


async def always_ready(within_s: float) -> None:
    """A remote engine is asked, not started."""
