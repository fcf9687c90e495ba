"""How long a model's engine takes until it answers: forecast from how long it took before.

Every load is kept as a measurement of the file on this chip. Without any the forecast is the
file's size over what disks give, an interval as wide as disks differ.
"""

from __future__ import annotations

import asyncio
from collections import deque
from statistics import median

from haneul.base.errors import HaneulError
from haneul.base.ids import new_id
from haneul.base.log import logger
from haneul.base.units import now_us
from haneul.chips.estimate import Estimate
from haneul.services.tariff import THOUSANDTHS
from haneul.store import forecasts as queries
from haneul.store.database import Database
from haneul.store.forecasts import MeasurementRow

KIND = "load"
KEPT = 8  # loads that say how long the next one takes
SPREAD_FEW, SPREAD_SOME, SOME = 2.0, 1.5, 3  # beyond the extremes of what was measured
START_S = (0.3, 1.0, 5.0)  # of the process alone: low, mid, high
DISK_BYTES_S = (3e9, 1e9, 1e8)  # what is read of a file in a second, the quickest first
log = logger("loads")


class Loads:
    """The loads of late, by file, on this chip."""

    def __init__(self, database: Database, chip_id: str) -> None:
        self._database = database
        self._chip_id = chip_id
        self._seconds: dict[str, deque[float]] = {}
        self._keeping: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Reads what earlier runs measured."""
        for row in await self._database.ask(queries.measurements):
            if row.kind == KIND and row.chip == self._chip_id:
                self._of(row.digest).append(row.value / THOUSANDTHS)

    def forecast(self, digest: str, size_bytes: int) -> Estimate:
        """Seconds from the start of an engine until it answers."""
        return forecast_s(list(self._seconds.get(digest, ())), size_bytes)

    def note(self, model: str, digest: str, engine_version: str, seconds: float) -> None:
        """An engine was ready after so long."""
        self._of(digest).append(seconds)
        row = MeasurementRow(
            id=new_id("msr"),
            model=model,
            digest=digest,
            chip=self._chip_id,
            engine_version=engine_version,
            kind=KIND,
            value=max(1, round(seconds * THOUSANDTHS)),
            unit="s",
            created_us=now_us(),
        )
        task = asyncio.create_task(self._keep(row), name=f"load of {model}")
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _keep(self, row: MeasurementRow) -> None:
        try:
            await self._database.call(queries.add_measurements, [row])
        except HaneulError as error:  # it is known here; the next run measures again
            log.warning("load_not_kept", model=row.model, reason=error.message)

    def _of(self, digest: str) -> deque[float]:
        return self._seconds.setdefault(digest, deque(maxlen=KEPT))

    async def aclose(self) -> None:
        """Waits for what is being kept."""
        await asyncio.gather(*self._keeping, return_exceptions=True)


def forecast_s(measured: list[float], size_bytes: int) -> Estimate:
    """Seconds that a load takes, by those before or, without any, by the size of the file."""
    if not measured:
        (start_low, start, start_high), (fast, usual, slow) = START_S, DISK_BYTES_S
        return Estimate(
            low=start_low + size_bytes / fast,
            mid=start + size_bytes / usual,
            high=start_high + size_bytes / slow,
            unit="s",
            source="the file's size over the speed of disks; no load was measured yet",
        )
    spread = SPREAD_SOME if len(measured) >= SOME else SPREAD_FEW
    loads = "load" if len(measured) == 1 else "loads"
    return Estimate(
        low=min(measured) / spread,
        mid=median(measured),
        high=max(measured) * spread,
        unit="s",
        source=f"{len(measured)} measured {loads} of this file on this chip",
    )


def remaining(whole: Estimate, passed_s: float) -> Estimate:
    """What is left of a load that has begun; one beyond its interval may take as long again."""
    if passed_s >= whole.high:
        return Estimate(low=0, mid=passed_s / 2, high=passed_s, unit="s", source=whole.source)
    high = whole.high - passed_s
    mid = whole.mid - passed_s if passed_s < whole.mid else high / 2
    low = min(max(whole.low - passed_s, 0), mid)
    return Estimate(low=low, mid=mid, high=high, unit="s", source=whole.source)
