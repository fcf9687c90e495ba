"""What each model does on this chip: forecast when it comes, measured when it first runs, priced
from the better of the two, and every forecast scored against what then happened.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

import msgspec
from sqlalchemy import Connection

from haneul.base import http
from haneul.base.config import Config
from haneul.base.errors import HaneulError
from haneul.base.log import logger
from haneul.chips.backtest import Outcome
from haneul.chips.busy import SAMPLE_S, busy_share
from haneul.chips.calibrate import Correction
from haneul.chips.chip import Chip
from haneul.chips.cost import HourCost
from haneul.chips.estimate import Estimate
from haneul.chips.fleet import Fleet
from haneul.chips.shape import Shape
from haneul.models import hub
from haneul.services import tariff
from haneul.services.learned import Learned, learn
from haneul.services.measure import Speeds, measure
from haneul.services.observed import observed
from haneul.services.outlook import Machine
from haneul.services.replica import READY
from haneul.services.specs import slots_of
from haneul.services.steady import keep
from haneul.services.targets import Target, Targets
from haneul.services.tariff import THOUSANDTHS, Forecast
from haneul.store import deployments as deployment_queries
from haneul.store import forecasts as queries
from haneul.store import prices as price_queries
from haneul.store.database import Database
from haneul.store.forecasts import ForecastRow
from haneul.store.models import ModelRow
from haneul.store.prices import PriceRow

KINDS = ("prefill", "decode", "capacity")
LOOK_S = 3.0  # an engine idle for so long may be measured
QUIET_SHARE = 0.2  # of the processors in use by others; beyond it a measurement says little
log = logger("appraisal")


class Appraiser:
    """Forecasts, measures and prices the embedded models."""

    def __init__(
        self,
        config: Config,
        *,
        database: Database,
        client: http.Client,
        targets: Targets,
        chip: Chip,
        fleet: Fleet,
        hour: HourCost,
    ) -> None:
        self.chip = chip
        self.fleet = fleet
        self.hour = hour
        self._config = config
        self._database = database
        self._client = client
        self._targets = targets
        self._measuring = asyncio.Lock()
        self.learned = Learned()
        self._watcher: asyncio.Task[None] | None = None
        self._is_open = asyncio.Event()

    async def open(self, chip: Chip) -> None:
        """Learns from earlier measurements, and from now on measures what was not yet.

        `chip` is the same as before, with all that is to be known of it.
        """
        self.chip = await self._database.call(keep, chip)
        self.learned = await self._database.ask(learned, self.chip, self._config)
        self._watcher = asyncio.create_task(self._watch(), name="appraisal")
        self._is_open.set()

    async def aclose(self) -> None:
        """Stops watching."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)

    async def until_open(self) -> None:
        """Returns when all that is to be known of the chip is known."""
        await self._is_open.wait()

    def forecast(self, shape: Shape) -> Forecast:
        """What a model of that shape will do here, corrected by what others did."""
        slots = slots_of(self._config, shape, self.chip.memory_bytes)
        return tariff.forecast(shape, self.chip, slots=slots).refined(self.learned.of())

    def machine(self) -> Machine:
        """What a model that is not here yet would run on."""
        return Machine(
            chip=self.chip,
            config=self._config,
            fleet=self.fleet,
            corrections=self.learned.of(),
        )

    async def first_price(self, row: ModelRow) -> PriceRow:
        """A price from the forecast, kept with it, for a model that has none yet."""
        await self.until_open()
        said = self.forecast(hub.shape(row))
        price = tariff.price_row(self.fleet, self.hour, model=row.name, speeds=said)
        rows = tariff.forecast_rows(row.name, row.digest, self.chip, said)

        def keep(connection: Connection) -> None:
            if rows:
                queries.add_forecasts(connection, rows)
            price_queries.add(connection, price)

        await self._database.call(keep)
        return price

    async def speeds(self, target: Target) -> tuple[Forecast, str]:
        """What the model does here, and when that was measured, in words.

        Beside other work a measurement is shown but not kept: the price stays the forecast's, and
        the model is measured again when the machine has nothing else to do.
        """
        async with self._measuring:
            found = await self._database.call(_measured, target, self.chip)
            if found is not None:
                return found, "before"
            assert target.replica is not None
            before = await _busy(SAMPLE_S)
            with target.awake.measured() if target.awake is not None else nullcontext():
                speeds = await measure(
                    self._client,
                    target.replica.address,
                    target.upstream_model,
                    streams=target.gate.inside_max,
                    context_tokens=target.context_tokens or 0,
                )
            busy = max(before, await _busy(SAMPLE_S))
            if busy > QUIET_SHARE:
                _log(target, speeds, beside=round(busy, 2))
                return tariff.measured(speeds), f"while others used {busy:.0%} of the processors"
            return await self._keep(target, speeds), "just now"

    async def _keep(self, target: Target, speeds: Speeds) -> Forecast:
        """Keeps the figures, and the price that follows from them."""
        result = tariff.measured(speeds)
        price = tariff.price_row(self.fleet, self.hour, model=target.model, speeds=result)
        rows = tariff.measurement_rows(
            target.model, target.digest or "", self.chip, target.engine_version or "", speeds
        )

        def keep(connection: Connection) -> None:
            queries.add_measurements(connection, rows)
            price_queries.add(connection, price)

        await self._database.call(keep)
        if target.price is None or not target.price.from_us:  # what was set goes before it
            target.price = price
        self.learned = await self._database.ask(learned, self.chip, self._config)
        _log(target, speeds)
        return result

    async def _is_known_or_quiet(self, target: Target) -> bool:
        if await self._database.call(_measured, target, self.chip) is not None:
            return True
        return await _busy(LOOK_S) < QUIET_SHARE

    async def _watch(self) -> None:
        """Measures models that were loaded by a request, once nobody asks them anything."""
        seen: set[tuple[str | None, str | None]] = set()
        while True:
            await asyncio.sleep(LOOK_S)
            for target in self._targets.every():
                is_idle = target.gate.busy.inside == 0 and target.gate.waiting == 0
                engine = (target.digest, target.engine_version)
                if target.replica and target.state == READY and is_idle and engine not in seen:
                    try:
                        await self.speeds(target)
                        seen.add(engine)
                    except (HaneulError, TimeoutError) as error:
                        log.warning("not_measured", model=target.model, reason=str(error))


def _log(target: Target, speeds: Speeds, **fields: float) -> None:
    known = {"decode": speeds.decode, "capacity": speeds.capacity, "prefill": speeds.prefill}
    log.info("measured", model=target.model, **known, **fields)


async def _busy(seconds: float) -> float:
    """The share of the processors that is in use; 0 where the system does not say."""
    share: float | None = await asyncio.to_thread(lambda: busy_share(seconds))
    return share or 0.0


def outcomes(connection: Connection, chip_id: str | None = None) -> list[Outcome]:
    """Every forecast that was followed by a measurement of the same file on the same chip."""
    found: dict[tuple[str, str, str], float] = {}
    for row in queries.measurements(connection):
        found.setdefault((row.digest, row.chip, row.kind), row.value / THOUSANDTHS)
    return [
        Outcome(row.kind, _estimate(row), measured)
        for row in queries.forecasts(connection)
        if (measured := found.get((row.digest or "", row.chip, row.kind))) is not None
        and chip_id in (None, row.chip)
    ]


def _estimate(row: ForecastRow) -> Estimate:
    return Estimate(
        low=row.low / THOUSANDTHS,
        mid=row.mid / THOUSANDTHS,
        high=row.high / THOUSANDTHS,
        unit=row.unit,
        source=row.source,
    )


def _measured(connection: Connection, target: Target, chip: Chip) -> Forecast | None:
    """The newest figures of a model file on a chip with an engine; None unless all are there."""
    values: dict[str, float] = {}
    for kind in KINDS:
        row = queries.newest(
            connection,
            digest=target.digest or "",
            chip=chip.id,
            engine_version=target.engine_version or "",
            kind=kind,
        )
        if row is None:
            return None
        values[kind] = row.value / THOUSANDTHS
    return tariff.measured(Speeds(**values, streams=0))


def learned(connection: Connection, chip: Chip, config: Config) -> Learned:
    """What the measured models say of the next forecast, by kernel and kind.

    What `haneul plan calibrate --here` kept holds; before it was asked, all that was measured.
    """
    kept = deployment_queries.newest_calibration(connection, chip.id)
    if kept is not None:
        by_kernel = msgspec.json.decode(kept.learned, type=dict[str, dict[str, Correction]])
        return Learned(by_kernel, kept.id)
    pairs: dict[tuple[str, str], list[tuple[Estimate, float]]] = {}
    for each in observed(connection, chip, config):
        pairs.setdefault((each.kernel, each.kind), []).append((each.forecast, each.measured))
    return learn(pairs)


def corrections(connection: Connection, chip: Chip, config: Config) -> dict[str, Correction]:
    """What holds for a model that is served as it comes: by kind."""
    return dict(learned(connection, chip, config).of())
