"""Searches for the best setup of each loaded model at quiet moments, while the cloud runs.

A search begins when nobody has asked anything for a while and ends at once when somebody does; it
goes on later where it was. The first answer of a new model never waits for it.
"""

from __future__ import annotations

import asyncio

from haneul.base import http
from haneul.base.config import Config
from haneul.base.errors import HaneulError
from haneul.base.log import logger
from haneul.chips.chip import Chip
from haneul.services.replica import READY
from haneul.services.targets import Target, Targets
from haneul.services.tune import axes
from haneul.services.tune.kept import Kept, setup_for
from haneul.services.tune.processes import NotQuiet
from haneul.services.tune.tuner import Order, Tuner
from haneul.store import models as model_queries
from haneul.store.database import Database

LOOK_S = 1.0
IDLE_S = 30.0  # that nobody asked anything, before a search begins
STOP_LOOK_S = 0.1
NOT_QUIET_PAUSE_S = 120.0
log = logger("tune")


class Background:
    """Follows the targets; holds the searches that are not finished."""

    def __init__(
        self,
        config: Config,
        *,
        database: Database,
        client: http.Client,
        targets: Targets,
        chip: Chip,
        idle_s: float = IDLE_S,
        order: Order | None = None,
    ) -> None:
        self._config = config
        self._database = database
        self._client = client
        self._targets = targets
        self._chip = chip
        self._idle_s = idle_s
        self._order = order or Order()
        self._begun: dict[str, Tuner] = {}  # by digest
        self._done: set[tuple[str, str]] = set()  # digests and versions
        self._watcher: asyncio.Task[None] | None = None

    def open(self) -> None:
        """From now on models are tuned, where the configuration lets them."""
        if self._config.tune:
            self._watcher = asyncio.create_task(self._watch(), name="tuning")

    async def aclose(self) -> None:
        """Stops watching, and a search that runs."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await self._until_idle()
            for target in self._targets.every():
                if target.replica and target.state == READY and not self._is_asked():
                    await self._consider(target)

    async def _until_idle(self) -> None:
        """Returns when nobody has asked anything for a while."""
        idle_s = 0.0
        used = self._used_s()
        while idle_s < self._idle_s:
            await asyncio.sleep(min(LOOK_S, self._idle_s))
            now = self._used_s()
            is_idle = now == used and not self._is_asked()
            idle_s, used = (idle_s + LOOK_S if is_idle else 0.0), now

    async def _consider(self, target: Target) -> None:
        """Searches for a model that has no setup yet for this chip and these versions."""
        digest = target.digest or ""
        versions = await asyncio.to_thread(axes.versions, self._config.home, self._chip.id)
        if (digest, versions) in self._done:
            return
        try:
            known = await self._database.ask(setup_for, digest, self._chip.id, versions)
            if known is None and not await self._search(target, digest):
                return
            self._done.add((digest, versions))
            self._begun.pop(digest, None)
        except NotQuiet as error:
            log.info("not_tuned_yet", model=target.model, reason=error.message)
            await asyncio.sleep(NOT_QUIET_PAUSE_S)
        except (HaneulError, OSError, TimeoutError) as error:
            self._done.add((digest, versions))
            log.warning("not_tuned", model=target.model, reason=str(error))

    async def _search(self, target: Target, digest: str) -> Kept | None:
        """What was found; None when somebody asked something meanwhile."""
        row = await self._database.ask(model_queries.get, target.model)
        if row is None or row.digest != digest:
            return None
        tuner = self._begun.get(digest)
        if tuner is None:
            tuner = Tuner(
                self._config,
                row,
                self._chip,
                database=self._database,
                client=self._client,
                order=self._order,
            )
            self._begun[digest] = tuner
        running = asyncio.create_task(tuner.run(), name=f"tune {target.model}")
        try:
            while not running.done() and not self._is_asked():
                await asyncio.wait([running], timeout=STOP_LOOK_S)
            return running.result() if running.done() else None
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def _embedded(self) -> list[Target]:
        return [target for target in self._targets.every() if target.replica]

    def _is_asked(self) -> bool:
        return any(one.gate.busy.inside or one.gate.waiting for one in self._embedded())

    def _used_s(self) -> float:
        return sum(one.gate.busy.busy_s for one in self._embedded())
