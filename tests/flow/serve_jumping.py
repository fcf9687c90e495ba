"""serve_cloud.py on a machine whose clock is set: back an hour by SIGUSR1, forward by SIGUSR2.

Only a process's own view of the time can be set without being root: here it is Python's.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

HOUR_NS = 3600 * 10**9
moved_ns = [0]
real_ns = time.time_ns


def set_back(hours: int) -> None:
    moved_ns[0] -= hours * HOUR_NS


time.time_ns = lambda: real_ns() + moved_ns[0]
time.time = lambda: time.time_ns() / 1e9
sys.path.insert(0, str(Path(__file__).parent))

import serve_cloud  # noqa: E402 - the clock comes first
import uvloop  # noqa: E402

from haneul.base.log import open_log  # noqa: E402


async def main() -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, set_back, 1)
    loop.add_signal_handler(signal.SIGUSR2, set_back, -1)
    await serve_cloud.main(*sys.argv[1:])


if __name__ == "__main__":
    open_log(None, "info")
    uvloop.run(main())
