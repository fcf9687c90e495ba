"""What /metrics says of the house that requests live in: ledger, disk, budgets, caches of engines.

Each number is looked up away from the event loop when somebody reads the page, and budgets at most
once a minute. What cannot be known is absent.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from haneul import __version__
from haneul.base.errors import HaneulError
from haneul.base.log import logger
from haneul.base.units import now_us
from haneul.services.ledger import Ledger
from haneul.services.periods import PERIODS, day_of, starts
from haneul.services.replica import READY
from haneul.services.targets import Target
from haneul.store.database import Database
from haneul.store.fullness import budgets_used
from haneul.store.spending import KINDS

BUDGETS_EVERY_S = 60.0
CACHES_S = 1.0  # for an engine to say what its cache holds
METERS_MAX_BYTES = 1 << 20
NEARLY = 0.9  # of a budget is used
log = logger("house")


class Disk(NamedTuple):
    """Of the home's file system, in bytes."""

    total: int
    free: int


class House(Collector):
    """Gauges beside the counted requests; `look` before they are collected."""

    def __init__(self, *, home: Path, database: Database, ledger: Ledger) -> None:
        self.caches: dict[tuple[str, str], float] = {}  # share of an engine's cache that is used
        self.lost: dict[str, int] = {}  # what telemetry dropped, by kind; absent where it is off
        self._home = home
        self._database = database
        self._ledger = ledger
        self._disk: Disk | None = None
        self._shares: list[tuple[str, float]] | None = None
        self._asked_s = -BUDGETS_EVERY_S

    async def look(self, targets: Iterable[Target]) -> None:
        """Reads everything anew that is due."""
        self._disk = await asyncio.to_thread(_disk, self._home)
        if time.monotonic() - self._asked_s >= BUDGETS_EVERY_S:
            self._asked_s = time.monotonic()
            await self._look_at_budgets()
        ready = [each for each in targets if each.replica is not None and each.state == READY]
        said = await asyncio.gather(*(_cache_used(target) for target in ready))
        self.caches = {
            (target.model, target.engine): share
            for target, share in zip(ready, said, strict=True)
            if share is not None
        }

    async def _look_at_budgets(self) -> None:
        first_days = dict(zip(PERIODS, starts(day_of(now_us())), strict=True))
        try:
            self._shares = await self._database.ask(budgets_used, first_days)
        except HaneulError as error:
            self._shares = None
            log.warning("budgets_unknown", reason=error.message)

    def describe(self) -> Iterable[Metric]:
        """Nothing is promised before it is known."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """What the last look found."""
        yield GaugeMetricFamily("haneul_ledger_waiting", "Records to write", self._ledger.waiting)
        failing = int(self._ledger.is_failing)
        yield GaugeMetricFamily("haneul_ledger_failing", "1: the last write failed", failing)
        if self._disk is not None:
            total, free = self._disk
            yield GaugeMetricFamily("haneul_disk_bytes", "Of the home's file system", total)
            yield GaugeMetricFamily("haneul_disk_free_bytes", "Of it, free", free)
        if self._shares is not None:
            yield from _budgets(self._shares)
        used = GaugeMetricFamily(
            "haneul_engine_cache_used_ratio", "Of its cache", labels=["model", "engine"]
        )
        for labels, share in self.caches.items():
            used.add_metric(labels, share)
        yield used
        lost = CounterMetricFamily(
            "haneul_telemetry_lost", "Not exported: the queue was full", labels=["kind"]
        )
        for kind, count in self.lost.items():
            lost.add_metric([kind], count)
        yield lost
        build = GaugeMetricFamily("haneul_build_info", "Always 1", labels=["version"])
        build.add_metric([__version__], 1)
        yield build


def _budgets(shares: list[tuple[str, float]]) -> Iterator[Metric]:
    """By kind of owner: the most that any has used, and how many are nearly or wholly used up."""
    most = GaugeMetricFamily("haneul_budget_used_ratio", "Of the fullest budget", labels=["of"])
    nearly = GaugeMetricFamily(
        "haneul_budgets_nearly_used", f"Of which {NEARLY:.0%} is used", labels=["of"]
    )
    for kind in KINDS:
        mine = [share for owner, share in shares if owner == kind]
        most.add_metric([kind], max(mine, default=0.0))
        nearly.add_metric([kind], sum(share >= NEARLY for share in mine))
    yield from (most, nearly)


def _disk(home: Path) -> Disk | None:
    try:
        found = shutil.disk_usage(home)
    except OSError:
        return None
    return Disk(found.total, found.free)


async def _cache_used(target: Target) -> float | None:
    """What share of its cache an engine of ours uses; None where it does not say."""
    try:
        async with (
            asyncio.timeout(CACHES_S),
            await target.transport.send("GET", "/metrics") as reply,
        ):
            text = (await reply.read(METERS_MAX_BYTES)).decode(errors="replace")
    except (HaneulError, OSError, TimeoutError):
        return None
    cells, used = (_value(text, f"haneul_engine_{name}") for name in ("kv_cells", "kv_cells_used"))
    return used / cells if cells and used is not None else None


def _value(text: str, name: str) -> float | None:
    for line in text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.rpartition(" ")[2])
    return None
