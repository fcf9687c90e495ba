"""A run as a bar where somebody watches, as a line now and then where nobody does."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from haneul.base.units import show_duration
from haneul.quality.run import Job
from haneul.store.evals import ResultRow

LINE_EVERY_S = 15.0


class EvalProgress:
    """Counts results as they come, those that were known before apart."""

    def __init__(self, out: Console, total: int, *, is_quiet: bool) -> None:
        self._out = out
        self._is_quiet = is_quiet
        self._total = total
        self._done = self._known = self._unanswered = 0
        self._began = self._line_at = time.monotonic()
        self._bar = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=out,
            transient=True,
            disable=is_quiet or not out.is_terminal,
        )
        self._task = self._bar.add_task("asking", total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        if not self._is_quiet:
            self._out.print(f"  [dim]{self._said()}[/]")

    def report(self, job: Job, row: ResultRow, was_known: bool) -> None:
        """Counts one result."""
        self._done += 1
        self._known += was_known
        self._unanswered += row.state == "unanswered"
        self._bar.update(self._task, completed=self._done, description=job.subject.model)
        is_watched = self._out.is_terminal or self._is_quiet
        if not is_watched and time.monotonic() - self._line_at >= LINE_EVERY_S:
            self._line_at = time.monotonic()
            self._out.print(f"  [dim]{self._said()}[/]")

    def _said(self) -> str:
        since = show_duration(time.monotonic() - self._began)
        lost = f", {self._unanswered} without an answer" if self._unanswered else ""
        return f"{self._done} of {self._total} in {since}, {self._known} known before{lost}"
