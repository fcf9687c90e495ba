"""What one owner has spent and has reserved, by period, and how fast it goes on.

A window is one period of one owner: a day, a week, a month or all time. A request takes from the
windows of the day it was received on and settles in the same ones, so that midnight moves nothing
from one period to another. Windows are where the sums of a cloud live: several processes that share
one budget would keep theirs in shared memory behind the same four fields.
"""

from __future__ import annotations

from collections.abc import Callable

from haneul.services.periods import starts

MINUTE_S = 60.0


class Rate:
    """A bucket of `per_minute` that refills evenly; a reservation beyond it is refused."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self.level = float(per_minute)  # may be below 0: what is owed; as it was at the last look
        self._at = clock()

    @property
    def remaining(self) -> int:
        """Whole units that can be taken now."""
        return max(0, int(self._refill()))

    def change(self, per_minute: int) -> None:
        """Holds a new limit: what was used already is used under it too."""
        self._refill()
        self.level += per_minute - self.per_minute
        self.per_minute = per_minute

    def wait_s(self, amount: int) -> float:
        """Seconds until the amount is there; 0 now. More than a minute's worth waits for full."""
        full = self.per_minute
        missing = (amount if amount < full else full) - self._refill()
        return missing * MINUTE_S / full if missing > 0 else 0.0

    def told(self) -> tuple[int, float]:
        """`remaining`, and the seconds until it is full again."""
        level, full = self._refill(), self.per_minute
        return (int(level) if level > 0 else 0, (full - level) * MINUTE_S / full)

    def take(self, amount: int) -> None:
        """Takes it, below zero if need be: what was used beyond a reservation is owed.

        What comes back is cut off at the brim by the next refill, which gives the same level.
        """
        if amount > 0:
            self._refill()
        self.level -= amount

    def _refill(self) -> float:
        """The level as it is now."""
        now, full = self._clock(), self.per_minute
        level = self.level + (now - self._at) * full / MINUTE_S
        self._at = now
        if level > full:
            level = float(full)
        self.level = level
        return level


class Window:
    """One period of one owner, in nano-units."""

    __slots__ = ("reserved", "spent")

    def __init__(self) -> None:
        self.spent = 0
        self.reserved = 0


class Purse:
    """All windows and rates of one owner."""

    def __init__(
        self, day: int, *, before_nano: int = 0, days: list[tuple[int, int]] | None = None
    ) -> None:
        """`days` holds what was spent on each day from `since(day)` on."""
        self.day = day  # the newest that was asked for
        self.running = 0  # requests
        self._first = day - 1  # the oldest that a late request can still belong to
        self._rates: dict[str, Rate] = {}
        self._known: dict[tuple[int, int], Window] = {}
        self._current = self._open(day)
        self._current[0].spent = before_nano
        for spent_on, nano in days or []:
            for window in self._open(spent_on):
                window.spent += nano

    @property
    def total(self) -> Window:
        """Of all time."""
        return self._current[0]

    def windows(self, day: int) -> tuple[Window, ...]:
        """Those of a day, in the order of PERIODS; a day long past counts as yesterday."""
        if day == self.day:
            return self._current
        if day < self.day:
            return self._open(max(day, self._first))
        self.day, self._first = day, max(self._first, day - 1)
        oldest = since(day)
        self._known = {
            place: window for place, window in self._known.items() if not 0 < place[1] < oldest
        }
        self._current = self._open(day)
        return self._current

    def rate(self, measure: str, per_minute: int, clock: Callable[[], float]) -> Rate:
        """The one rate of a measure, at the limit that holds now."""
        found = self._rates.get(measure)
        if found is None:
            found = self._rates[measure] = Rate(per_minute, clock)
        elif found.per_minute != per_minute:
            found.change(per_minute)
        return found

    def _open(self, day: int) -> tuple[Window, ...]:
        places = enumerate(starts(day))
        return tuple(self._known.setdefault(place, Window()) for place in places)


def since(day: int) -> int:
    """The first day that a period of this day or of the one before it began on."""
    return min(starts(day - 1)[1:])
