"""Whether one more engine may be asked after one has failed.

Retries can bring down what is only slow: so each key may have a tenth of its calls made again, and
all keys together a tenth of theirs, beside a small stock that fills with time; of several processes
each has its part of the stock. Who is asked next is
the router's order, by what `health` knows of each target.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

SHARE = 0.1  # of calls, that may be made again
REMEMBERED_MAX = 10_000


class Stock(NamedTuple):
    """Retries that may be made at once, and how many more with each second."""

    most: float
    per_s: float

    def part(self, processes: int) -> Stock:
        """One process's part of it, with which something can be done."""
        return Stock(max(1.0, self.most / processes), self.per_s / processes)


OF_A_KEY = Stock(20, 0.2)  # as many as wait at one embedded engine that dies, and some
OF_ALL = Stock(100, 5)


class Allowance:
    """Retries that are left: at most the stock, its filling and a tenth of the calls."""

    __slots__ = ("_at", "_clock", "_left", "_stock")

    def __init__(self, stock: Stock, clock: Callable[[], float]) -> None:
        self._stock = stock
        self._clock = clock
        self._left = stock.most
        self._at = clock()

    def called(self) -> None:
        """A call has been made for the first time."""
        if (left := self._left) < (most := self._stock.most):
            self._left = min(most, left + SHARE)

    @property
    def left(self) -> float:
        now = self._clock()
        gained = (now - self._at) * self._stock.per_s
        self._left, self._at = min(self._stock.most, self._left + gained), now
        return self._left

    def take(self) -> None:
        self._left -= 1


class Retries:
    """The allowance of each key and of all."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        of_a_key: Stock = OF_A_KEY,
        of_all: Stock = OF_ALL,
        processes: int = 1,
    ) -> None:
        self._clock = clock
        self._of_a_key = of_a_key.part(processes)
        self._all = Allowance(of_all.part(processes), clock)
        self._keys: OrderedDict[str, Allowance] = OrderedDict()

    def called(self, key_id: str) -> None:
        """A request has come, whose first call is now made."""
        self._all.called()
        (self._keys.get(key_id) or self._of(key_id)).called()

    def take(self, key_id: str) -> bool:
        """Whether the request of this key may be tried once more; then that is counted."""
        own = self._of(key_id)
        if own.left < 1 or self._all.left < 1:
            return False
        own.take()
        self._all.take()
        return True

    def _of(self, key_id: str) -> Allowance:
        found = self._keys.get(key_id)
        if found is None:
            found = self._keys[key_id] = Allowance(self._of_a_key, self._clock)
            if len(self._keys) > REMEMBERED_MAX:
                self._keys.popitem(last=False)
        return found
