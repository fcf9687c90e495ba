"""Steps in threads and tasks side by side, none of which outlives its caller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def to_end(step: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Runs a step in a thread and waits for its end, also when the pull is called off meanwhile."""
    running = asyncio.ensure_future(asyncio.to_thread(step, *args, **options))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def together(*steps: Coroutine[Any, Any, None]) -> None:
    """Runs all until they end; the first error calls the others off and is raised as it is."""
    tasks = [asyncio.create_task(step) for step in steps]
    try:
        for done in asyncio.as_completed(tasks):
            await done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
