"""The machine a measurement ran on, as a reader must know it to judge the numbers."""

from __future__ import annotations

import datetime
import os
import platform
import re
from pathlib import Path
from typing import Any


def facts() -> dict[str, Any]:
    """Processor, cores, memory, kernel, Python, date and the load at this moment."""
    one, five, fifteen = os.getloadavg()
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _field("/proc/cpuinfo", "model name") or "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": 1024 * int((_field("/proc/meminfo", "MemTotal") or "0").split()[0]),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": {"1 min": one, "5 min": five, "15 min": fifteen},
    }


def line(found: dict[str, Any]) -> str:
    """The facts in one line."""
    load = found["load"]
    return (
        f"{found['date']}: {found['cpu']}, {found['cores']} cores, "
        f"{found['memory_bytes'] / 1e9:.1f} GB memory, {found['kernel']}, "
        f"Python {found['python']}, load {load['1 min']:.1f} (1 min) {load['5 min']:.1f} (5 min)"
    )


def _field(path: str, name: str) -> str | None:
    found = re.search(rf"^{name}\s*:\s*(.+)$", Path(path).read_text(), re.MULTILINE)
    return found[1] if found else None
