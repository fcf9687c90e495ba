"""Which bytes of a file are held, and which connection fetches which of the rest.

What is missing is handed out from the front, so that the file can be hashed in order close behind.
A connection that has nothing left to do takes over half of what the slowest still has before it,
and all of it from one that has fallen silent. No byte is ever given to two at a time.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

SHARE_BYTES = 1 << 20  # the least that is worth a request of its own
SHARE_S = 4.0  # or what would take the other this long
SILENT_S = 3.0  # then a connection's work is given to another


class Held:
    """Bytes of a file as ranges [start, end) that neither touch nor overlap, in order."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(list(zip(self._starts, self._ends, strict=True)))

    def add(self, start: int, end: int) -> None:
        """Adds a range, joined to those that it touches. Raises ValueError for a turned one."""
        if not 0 <= start <= end:
            raise ValueError(f"{start} to {end} is no range of bytes")
        if start == end:
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    @property
    def head(self) -> int:
        """Bytes that are held without a gap from the first one on."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    @property
    def bytes(self) -> int:
        """How many are held."""
        return sum(self._ends) - sum(self._starts)

    def gaps(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """What is missing between start and end."""
        at = start
        for low, high in self:
            if high <= at:
                continue
            if low >= end:
                break
            if at < low:
                yield at, low
            at = high
        if at < end:
            yield at, end


class Span:
    """What one connection fetches: from `position`, which moves, to `end`, which may too."""

    def __init__(self, start: int, end: int | None, *, now_s: float) -> None:
        self.start = self.position = start
        self.end = end  # None: as far as the file goes
        self.began_s = self.moved_s = now_s
        self.patience_s = SILENT_S
        self.clock: asyncio.Timeout | None = None
        self.is_taken = self.is_writing = False

    def move(self, count: int, now_s: float) -> None:
        """Notes that the next bytes came."""
        self.position += count
        self.moved_s = now_s
        self.patience_s = SILENT_S

    def is_silent(self, now_s: float) -> bool:
        """Whether its server has sent nothing for long; a slow disk is not its fault."""
        is_waiting = not (self.is_taken or self.is_writing)
        return is_waiting and now_s - self.moved_s >= self.patience_s

    def remaining_s(self, now_s: float) -> float:
        """Seconds that the rest takes at the speed so far; for ever before the first byte."""
        done = self.position - self.start
        left = 0 if self.end is None else self.end - self.position
        return left * (now_s - self.began_s) / done if done else float("inf")

    def let_go(self, now_s: float) -> None:
        """Ends the connection's wait at once: somebody else fetches the rest."""
        self.is_taken = True
        if self.clock is not None:
            self.clock.reschedule(now_s)


class Plan:
    """Hands the missing bytes of one file out."""

    def __init__(self, held: Held, total_bytes: int | None) -> None:
        self.held = held
        self.total_bytes = total_bytes
        self.running: list[Span] = []

    @property
    def is_whole(self) -> bool:
        """Whether every byte is held."""
        return self.total_bytes is not None and self.held.head >= self.total_bytes

    @property
    def missing_bytes(self) -> int:
        """Bytes that are not held; 0 while the length is unknown."""
        return (self.total_bytes or self.held.bytes) - self.held.bytes

    def rest(self, start: int, now_s: float) -> Span | None:
        """All from start on for one connection, while no other is at work."""
        return None if self.running else self._begin(start, self.total_bytes, now_s)

    def take(self, most_bytes: int, now_s: float, *, shared_by: int) -> Span | None:
        """The first bytes that nobody fetches; less of them when many share what is left."""
        if self.total_bytes is None:
            return None if self.running else self._begin(self.held.head, None, now_s)
        taken = Held(self.held)
        for span in self.running:
            taken.add(span.start, self.total_bytes if span.end is None else span.end)
        free = list(taken.gaps(0, self.total_bytes))
        if not free:
            return None
        left = sum(end - start for start, end in free)
        most_bytes = min(most_bytes, max(SHARE_BYTES, left // (2 * shared_by)))
        start, end = free[0]
        if end - start - most_bytes < SHARE_BYTES and end - start <= 2 * most_bytes:
            return self._begin(start, end, now_s)  # no crumbs
        return self._begin(start, start + most_bytes, now_s)

    def share(self, now_s: float) -> Span | None:
        """What is taken over from the connection that would be the last to end."""
        ahead = [span for span in self.running if span.end is not None and not span.is_taken]
        for span in ahead:
            if span.is_silent(now_s) and span.position < (span.end or 0):
                return self._split(span, span.position, now_s)
        begun = [span for span in ahead if span.position > span.start]
        slow = max(begun, key=lambda span: span.remaining_s(now_s), default=None)
        if slow is None or slow.end is None:
            return None
        left = slow.end - slow.position
        is_long = left > 1 and slow.remaining_s(now_s) > 2 * SHARE_S
        if left < 2 * SHARE_BYTES and not is_long:
            return None
        return self._split(slow, slow.position + (left + 1) // 2, now_s)

    def drop(self, span: Span) -> None:
        """A connection has ended; what it did not bring is free again."""
        self.running.remove(span)

    def _split(self, slow: Span, at: int, now_s: float) -> Span:
        """Gives what is behind `at` to another; a connection left with nothing need not wait."""
        span = self._begin(at, slow.end, now_s)
        slow.end = at
        if at == slow.position:
            slow.let_go(now_s)
        return span

    def _begin(self, start: int, end: int | None, now_s: float) -> Span:
        span = Span(start, end, now_s=now_s)
        self.running.append(span)
        return span
