"""Whether one more engine may be asked after one has failed, and which engines are let rest.

Retries can bring down what is only slow: so each key may have a tenth of its calls made again, and
all keys together a tenth of theirs, beside a small stock that fills with time. An engine that says
it has too much to do, or cannot be reached, rests for as long as it asks; one that breaks answer
after answer, or gives none, rests too, but one broken answer may be its request's own fault. To
rest is to be asked last: an engine without another beside it is always asked, so nobody's failures
close a model.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from haneul.base.errors import DeadlineExceeded, EngineFailed, HaneulError
from haneul.base.http import Disconnected

SHARE = 0.1  # of calls, that may be made again
REST_S = 1.0  # of an engine that does not say how long
REST_MAX_S = 60.0
BREAKS_MAX = 3  # broken answers, one after another, that may each be their request's own fault
REMEMBERED_MAX = 10_000


class Stock(NamedTuple):
    """Retries that may be made at once, and how many more with each second."""

    most: float
    per_s: float


OF_A_KEY = Stock(10, 0.2)
OF_ALL = Stock(100, 5)


class Named(Protocol):
    """A target, as far as it is known here."""

    model: str


T = TypeVar("T", bound=Named)


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
        self._left = min(self._stock.most, self._left + SHARE)

    @property
    def left(self) -> float:
        now = self._clock()
        gained = (now - self._at) * self._stock.per_s
        self._left, self._at = min(self._stock.most, self._left + gained), now
        return self._left

    def take(self) -> None:
        self._left -= 1


class Rest(NamedTuple):
    """How an engine has done lately."""

    until: float = 0.0
    breaks: int = 0  # one after another


class Retries:
    """The allowance of each key and of all, and the engines that rest."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._all = Allowance(OF_ALL, clock)
        self._keys: OrderedDict[str, Allowance] = OrderedDict()
        self._rests: OrderedDict[str, Rest] = OrderedDict()

    def order(self, targets: Sequence[T]) -> Sequence[T]:
        """The same targets, those that rest last, the first to end its rest before the others."""
        if not self._rests or len(targets) == 1:
            return targets
        now = self._clock()
        none = Rest()
        return sorted(targets, key=lambda each: max(now, self._rests.get(each.model, none).until))

    def called(self, key_id: str) -> None:
        """A request has come, whose first call is now made."""
        self._all.called()
        self._of(key_id).called()

    def take(self, key_id: str) -> bool:
        """Whether the request of this key may be tried once more; then that is counted."""
        own = self._of(key_id)
        if own.left < 1 or self._all.left < 1:
            return False
        own.take()
        self._all.take()
        return True

    def worked(self, target: Named) -> None:
        """The engine has answered."""
        if self._rests:
            self._rests.pop(target.model, None)

    def failed(self, target: Named, error: HaneulError) -> None:
        """The engine has not."""
        before = self._rests.pop(target.model, None) or Rest()
        rest_s, breaks = min(error.retry_after_s or REST_S, REST_MAX_S), before.breaks
        if isinstance(error, EngineFailed | Disconnected | DeadlineExceeded):
            breaks += 1
            rest_s = min(REST_S * 2 ** (breaks - BREAKS_MAX), REST_MAX_S)
            rest_s = rest_s if breaks >= BREAKS_MAX else 0.0
        until = max(before.until, self._clock() + rest_s)
        self._rests[target.model] = Rest(until, min(breaks, 64))
        if len(self._rests) > REMEMBERED_MAX:
            self._rests.popitem(last=False)

    def _of(self, key_id: str) -> Allowance:
        found = self._keys.get(key_id)
        if found is None:
            found = self._keys[key_id] = Allowance(OF_A_KEY, self._clock)
            if len(self._keys) > REMEMBERED_MAX:
                self._keys.popitem(last=False)
        return found
