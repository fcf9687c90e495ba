"""A call whose answer moves has its whole time again, seen once in a sweep."""

from __future__ import annotations

import asyncio
import time

from haneul.base.errors import DeadlineExceeded
from haneul.services.call import Call
from haneul.services.openai import OpenAIErrors


def call_of(line=None):
    return Call(
        line,
        OpenAIErrors(),
        method="POST",
        path="/",
        query="",
        headers={},
        repeated=set(),
        is_local=False,
    )


async def waiting(call):
    """The call, in a task that waits for nothing."""
    ready = asyncio.Event()

    async def answer(_):
        ready.set()
        await asyncio.Event().wait()

    call.start(answer)
    await ready.wait()


class Line:
    def abort(self):
        """Nobody is there."""

    def ended(self):
        """As above."""


async def test_a_piece_since_the_last_sweep_gives_the_whole_time_anew():
    call = call_of(Line())
    await waiting(call)
    call.within(10)
    late = time.monotonic() + 11
    call.has_moved = True
    call.check(late)
    assert call.expired is None, "it moved, though nobody noted when"
    call.check(late + 9)
    assert call.expired is None
    call.check(late + 11)
    assert isinstance(call.expired, DeadlineExceeded)


async def test_who_keeps_a_page_is_called_by_a_sweep_only_after_a_piece():
    call, seen = call_of(Line()), []
    await waiting(call)
    call.within(10)
    call.at_sweep = lambda: seen.append(1)
    now = time.monotonic()
    call.check(now)
    assert seen == []
    call.has_moved = True
    call.check(now)
    call.check(now)
    assert seen == [1]
    call.stop()
