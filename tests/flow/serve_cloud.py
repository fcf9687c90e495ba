"""A cloud without an embedded model in a process of its own: serve_cloud.py HOME [NAME=VALUE …].

Prints its port and how many requests it recovered; SIGTERM stops it in order.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop

from haneul.base.config import load
from haneul.base.errors import HaneulError
from haneul.base.log import open_log
from haneul.cloud import Cloud


async def main(home: str, *settings: str) -> None:
    flags = dict(setting.split("=", 1) for setting in settings)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Cloud(load({"home": home, "port": 0, **flags}, {}).config) as cloud:
        print(cloud.port, cloud.recovered, flush=True)
        await stop.wait()


if __name__ == "__main__":
    open_log(None, "info")
    try:
        uvloop.run(main(*sys.argv[1:]))
    except HaneulError as error:
        sys.exit(f"refused: {error.message}")
