"""Runs the sequences of one request side by side, each in a place of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from haneul.engine.kernel import Piece
from haneul.engine.slots import Slots

Start = Callable[[int], AsyncGenerator[Piece, None]]
Emit = Callable[[int, Piece], Awaitable[None]]


async def fan_out(count: int, *, start: Start, emit: Emit, slots: Slots) -> None:
    """Emits every piece of sequences 0 … count-1; the first error ends them all.

    A request stands in line with at most as many sequences as there are places, so that one
    with a hundred choices does not shut the others out.
    """
    if count == 1:
        await _run(0, start, emit, slots)
        return
    indices = iter(range(count))

    async def worker() -> None:
        for index in indices:
            await _run(index, start, emit, slots)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(count, slots.slots)):
                group.create_task(worker())
    except BaseExceptionGroup as failed:
        raise _first(failed) from failed


async def _run(index: int, start: Start, emit: Emit, slots: Slots) -> None:
    async with slots.place(), aclosing(start(index)) as pieces:
        async for piece in pieces:
            await emit(index, piece)


def _first(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    error = failed.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
