"""A pull or a build as a bar where somebody watches, as a line now and then where nobody does."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from haneul.base.units import show_bytes, show_duration
from haneul.models.pulling.progress import Progress as Report
from haneul.services.tune.native import Progress as Built

LINE_EVERY_S = 5.0
BUILD_LINE_EVERY_S = 15.0
BUILD_WORDS = {
    "fetching": "fetching the source (77 MB)",
    "unpacking": "unpacking",
    "configuring": "looking at the compiler and the processor",
    "compiling": "compiling, at the lowest priority: 5 to 20 minutes of two cores",
    "trying": "trying the library in a process of its own",
    "ready": "ready",
}
WORDS = {
    "asking": "asking the sources",
    "waiting": "waiting for another pull of the same file",
    "unpacking": "unpacking",
    "checking": "checking every byte",
    "ready": "here",
}


class PullProgress:
    """Shows the reports of a pull; `report` may be called from any thread."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._line_at = 0.0
        self._stage = ""

    def __enter__(self) -> Self:
        if self._out.is_terminal and not self._out.quiet:
            self._bar = Progress(
                TextColumn("  {task.description}"),
                BarColumn(bar_width=30),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(compact=True),
                console=self._out,
                transient=True,
            )
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

    def report(self, progress: Report) -> None:
        """Shows one report."""
        if progress.stage == "downloading":
            self._show_bytes(progress)
        elif progress.stage != self._stage:
            source = f" ({progress.source})" if progress.source else ""
            self._out.print(f"  [dim]{WORDS[progress.stage]}{source}[/]")
        self._stage = progress.stage

    def _show_bytes(self, progress: Report) -> None:
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(f"from {progress.source}")
            self._bar.update(self._task, completed=progress.done_bytes, total=progress.total_bytes)
        elif time.monotonic() - self._line_at >= LINE_EVERY_S:
            self._line_at = time.monotonic()
            self._out.print(f"  [dim]{_line(progress)}[/]")


def _line(progress: Report) -> str:
    total = show_bytes(progress.total_bytes) if progress.total_bytes else "unknown size"
    rate = f"{show_bytes(progress.rate_bytes_s)}/s" if progress.rate_bytes_s else "rate unknown"
    left = (
        f"{show_duration(progress.remaining_s)} left"
        if progress.remaining_s is not None
        else "time left unknown"
    )
    return f"{show_bytes(progress.done_bytes)} of {total} from {progress.source}, {rate}, {left}"


class BuildProgress:
    """Shows the reports of a build: each stage a line, what can be counted with its time left."""

    def __init__(self, out: Console, *, is_quiet: bool) -> None:
        self._out = out
        self._is_quiet = is_quiet
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._began = self._line_at = time.monotonic()

    def __enter__(self) -> Self:
        if self._out.is_terminal and not self._is_quiet:
            self._bar = Progress(
                TextColumn("  {task.description}"),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TimeRemainingColumn(compact=True),
                console=self._out,
                transient=True,
            )
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

    def report(self, progress: Built) -> None:
        """Shows one report."""
        if self._is_quiet:
            return
        if progress.stage != self._stage:
            self._stage, self._task = progress.stage, None
            self._out.print(f"  [dim]{BUILD_WORDS[progress.stage]}[/]")
        if not progress.all:
            return
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(progress.stage)
            self._bar.update(self._task, completed=progress.done, total=progress.all)
        elif time.monotonic() - self._line_at >= BUILD_LINE_EVERY_S:
            self._line_at = time.monotonic()
            since = show_duration(self._line_at - self._began)
            share = progress.done / progress.all
            self._out.print(f"  [dim]{progress.stage}: {share:.0%}, {since} since the start[/]")
