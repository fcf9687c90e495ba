"""What an engine process gives up at its start: core dumps, many files, other users' eyes.

A model file comes from strangers and is parsed by native code, so the process that opens it keeps
few rights and little environment.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

FILES_MAX = 4096
PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH")


def protect(*, nice: int = 0) -> None:
    """Takes rights away from this process and all it starts."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES_MAX if hard == resource.RLIM_INFINITY else min(FILES_MAX, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if nice:
        os.nice(nice)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def reduced(environ: Mapping[str, str]) -> dict[str, str]:
    """The few variables that a kernel needs; keys and tokens stay behind."""
    return {name: environ[name] for name in KEPT if name in environ}


def cores() -> int:
    """Processor cores this process may use: its affinity, cut by a cgroup quota."""
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or "max": no quota
        return allowed


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
