"""What a process and all below it use, and what everybody else uses meanwhile (Linux).

A figure that was taken while others worked says little, so each round is told how much that was.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from msgspec import Struct

from haneul.base.errors import Unavailable
from haneul.chips.busy import STAT, busy_share, read_times

QUIET_SHARE = 0.2  # of the processors in use by others; beyond it a measurement says little
LOOK_S = 1.0


class NotQuiet(Unavailable):
    """Others use the processors: a measurement would say little."""


class Usage(Struct, frozen=True):
    """Of one process and all below it."""

    ticks: int
    resident_bytes: int


class _Stat(Struct, frozen=True):
    parent: int
    ticks: int
    pages: int


def usage(root: int) -> Usage:
    """Processor ticks so far, those of ended children included, and resident memory."""
    found = _stats()
    family = _family(found, root)
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    return Usage(
        ticks=sum(found[pid].ticks for pid in family),
        resident_bytes=sum(found[pid].pages for pid in family) * page_bytes,
    )


def held_bytes(root: int) -> int | None:
    """Memory of a process and all below it; None where the system does not say.

    All that the largest of them has resident, and what is the others' own: libraries that they
    share with it count once, and a model's file counts whole, though another engine may map it
    too. Source: proc(5), /proc/PID/smaps_rollup.
    """
    found = [_rollup(pid) for pid in _family(_stats(), root)]
    if not any(found):
        return None
    largest = max(found, key=lambda each: each.get("Rss", 0))
    private = sum(each.get("Private_Clean", 0) + each.get("Private_Dirty", 0) for each in found)
    own = largest.get("Private_Clean", 0) + largest.get("Private_Dirty", 0)
    return largest.get("Rss", 0) + private - own


def _rollup(pid: int) -> dict[str, int]:
    """Bytes by name."""
    words = [line.split() for line in _text(Path(f"/proc/{pid}/smaps_rollup")).splitlines()]
    return {
        each[0].removesuffix(":"): int(each[1]) * 1024
        for each in words
        if len(each) == 3 and each[1].isdigit()
    }


class Clock:
    """Counts what the processors did for others than us since its making."""

    def __init__(self) -> None:
        self._times = read_times(_text(STAT))
        self._ours = usage(os.getpid()).ticks

    def others_share(self) -> float:
        """The share of all processor time that others used; 0 where the system does not say."""
        now = read_times(_text(STAT))
        if self._times is None or now is None or now[1] <= self._times[1]:
            return 0.0
        busy, total = now[0] - self._times[0], now[1] - self._times[1]
        ours = usage(os.getpid()).ticks - self._ours
        return max(0.0, (busy - ours) / total)


async def until_quiet(within_s: float) -> None:
    """Returns at a moment when nobody else uses much. Raises NotQuiet."""
    deadline = time.monotonic() + within_s
    while True:
        share = await asyncio.to_thread(busy_share, LOOK_S)
        if share is None or share <= QUIET_SHARE:
            return
        if time.monotonic() > deadline:
            raise NotQuiet(
                f"Others use {share:.0%} of the processors: a measurement would say little.",
                retry_after_s=60,
            )


def _stats() -> dict[int, _Stat]:
    return {pid: stat for pid in _pids() if (stat := _stat(pid)) is not None}


def _family(found: dict[int, _Stat], root: int) -> set[int]:
    """The process and all below it, as far as they are among the found."""
    family, fresh = set(), {root} & found.keys()
    while fresh:
        family |= fresh
        fresh = {pid for pid, stat in found.items() if stat.parent in fresh} - family
    return family


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _stat(pid: int) -> _Stat | None:
    """Source: proc(5), /proc/PID/stat; the name in brackets may hold anything."""
    words = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    if len(words) < 22:
        return None
    return _Stat(
        parent=int(words[1]),
        ticks=sum(int(word) for word in words[11:15]),
        pages=int(words[21]),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
