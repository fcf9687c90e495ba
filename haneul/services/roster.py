"""Keeps the targets in step with the store: models that were pulled or removed, engines that were
added, prices that changed, whoever changed them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec import Struct
from sqlalchemy import Connection

from haneul.base import http
from haneul.base.config import Config
from haneul.base.errors import NotEnoughMemory
from haneul.base.log import logger
from haneul.base.places import logs, socket_folder
from haneul.chips.chip import Chip
from haneul.chips.detect import cpu_of
from haneul.chips.footprint import fits, footprint
from haneul.chips.host import read_host
from haneul.chips.shape import Shape
from haneul.models.hub import shape
from haneul.services.gate import Gate
from haneul.services.remote import PlainTransport, Transport
from haneul.services.replica import STOPPED, Replica, Spec
from haneul.services.targets import EMBEDDED, Target, Targets, always_ready
from haneul.store import engines as engine_queries
from haneul.store import models as model_queries
from haneul.store import prices as price_queries
from haneul.store.database import Database
from haneul.store.engines import EngineRow
from haneul.store.models import ModelRow
from haneul.store.prices import PriceRow

FOLLOW_S = 2.0
ENGINE_QUEUE = 128  # ours is the queue of requests; theirs holds the answers of one with a high n
CONTEXT_TOKENS = 4096  # per sequence, unless the model was trained for less
log = logger("roster")

Priced = Callable[[ModelRow], Awaitable[PriceRow]]


class Known(Struct, frozen=True):
    """What the store says now."""

    models: list[ModelRow]
    engines: list[EngineRow]
    prices: dict[tuple[str, str], PriceRow]


class Roster:
    """Makes, replaces and removes targets."""

    def __init__(
        self,
        config: Config,
        *,
        database: Database,
        targets: Targets,
        client: http.Client,
        chip: Chip,
        priced: Priced,
    ) -> None:
        self._config = config
        self._database = database
        self._targets = targets
        self._client = client
        self._chip = chip
        self._priced = priced
        self._follower: asyncio.Task[None] | None = None
        self._refreshing = asyncio.Lock()
        self.shapes: dict[str, Shape] = {}  # of the embedded models, by public name

    async def follow(self) -> None:
        """Brings the targets up to date now, and every two seconds from now on."""
        await self.refresh()
        self._follower = asyncio.create_task(self._follow(), name="roster")

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(FOLLOW_S)
            try:
                await self.refresh()
            except Exception:  # a store that fails for a while must not end the following
                log.exception("refresh_failed")

    async def refresh(self) -> None:
        """Brings the targets up to date."""
        async with self._refreshing:
            await self._refresh()

    async def _refresh(self) -> None:
        known = await self._database.ask(_read)
        wanted = {row.name: row for row in known.models}
        for target in [target for target in self._targets.every() if target.replica]:
            row = wanted.get(target.model)
            if row is None or row.digest != target.digest:
                await self._drop(target)
        for row in known.models:
            target_here = self._targets.embedded(row.name) or self._add(row)
            found = known.prices.get((row.name, EMBEDDED))
            target_here.price = found or target_here.price or await self._priced(row)
        self._targets.set_remote(
            known.engines,
            lambda row, model: (
                known.prices.get((model, row.name))
                or known.prices.get((price_queries.ANY_MODEL, row.name))
            ),
            self._remote,
        )

    async def _drop(self, target: Target) -> None:
        self._targets.remove_embedded(target.model)
        self.shapes.pop(target.model, None)
        assert target.replica is not None
        await target.replica.stop()
        log.info("target_removed", model=target.model)

    def _add(self, row: ModelRow) -> Target:
        config = self._config
        context_tokens = context(config, row)
        spec = Spec(
            model=row.name,
            path=Path(row.path),
            slots=config.slots,
            context_tokens=context_tokens,
            threads=config.threads,
            queue=ENGINE_QUEUE,
        )
        replica = Replica(
            spec, client=self._client, run=socket_folder(config.home), logs=logs(config.home)
        )

        async def ready(within_s: float) -> None:
            if replica.state == STOPPED:
                await asyncio.to_thread(self.check_memory, row)
            await replica.ready(within_s)

        target = Target(
            model=row.name,
            engine=EMBEDDED,
            upstream_model=row.name,
            transport=PlainTransport(self._client, replica.address),
            gate=self._gate(config.slots),
            ready=ready,
            currency=config.currency,
            digest=row.digest,
            engine_version=replica.engine_version,
            chip=self._chip.id,
            context_tokens=context_tokens,
            created_us=row.pulled_us,
            replica=replica,
        )
        self.shapes[row.name] = shape(row)
        self._targets.put_embedded(target)
        return target

    def check_memory(self, row: ModelRow) -> None:
        """Raises NotEnoughMemory, saying how much is missing, before an engine is started."""
        need = footprint(
            shape(row), context_tokens=context(self._config, row), slots=self._config.slots
        )
        fit = fits(need, cpu_of(read_host()))
        if fit.fits is False:
            raise NotEnoughMemory(f"'{row.name}' cannot be loaded. {fit.reason}", retry_after_s=30)

    def _remote(self, row: EngineRow, model: str, transport: Transport) -> Target:
        return Target(
            model=f"{row.name}/{model}",
            engine=row.name,
            upstream_model=model,
            transport=transport,
            gate=self._gate(256),
            ready=always_ready,
            currency=self._config.currency,
            created_us=row.created_us,
        )

    def _gate(self, inside_max: int) -> Gate:
        config = self._config
        return Gate(inside_max=inside_max, queue_max=config.queue_max, queue_s=config.queue_s)

    async def aclose(self) -> None:
        """Stops following."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)


def context(config: Config, row: ModelRow) -> int:
    """Tokens of context per sequence: as configured, or 4,096, never more than was trained."""
    trained = shape(row).context_tokens or CONTEXT_TOKENS
    return min(config.context_tokens or CONTEXT_TOKENS, trained)


def _read(connection: Connection) -> Known:
    models = model_queries.every(connection)
    engines = engine_queries.every(connection)
    wanted = [(row.name, EMBEDDED) for row in models] + [
        (price_queries.ANY_MODEL, row.name) for row in engines
    ]
    found = {pair: price_queries.in_force(connection, *pair) for pair in wanted}
    return Known(models, engines, {pair: price for pair, price in found.items() if price})
