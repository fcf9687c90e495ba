"""Asks every source at once and hands out their offers, the preferred ones first.

Whoever answers first is taken; when several have answered by then, the earlier in the list. A
preferred source still on its way gets a moment's grace. The others go on answering meanwhile, so
that the next is at hand if the chosen one fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from typing import Any

from haneul.base.errors import HaneulError
from haneul.models.sources.offer import Offer

GRACE_S = 0.25


async def offers(
    asks: Sequence[Coroutine[Any, Any, Offer]], failures: list[HaneulError]
) -> AsyncGenerator[Offer, None]:
    """Yields each source's offer; what the others failed with is added to failures.

    Close the iterator (contextlib.aclosing) to call off the questions still open.
    """
    tasks = [asyncio.create_task(ask) for ask in asks]
    try:
        while tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not tasks[0].done():
                await asyncio.wait(tasks[:1], timeout=GRACE_S)
            task = next(task for task in tasks if task.done())
            tasks.remove(task)
            try:
                offer = task.result()
            except HaneulError as failure:
                failures.append(failure)
                continue
            yield offer
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
