"""Places in the kernel: so many sequences at a time, and a bounded line before them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from haneul.base.errors import Overloaded

RETRY_AFTER_S = 2


class Slots:
    """First come, first served. A request of several sequences stands in line for each."""

    def __init__(self, *, slots: int, queue_max: int, wait_s: float) -> None:
        self.slots = slots
        self.queue_max = queue_max
        self.requests = self.waiting = self.running = 0
        self.kernel_orders = False  # then `running` also counts those that wait in the kernel
        self.idle = asyncio.Event()  # set while no request is in
        self.idle.set()
        self._wait_s = wait_s
        self._free = asyncio.Semaphore(slots)

    def leave_order_to_kernel(self) -> None:
        """Lets the whole line through: a kernel with a scheduler of its own knows better."""
        self.kernel_orders = True
        for _ in range(self.queue_max):
            self._free.release()

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Lets one request in. Raises Overloaded when the line is full."""
        if self.requests >= self.slots + self.queue_max:
            raise Overloaded(retry_after_s=RETRY_AFTER_S)
        self.requests += 1
        self.idle.clear()
        try:
            yield
        finally:
            self.requests -= 1
            if not self.requests:
                self.idle.set()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Holds a place for one sequence. Raises Overloaded when none came free in time."""
        self.waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError as cause:
            raise Overloaded(retry_after_s=RETRY_AFTER_S) from cause
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._free.release()
