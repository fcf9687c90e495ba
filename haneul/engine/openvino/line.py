"""Who comes next: by priority, with age; between owners, whoever had the least."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct

from haneul.base.errors import Overloaded
from haneul.engine.worker.job import Job

AGING_S = 10.0  # after so long a job ranks as one of the next priority
LINE_MAX = 1024
OWNERS_MAX = 4096


class Waiting(Struct, kw_only=True, eq=False):
    """A job that has no place yet."""

    number: int
    job: Job
    prompt: list[int]
    since: float


class Line:
    """The jobs that wait for a place, and how many tokens each owner has had."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[int, Waiting] = {}
        self._had: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, number: int, job: Job, prompt: list[int]) -> None:
        """Raises Overloaded when the line is full."""
        if len(self._waiting) >= LINE_MAX:
            raise Overloaded(retry_after_s=5)
        if job.owner not in self._had:
            self._join(job.owner)
        self._waiting[number] = Waiting(number=number, job=job, prompt=prompt, since=self._clock())

    def remove(self, number: int) -> None:
        self._waiting.pop(number, None)

    def next(self) -> Waiting | None:
        """Takes the first out of the line."""
        if not self._waiting:
            return None
        now = self._clock()
        first = min(self._waiting.values(), key=lambda one: self._rank(one, now))
        return self._waiting.pop(first.number)

    def had(self, owner: str, tokens: int) -> None:
        """An owner was given work worth so many tokens."""
        self._had[owner] = self._had.get(owner, 0.0) + tokens

    def _rank(self, one: Waiting, now: float) -> tuple[float, float, float]:
        waited = int((now - one.since) / AGING_S)
        return (one.job.priority - waited, self._had[one.job.owner], one.since)

    def _join(self, owner: str) -> None:
        """A newcomer starts level with whoever of those in line had the least, not before all."""
        if len(self._had) >= OWNERS_MAX:
            waiting = {one.job.owner for one in self._waiting.values()}
            self._had = {name: had for name, had in self._had.items() if name in waiting}
        there = [self._had[one.job.owner] for one in self._waiting.values()]
        self._had[owner] = min(there, default=0.0)
