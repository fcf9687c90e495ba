"""Who took what: gathered here and written together, so that a crowd of pulls is one commit."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from haneul.base.errors import HaneulError
from haneul.base.log import logger
from haneul.base.units import now_us
from haneul.services.keys import Key
from haneul.services.periods import day_of
from haneul.store import shelf
from haneul.store.database import Database
from haneul.store.shelf import PullRow

EVERY_S = 2.0
log = logger("hub")


class Counts:
    """Pulls and bytes by model, key and day. A pull is a file of weights, from its first byte."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pulls: defaultdict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0, 0])
        self._writer: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    def add(self, key: Key, model: str, *, pulls: int, size: int) -> None:
        """Counts; written within two seconds."""
        sums = self._pulls[model, key.id, day_of(now_us())]
        sums[0] += pulls
        sums[1] += size
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._later(), name="pulls")

    async def _later(self) -> None:
        await asyncio.sleep(EVERY_S)
        while self._pulls:
            await self.flush()
            await asyncio.sleep(EVERY_S)

    async def flush(self) -> None:
        """Writes what was counted; what cannot be written now is kept for later."""
        async with self._lock:
            found, self._pulls = self._pulls, defaultdict(lambda: [0, 0])
            rows = [
                PullRow(model=model, key_id=key_id, day=day, pulls=pulls, bytes=size)
                for (model, key_id, day), (pulls, size) in found.items()
            ]
            try:
                if rows:
                    await self._database.call(shelf.count, rows)
            except HaneulError as error:
                log.warning("pulls_not_written", reason=error.message)
                for place, (pulls, size) in found.items():
                    self._pulls[place][0] += pulls
                    self._pulls[place][1] += size

    async def aclose(self) -> None:
        """Writes the rest."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        await self.flush()
