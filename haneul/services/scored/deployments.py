"""Every engine that starts here gets its forecast kept, and the memory it then takes.

What was said is never rewritten: the next start of the same engine is another deployment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from haneul import __version__
from haneul.base.errors import HaneulError
from haneul.base.ids import new_id
from haneul.base.log import logger
from haneul.base.units import now_us
from haneul.chips.chip import Chip
from haneul.chips.cost import HourCost
from haneul.chips.fleet import Fleet
from haneul.chips.shape import Shape
from haneul.models import hub
from haneul.services import tariff
from haneul.services.appraisal import Appraiser
from haneul.services.learned import Learned
from haneul.services.replica import READY, Replica
from haneul.services.scored import said as foretold
from haneul.services.scored.said import MEMORY, Said
from haneul.services.targets import EMBEDDED
from haneul.services.tariff import THOUSANDTHS, Forecast
from haneul.services.tune.processes import held_bytes
from haneul.store import deployments as queries
from haneul.store import forecasts as forecast_queries
from haneul.store import models as model_queries
from haneul.store.database import Database
from haneul.store.deployments import DeploymentRow
from haneul.store.forecasts import MeasurementRow

LOOK_S, LOOK_MOST_S = 5.0, 60.0  # between two looks at the memory of the engines
CLOSE_S = 5.0  # for what is being kept when the cloud ends
GROWN = 1.02  # beyond what was kept, before it is kept again
Held = Callable[[int], int | None]
log = logger("deployments")


class Deployments:
    """The engines that run, what was foretold of each, and how much memory each was seen with."""

    def __init__(
        self,
        database: Database,
        appraiser: Appraiser,
        *,
        look_s: float = LOOK_S,
        held: Held = held_bytes,
    ) -> None:
        self._database = database
        self._appraiser = appraiser
        self._look_s = look_s
        self._held = held
        self._running: dict[Replica, tuple[DeploymentRow, int]] = {}  # and the most seen, in bytes
        self._keeping: set[asyncio.Task[None]] = set()
        self._looker: asyncio.Task[None] | None = None
        self._started = asyncio.Event()

    def open(self) -> None:
        """Looks at memory from now on."""
        self._looker = asyncio.create_task(self._look(), name="deployments")

    async def aclose(self) -> None:
        """Stops looking; what was being kept is kept."""
        if self._looker is not None:
            self._looker.cancel()
            await asyncio.gather(self._looker, return_exceptions=True)
        if self._keeping:
            _, late = await asyncio.wait(self._keeping, timeout=CLOSE_S)
            for task in late:
                task.cancel()

    def note(self, replica: Replica, digest: str) -> None:
        """An engine of that file is ready: what is foretold of it is kept."""
        task = asyncio.create_task(self._keep(replica, digest, now_us()), name="deployment")
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _keep(self, replica: Replica, digest: str, started_us: int) -> None:
        try:
            shape = await self._database.ask(_shape_of, digest)
            if shape is None:  # removed while it loaded
                return
            row = await self._row(replica, digest, shape, started_us)
            most = await self._database.ask(most_kept, row)
            await self._database.call(queries.add, row)
        except (HaneulError, msgspec.MsgspecError) as error:  # the engine serves all the same
            log.warning("forecast_not_kept", model=replica.spec.model, reason=str(error))
        else:
            self._running[replica] = (row, most)
            self._started.set()

    async def _row(
        self, replica: Replica, digest: str, shape: Shape, started_us: int
    ) -> DeploymentRow:
        appraiser = self._appraiser
        await appraiser.until_open()
        return deployment_row(
            replica,
            digest,
            shape,
            here=Here(appraiser.chip, appraiser.learned, appraiser.fleet, appraiser.hour),
            started_us=started_us,
        )

    async def _look(self) -> None:
        """Often while an engine is new or grows, then less and less: a look at much takes time."""
        pause_s = self._look_s
        while True:
            is_new = await self._is_told(pause_s)
            grew = False
            for replica in list(self._running):
                if replica.state != READY:
                    del self._running[replica]  # when it is ready again, that is another one
                    continue
                try:
                    grew = await self._measure(replica) or grew
                except HaneulError as error:  # the next look sees as much
                    log.warning("memory_not_kept", reason=error.message)
            pause_s = self._look_s if is_new or grew else min(2 * pause_s, LOOK_MOST_S)

    async def _is_told(self, within_s: float) -> bool:
        """Whether another engine has started; returns then, or after so long."""
        try:
            await asyncio.wait_for(self._started.wait(), within_s)
        except TimeoutError:
            return False
        self._started.clear()
        return True

    async def _measure(self, replica: Replica) -> bool:
        """Keeps how much memory an engine holds, where that is more than ever before."""
        row, most = self._running[replica]
        process = replica.process
        if process is None or process.returncode is not None:
            return False
        found = await asyncio.to_thread(self._held, process.pid)
        if found is None or found <= most * GROWN:
            return False
        await self._database.call(forecast_queries.add_measurements, [memory_row(row, found)])
        if replica in self._running:
            self._running[replica] = (row, found)
        return True


class Here(NamedTuple):
    """What forecasts on this machine are made of."""

    chip: Chip
    learned: Learned
    fleet: Fleet
    hour: HourCost


def deployment_row(
    replica: Replica, digest: str, shape: Shape, *, here: Here, started_us: int
) -> DeploymentRow:
    """An engine that was started, with all that is foretold of it."""
    spec, chip = replica.spec, here.chip
    said = foretold.foretell(
        shape,
        chip,
        slots=spec.slots,
        context_tokens=spec.context_tokens,
        learned=here.learned,
        engine_version=replica.engine_version,
    )
    cost = tariff.token_cost(here.fleet, here.hour, _speeds(said, spec.slots))
    return DeploymentRow(
        id=new_id("dep"),
        model=spec.model,
        digest=digest,
        engine=EMBEDDED,
        engine_version=replica.engine_version,
        haneul=__version__,
        chip=chip.id,
        quantisation=shape.quantisation,
        calibration=here.learned.calibration,
        slots=spec.slots,
        context_tokens=spec.context_tokens,
        said=msgspec.json.encode([*said, *foretold.prices(cost)]).decode(),
        started_us=started_us,
    )


def memory_row(row: DeploymentRow, held: int) -> MeasurementRow:
    """So many bytes were seen of an engine."""
    return MeasurementRow(
        id=new_id("msr"),
        model=row.model,
        digest=row.digest,
        chip=row.chip,
        engine_version=row.engine_version,
        kind=MEMORY,
        value=held * THOUSANDTHS,
        unit="B",
        created_us=now_us(),
    )


def most_kept(connection: Connection, row: DeploymentRow) -> int:
    """The bytes that are known of an engine that was set up and foretold alike; 0 of none.

    An engine that wakes a hundred times a day takes as much each time: that is kept once.
    """
    engine = {"digest": row.digest, "chip": row.chip, "engine_version": row.engine_version}
    kept = forecast_queries.newest(connection, **engine, kind=MEMORY)
    if kept is None:
        return 0
    then = queries.in_force(connection, **engine, at_us=kept.created_us)
    if then is None or _unlike(then) != _unlike(row):
        return 0
    return kept.value // THOUSANDTHS


def _unlike(row: DeploymentRow) -> tuple[object, ...]:
    """What tells apart deployments of one engine, whose memory is scored apart then."""
    return row.haneul, row.calibration, row.slots, row.context_tokens


def _shape_of(connection: Connection, digest: str) -> Shape | None:
    rows = model_queries.every(connection)
    return next((hub.shape(row) for row in rows if row.digest == digest), None)


def _speeds(said: list[Said], slots: int) -> Forecast:
    return Forecast(
        prefill=foretold.one(said, foretold.PREFILL),
        decode=foretold.decode(said, streams=1, context_tokens=0),
        capacity=foretold.decode(said, streams=slots, context_tokens=0),
    )
