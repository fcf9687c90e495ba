"""Keeps a worker's targets in step: embedded ones with the first process, others with the store."""

from __future__ import annotations

import asyncio

from haneul.base.config import Config
from haneul.base.log import logger
from haneul.services.gate import Gates
from haneul.services.known import FOLLOW_S, read
from haneul.services.remotes import Remotes
from haneul.services.targets import Targets
from haneul.services.workers.embedded import Followed
from haneul.store.database import Database

log = logger("workers")


class Follower:
    """What a roster is to the first process; it starts no engine."""

    def __init__(
        self,
        config: Config,
        *,
        database: Database,
        targets: Targets,
        gates: Gates,
        embedded: Followed,
    ) -> None:
        self._database = database
        self._targets = targets
        self._remotes = Remotes(config, gates)
        self._embedded = embedded
        self._refreshing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def follow(self) -> None:
        """Brings the targets up to date now, and every two seconds from now on."""
        await self.refresh()
        self._task = asyncio.create_task(self._follow(), name="follower")

    async def refresh(self) -> None:
        """Brings the targets up to date."""
        async with self._refreshing:
            known = await self._database.ask(read)
            self._embedded.follow(await self._embedded.ask())
            self._targets.set_remote(
                known.engines,
                lambda row, model: known.prices.of(model, row.name),
                self._remotes.make,
            )
            self._targets.set_routes(known.routes)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(FOLLOW_S)
            try:
                await self.refresh()
            except Exception:  # a store that fails for a while must not end the following
                log.exception("refresh_failed")

    async def aclose(self) -> None:
        """Stops following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
