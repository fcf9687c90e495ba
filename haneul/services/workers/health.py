"""A target's health as all workers know it: in its gate's row of the shared file.

What one worker learns by a request, the others need not learn by requests of theirs: an engine that
is away sees one probe, and one that asks to be left alone is left alone.
"""

from __future__ import annotations

from hashlib import blake2b

from haneul.services.health import Health
from haneul.services.workers.places import BILLION, HEALTH, Row

# words of a row, from HEALTH on: whose health it is, and what is known of it
OF, FAILURES, PAUSED, PROBED, RESTS = range(HEALTH, HEALTH + 5)


class SharedHealth(Health):
    """The same questions as to `Health`; the clock that is asked by is the machine's own."""

    __slots__ = ("_row",)

    def __init__(self, row: Row, of: str) -> None:
        self._row = row
        mark = int.from_bytes(blake2b(of.encode(), digest_size=7).digest())
        with row.places:
            if row.get(OF) != mark:  # another engine stands there now
                for word in (FAILURES, PAUSED, PROBED, RESTS):
                    row.set(word, 0)
                row.set(OF, mark)

    @property
    def failures(self) -> int:
        return self._row.get(FAILURES)

    @failures.setter
    def failures(self, count: int) -> None:
        self._row.set(FAILURES, count)

    @property
    def paused_until(self) -> float:
        return self._row.get(PAUSED) / BILLION

    @paused_until.setter
    def paused_until(self, at_s: float) -> None:
        self._row.set(PAUSED, round(at_s * BILLION))

    @property
    def probed_until(self) -> float:
        return self._row.get(PROBED) / BILLION

    @probed_until.setter
    def probed_until(self, at_s: float) -> None:
        self._row.set(PROBED, round(at_s * BILLION))

    @property
    def rests_until(self) -> float:
        return self._row.get(RESTS) / BILLION

    @rests_until.setter
    def rests_until(self, at_s: float) -> None:
        self._row.set(RESTS, round(at_s * BILLION))

    def rest(self, now: float, *, retry_after_s: float | None, chance: float) -> None:
        with self._row.places:
            super().rest(now, retry_after_s=retry_after_s, chance=chance)

    def failed(
        self, now: float, *, retry_after_s: float | None, chance: float, is_broken: bool = False
    ) -> None:
        with self._row.places:
            super().failed(now, retry_after_s=retry_after_s, chance=chance, is_broken=is_broken)

    def heard(self) -> None:
        if self._row.get(PROBED):
            super().heard()

    def worked(self) -> None:
        if self._row.get(FAILURES):
            super().worked()
