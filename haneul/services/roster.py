"""Keeps the targets in step with the store: models that were pulled or removed, engines that were
added, prices that changed, whoever changed them.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from sqlalchemy import Connection

from haneul.base import http
from haneul.base.config import Config
from haneul.base.errors import HaneulError
from haneul.base.log import logger
from haneul.base.places import logs, socket_folder
from haneul.chips.chip import Chip
from haneul.chips.footprint import footprint
from haneul.chips.shape import Shape
from haneul.models.hub import shape
from haneul.services.affinity import mark
from haneul.services.gate import Gates
from haneul.services.keeper import Awake, Keeper
from haneul.services.known import FOLLOW_S, Known, read
from haneul.services.prices import PriceList
from haneul.services.remote import PlainTransport
from haneul.services.remotes import Remotes
from haneul.services.replica import FAILED, READY, STOPPED, Replica, Spec
from haneul.services.specs import spec_of
from haneul.services.targets import EMBEDDED, Target, Targets
from haneul.services.tune import axes
from haneul.services.tune.kept import setup_for
from haneul.services.tune.setup import Setup
from haneul.store.database import Database
from haneul.store.models import ModelRow
from haneul.store.prices import PriceRow

RETRY_CHANGE_S = 300.0  # after a new setup that did not come up
RETIRE_LOOK_S = 0.5
RETIRE_AFTER_S = 10.0  # that nobody has been at a replaced engine
log = logger("roster")

Priced = Callable[[ModelRow], Awaitable[PriceRow]]


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
        keeper: Keeper,
        gates: Gates,
    ) -> None:
        self._config = config
        self._gates = gates
        self._remotes = Remotes(config, gates)
        self._database = database
        self._targets = targets
        self._client = client
        self._chip = chip
        self._priced = priced
        self._keeper = keeper
        self._follower: asyncio.Task[None] | None = None
        self._refreshing = asyncio.Lock()
        self.shapes: dict[str, Shape] = {}  # of the embedded models, by public name
        self._setups: dict[str, Setup] = {}
        self._numbers = itertools.count(2)  # of the replicas that replace others
        self._changing: dict[str, asyncio.Task[None]] = {}  # by public name
        self._retiring: set[asyncio.Task[None]] = set()

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
        known, self._setups = await self._database.ask(self._read)
        wanted = {row.name: row for row in known.models}
        for target in [target for target in self._targets.every() if target.replica]:
            if target.model not in wanted:
                await self._drop(target)
        for row in known.models:
            target_here = self._targets.embedded(row.name) or self._add(row)
            self._follow_setup(target_here, row)
            found, target_here.upcoming = _price(known.prices, row)
            target_here.price = found or target_here.price or await self._priced(row)
        self._targets.set_remote(
            known.engines,
            lambda row, model: known.prices.of(model, row.name),
            self._remotes.make,
        )
        self._targets.set_routes(known.routes)

    async def _drop(self, target: Target) -> None:
        self._targets.remove_embedded(target.model)
        self.shapes.pop(target.model, None)
        assert target.replica is not None
        await target.replica.stop()
        log.info("target_removed", model=target.model)

    def _add(self, row: ModelRow) -> Target:
        target = self._target(row, number=1)
        self._targets.put_embedded(target)
        return target

    def _target(self, row: ModelRow, *, number: int) -> Target:
        """A model with the setup that holds for it now, its engine not started yet."""
        config = self._config
        spec = self._spec(row)
        self.shapes[row.name] = shape(row)
        replica = Replica(
            spec,
            client=self._client,
            run=socket_folder(config.home),
            logs=logs(config.home),
            number=number,
        )

        need = footprint(shape(row), context_tokens=spec.context_tokens, slots=spec.slots)
        awake = Awake(self._keeper, replica, digest=row.digest, size_bytes=row.bytes, need=need)
        name = str(replica.address)
        gate = self._gates.of(name, spec.slots)
        return Target(
            model=row.name,
            engine=EMBEDDED,
            upstream_model=row.name,
            transport=PlainTransport(self._client, replica.address),
            gate=gate,
            health=self._gates.health(gate, name),
            ready=awake.ready,
            awake=awake,
            currency=config.currency,
            digest=row.digest,
            engine_version=replica.engine_version,
            chip=self._chip.id,
            context_tokens=spec.context_tokens,
            created_us=row.pulled_us,
            replica=replica,
            is_own=True,
            id=mark(row.name.encode()),
        )

    def _spec(self, row: ModelRow) -> Spec:
        return spec_of(
            self._config,
            row,
            self._setups.get(row.digest),
            chip=self._chip.id,
            memory_bytes=self._chip.memory_bytes,
        )

    def _follow_setup(self, target: Target, row: ModelRow) -> None:
        """Takes over a setup or a file that was chosen meanwhile: at once where no engine runs."""
        assert target.replica is not None
        spec = self._spec(row)
        if spec == target.replica.spec or row.name in self._changing:
            return
        if target.state in (STOPPED, FAILED):
            self._targets.put_embedded(self._target(row, number=next(self._numbers)))
            self._retire(target)  # a request on its way to it may start it yet
        elif target.state == READY:
            task = asyncio.create_task(self._change(target, row), name=f"change {row.name}")
            self._changing[row.name] = task

    async def _change(self, old: Target, row: ModelRow) -> None:
        """Starts the engine with its new setup beside the old one, then sends requests there.

        No request is lost: those at the old engine end there, and it stays until nobody has been
        at it for a while. Where the new one does not come up, the old one stays.
        """
        new = self._target(row, number=next(self._numbers))
        assert new.replica is not None
        try:
            await new.ready(self._config.first_token_s)
        except BaseException as error:
            await new.replica.stop()
            log.warning("setup_not_taken", model=row.name, reason=str(error))
            if not isinstance(error, HaneulError):
                raise
            await asyncio.sleep(RETRY_CHANGE_S)
        else:
            if self._targets.embedded(row.name) is old:
                new.price, new.upcoming = old.price, old.upcoming
                self._targets.put_embedded(new)
                log.info("setup_taken", model=row.name, setup=new.replica.spec.setup)
                self._retire(old)
            else:  # removed or replaced meanwhile
                await new.replica.stop()
        finally:
            self._changing.pop(row.name, None)

    def _retire(self, target: Target) -> None:
        task = asyncio.create_task(_stop_when_idle(target), name=f"retire {target.model}")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def aclose(self) -> None:
        """Stops following, and the engines that are no target any more."""
        own = [self._follower, *self._changing.values(), *self._retiring]
        running = [task for task in own if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _read(self, connection: Connection) -> tuple[Known, dict[str, Setup]]:
        """What the store says, and what tuning chose, by digest."""
        known = read(connection)
        chip, versions = self._chip.id, axes.versions(self._config.home, self._chip.id)
        found = {
            row.digest: setup_for(connection, row.digest, chip, versions) for row in known.models
        }
        return known, {digest: setup for digest, setup in found.items() if setup is not None}


async def _stop_when_idle(target: Target) -> None:
    """Stops a replaced engine once nobody has been at it for a while; at once when cancelled."""
    assert target.replica is not None
    idle_s = 0.0
    try:
        while idle_s < RETIRE_AFTER_S:
            await asyncio.sleep(RETIRE_LOOK_S)
            is_idle = target.gate.busy.inside == 0 and target.gate.waiting == 0
            idle_s = idle_s + RETIRE_LOOK_S if is_idle else 0.0
    finally:
        await target.replica.stop()


def _price(prices: PriceList, row: ModelRow) -> tuple[PriceRow | None, tuple[PriceRow, ...]]:
    """The price of a model, and those to come; a pinned revision costs what its model does."""
    found, upcoming = prices.of(row.name, EMBEDDED)
    if found is None and not upcoming and row.revision and "@" in row.name:
        return prices.of(row.name.rpartition("@")[0], EMBEDDED)
    return found, upcoming
