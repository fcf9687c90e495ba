"""What /proc tells about a process and all that it started: who, how much processor time, gone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PARENT, USER_TICKS, SYSTEM_TICKS, STARTED = 3, 13, 14, 21  # fields of /proc/PID/stat, from 0


def tree(pid: int) -> list[int]:
    """The process and everything below it."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and (fields := _stat(int(path.name))):
            children.setdefault(int(fields[PARENT]), []).append(int(path.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Processor time that these processes have used so far, user and system, all their threads."""
    used = [fields for pid in pids if (fields := _stat(pid))]
    return sum(int(fields[USER_TICKS]) + int(fields[SYSTEM_TICKS]) for fields in used) / TICKS_PER_S


def exact_cpu_s(pids: Iterable[int]) -> float:
    """The same to the nanosecond, of the threads that live now."""
    found = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += int((thread / "schedstat").read_text().split()[0])
    return found / 1e9


def memory_bytes(pids: Iterable[int]) -> int:
    """Proportional set size: shared pages are divided among those who share them."""
    total = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += next(int(row.split()[1]) for row in text.splitlines() if row.startswith("Pss:"))
    return total * 1024


def pin(pids: Iterable[int], cores: set[int]) -> None:
    """Keeps every thread of these processes on these cores; their new threads follow them."""
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)


def marks(pids: Iterable[int]) -> dict[int, str]:
    """Each process with the moment it started, so that a reused number is not taken for it."""
    return {pid: fields[STARTED] for pid in pids if (fields := _stat(pid))}


def until_gone(known: dict[int, str], within_s: float) -> float:
    """Seconds until none of the marked processes is left. Raises TimeoutError."""
    began = time.monotonic()
    while alive := [pid for pid, mark in known.items() if _lives(pid, mark)]:
        if time.monotonic() - began > within_s:
            raise TimeoutError(f"still there after {within_s:.0f} s: {alive}")
        time.sleep(0.005)
    return time.monotonic() - began


def _lives(pid: int, mark: str) -> bool:
    fields = _stat(pid)
    return fields is not None and fields[STARTED] == mark and fields[2] != "Z"


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat; a name with blanks in it counts as one."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    before, _, after = text.rpartition(")")
    number, _, name = before.partition(" (")
    return [number, name, *after.split()]
