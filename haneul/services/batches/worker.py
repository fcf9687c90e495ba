"""Runs every batch that has not ended, from the start of the cloud to its end."""

from __future__ import annotations

import asyncio
from collections import Counter

from haneul.base.errors import HaneulError
from haneul.base.log import logger
from haneul.base.units import HOUR_US, now_us
from haneul.services.batches.batch import Batch, Tools
from haneul.services.batches.states import OPEN
from haneul.store import batches as queries
from haneul.store.batches import BatchRow

LOOK_S = 2.0
ACTIVE_MAX = 32  # batches that run at a time
OF_A_KEY_MAX = 4
log = logger("batches")


class Worker:
    """The batches under way."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._running: dict[str, tuple[str, asyncio.Task[None]]] = {}  # key and task, by batch
        self._cancelled: set[str] = set()
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._follow(), name="batches")

    def wake(self) -> None:
        """There is a new batch."""
        self._news.set()

    def cancel(self, batch_id: str) -> None:
        """No further line of the batch is begun; the store says so already."""
        self._cancelled.add(batch_id)
        self._news.set()

    async def _follow(self) -> None:
        while True:
            try:
                await self._start(await self._tools.database.ask(queries.in_states, OPEN))
            except HaneulError as error:
                log.warning("batches_not_read", reason=error.message)
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()

    async def _start(self, rows: list[BatchRow]) -> None:
        """Starts what does not run yet, the oldest first, so many of each key."""
        self._running = {
            batch_id: (key_id, task)
            for batch_id, (key_id, task) in self._running.items()
            if not task.done()
        }
        of_key = Counter(key_id for key_id, _ in self._running.values())
        for row in rows:
            if row.state == "cancelling":
                self._cancelled.add(row.id)
            is_full = len(self._running) >= ACTIVE_MAX or of_key[row.key_id] >= OF_A_KEY_MAX
            if row.id not in self._running and not is_full:
                task = asyncio.create_task(self._run(row), name=row.id)
                self._running[row.id] = (row.key_id, task)
                of_key[row.key_id] += 1

    async def _run(self, row: BatchRow) -> None:
        """One batch; what fails is tried again at the next look."""
        try:
            # What was read of it may be older than its end.
            now = await self._tools.database.ask(queries.of_id, row.id)
            if now.state in OPEN:
                await Batch(self._tools, now, lambda: row.id in self._cancelled).run()
        except Exception:  # the other batches go on
            log.exception("batch_interrupted", batch=row.id)
        else:
            self._cancelled.discard(row.id)
            self._news.set()

    async def forget(self) -> None:
        """Deletes the batches that ended so many days ago."""
        before_us = now_us() - self._tools.days * 24 * HOUR_US
        if count := await self._tools.database.call(queries.remove_ended, before_us):
            log.info("batches_forgotten", count=count)

    async def aclose(self) -> None:
        """Stops in order; what runs costs nothing and is run again at the next start."""
        tasks = [self._task, *(task for _, task in self._running.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
