"""Work that is counted in steps, as a bar where somebody watches, else as a line now and then."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeRemainingColumn

from haneul.base.deriving import Step

LINE_EVERY_S = 15.0


class StepProgress:
    """Shows the steps that are reported; a smaller count than the last begins a new bar."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._all = 0
        self._line_at = time.monotonic()

    def __enter__(self) -> Self:
        if self._out.is_terminal and not self._out.quiet:
            columns = (BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._out, transient=True)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def report(self, step: Step) -> None:
        """Shows one report."""
        if self._bar is not None:
            if self._task is None or step.all != self._all:
                self._task, self._all = self._bar.add_task("", total=step.all), step.all
            self._bar.update(self._task, completed=step.done)
        elif time.monotonic() - self._line_at >= LINE_EVERY_S:
            self._line_at = time.monotonic()
            self._out.print(f"  [dim]{step.done} of {step.all}[/]")
