"""When a line of a batch may go: only where nobody waits, and a place stays free for whoever comes.

Batches share a number of places; each engine besides keeps one of its own places from them, if it
has more than one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from haneul.base.errors import HaneulError
from haneul.services.chat import Gateway
from haneul.services.gate import Gate
from haneul.services.keys import Key

LOOK_S = 0.05


class Room:
    """The places of batches."""

    def __init__(self, gateway: Gateway, at_once: int) -> None:
        self._gateway = gateway
        self._places = asyncio.Semaphore(at_once)
        self._mine: Counter[int] = Counter()  # lines under way, by their engine's gate

    @asynccontextmanager
    async def place(self, key: Key, model: str) -> AsyncIterator[None]:
        """Waits for a place at the model's engine, and gives it back."""
        while True:
            gate = self._gate(key, model)
            while gate is not None and not self._is_free(gate):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_S)
            await self._places.acquire()
            if gate is None or self._is_free(gate):
                break
            self._places.release()
        self._mine[id(gate)] += 1
        try:
            yield
        finally:
            self._mine[id(gate)] -= 1
            self._places.release()

    def _gate(self, key: Key, model: str) -> Gate | None:
        """None where the path will refuse the request before any engine."""
        try:
            return self._gateway.find(key, model)[0].gate
        except HaneulError:
            return None

    def _is_free(self, gate: Gate) -> bool:
        """Whether nobody waits there, and not all places but one are taken or about to be."""
        most = max(1, gate.inside_max - 1)
        return not gate.waiting and max(gate.busy.inside, self._mine[id(gate)]) < most
