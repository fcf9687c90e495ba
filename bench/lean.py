"""A cloud without a model of its own, before a mock engine: `python -m bench.lean MOCK_PORT HOME`.

Prints its port, its process and a key with every limit there is as one line of JSON, then serves
until it is killed. With --calls it counts its Python calls: SIGUSR1 prints how many there were.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import uvloop

from haneul.base.config import load
from haneul.base.garbage import begin, settle
from haneul.base.ids import new_id
from haneul.base.units import now_us, parse_money
from haneul.cloud import Cloud
from haneul.services import keys
from haneul.services.keys import Terms
from haneul.store import engines, prices
from haneul.store.engines import EngineRow
from haneul.store.prices import PriceRow

UNREACHED = Terms(
    budget_nano=parse_money("1000000"),
    requests_per_minute=100_000_000,
    tokens_per_minute=1_000_000_000,
)


class Calls:
    """How many Python functions were called by the thread of the event loop."""

    def __init__(self) -> None:
        self.count = 0
        sys.setprofile(self._saw)

    def _saw(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self.count += 1

    def say(self) -> None:
        print(self.count, flush=True)


async def serve(mock_port: int, home: Path, *, counts: bool) -> None:
    config = load({"home": str(home), "port": 0, "tune": False}, {}).config
    async with Cloud(config) as cloud:
        row = EngineRow(
            name="mock",
            url=f"http://127.0.0.1:{mock_port}",
            models='["m"]',
            created_us=now_us(),
        )
        price = PriceRow(
            id=new_id("prc"),
            model="m",
            engine="mock",
            currency=config.currency,
            input_nano=100_000_000,
            cached_nano=10_000_000,
            output_nano=400_000_000,
            hour_nano=0,
            basis="{}",
            created_us=now_us(),
        )
        await cloud.database.call(engines.put, row)
        await cloud.database.call(prices.add, price)
        await cloud.roster.refresh()
        pepper = keys.read_pepper(home)
        made = await cloud.database.call(
            lambda connection: keys.create(
                connection, pepper, f"bench-{os.getpid()}", UNREACHED, actor="bench"
            )
        )
        settle()
        if counts:
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, Calls().say)
        print(json.dumps({"port": cloud.port, "pid": os.getpid(), "key": made.secret}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    begin()
    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2]), counts="--calls" in sys.argv))
