"""How far a pull is: at most ten reports a second, a rate over the last seconds, what remains."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

REPORT_S = 0.1
WINDOW_S = 5.0

Stage = Literal["asking", "waiting", "downloading", "unpacking", "checking", "ready"]


class Progress(Struct, frozen=True, kw_only=True):
    """One report. Bytes are those to be fetched; None is unknown."""

    stage: Stage
    source: str = ""
    done_bytes: int = 0
    total_bytes: int | None = None
    rate_bytes_s: float | None = None
    remaining_s: float | None = None


OnProgress = Callable[[Progress], None]
OnBytes = Callable[[int, int | None], None]  # bytes so far, bytes in all if known


class Meter:
    """Turns byte counts into reports. A change of stage is always reported, bytes now and then."""

    def __init__(
        self, report: OnProgress | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report = report
        self._clock = clock
        self._marks: deque[tuple[float, int]] = deque()
        self._reported_at = -REPORT_S
        self._held: Progress | None = None
        self._last = Progress(stage="asking", source="nobody yet")

    def stage(self, stage: Stage, source: str = "") -> None:
        """Reports that another stage has begun."""
        self._flush()
        self._marks.clear()
        if (self._last.stage, self._last.source) == (stage, source):
            return
        if self._last.source == source:  # how far it had come stays on show
            self._send(
                Progress(
                    stage=stage,
                    source=source,
                    done_bytes=self._last.done_bytes,
                    total_bytes=self._last.total_bytes,
                )
            )
        else:
            self._send(Progress(stage=stage, source=source))

    def bytes(self, source: str, done_bytes: int, total_bytes: int | None) -> None:
        """Notes how much has come; reports it unless a report was just made."""
        now = self._clock()
        if self._marks and done_bytes < self._marks[-1][1]:
            self._marks.clear()  # it began again
        self._marks.append((now, done_bytes))
        while len(self._marks) > 2 and now - self._marks[0][0] > WINDOW_S:
            self._marks.popleft()
        rate = self._rate()
        is_known = total_bytes is not None and rate
        self._held = Progress(
            stage="downloading",
            source=source,
            done_bytes=done_bytes,
            total_bytes=total_bytes,
            rate_bytes_s=rate,
            remaining_s=((total_bytes or 0) - done_bytes) / rate if is_known and rate else None,
        )
        if now - self._reported_at >= REPORT_S:
            self._flush()

    def _rate(self) -> float | None:
        (start, first), (end, last) = self._marks[0], self._marks[-1]
        return (last - first) / (end - start) if end > start else None

    def _flush(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._send(held)

    def _send(self, progress: Progress) -> None:
        self._reported_at = self._clock()
        self._last = progress
        if self._report is not None:
            self._report(progress)


class Tally:
    """Adds up what has come of the parts of a pull, for one report."""

    def __init__(self, meter: Meter, source: str, sizes: Sequence[int | None]) -> None:
        self._meter, self._source = meter, source
        self._sizes = list(sizes)
        self._done = [0] * len(sizes)
        self._unknown = sum(size is None for size in sizes)
        self._done_bytes, self._total_bytes = 0, sum(size or 0 for size in sizes)

    def of(self, number: int) -> OnBytes:
        """What is told how far one part is."""

        def note(done_bytes: int, total_bytes: int | None) -> None:
            self._note(number, done_bytes, total_bytes)
            self._meter.bytes(
                self._source, self._done_bytes, None if self._unknown else self._total_bytes
            )

        return note

    def finish(self, number: int) -> None:
        """Notes that a part is here."""
        size = self._sizes[number]
        self._note(number, self._done[number] if size is None else size, size)

    def _note(self, number: int, done_bytes: int, total_bytes: int | None) -> None:
        before = self._sizes[number]
        self._unknown += (total_bytes is None) - (before is None)
        self._total_bytes += (total_bytes or 0) - (before or 0)
        self._done_bytes += done_bytes - self._done[number]
        self._sizes[number], self._done[number] = total_bytes, done_bytes
