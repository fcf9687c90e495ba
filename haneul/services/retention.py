"""What is kept for a time is forgotten after it: at the start, and every hour."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from haneul.base.errors import HaneulError
from haneul.base.log import logger

EVERY_S = 3600.0
log = logger("retention")


class Retention:
    """Calls each of its forgetters in turn until it is closed; one that fails is tried again."""

    def __init__(self, forgetters: Sequence[Callable[[], Awaitable[None]]]) -> None:
        self._forgetters = forgetters
        self._task = asyncio.create_task(self._run(), name="retention")

    async def _run(self) -> None:
        while True:
            for forget in self._forgetters:
                try:
                    await forget()
                except (HaneulError, OSError) as error:
                    log.warning("not_forgotten_yet", reason=str(error))
            await asyncio.sleep(EVERY_S)

    async def aclose(self) -> None:
        """Stops forgetting."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
