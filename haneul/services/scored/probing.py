"""Measures the models that are here and were not measured yet, one engine after another.

Three rounds each; the fastest counts, since others can only make an engine slower.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from haneul.base import http
from haneul.base.config import Config
from haneul.base.errors import HaneulError
from haneul.base.units import now_us
from haneul.chips.detect import cpu_of
from haneul.chips.footprint import fits, footprint
from haneul.chips.host import read_host
from haneul.models import hub
from haneul.services import tariff
from haneul.services.appraisal import KINDS
from haneul.services.measure import Speeds, measure
from haneul.services.replica import Replica
from haneul.services.scored.deployments import Here, deployment_row, memory_row
from haneul.services.specs import spec_of
from haneul.services.tune.processes import held_bytes, until_quiet
from haneul.store import deployments as deployment_queries
from haneul.store import forecasts as queries
from haneul.store import models as model_queries
from haneul.store import prices as price_queries
from haneul.store.database import Database
from haneul.store.models import ModelRow

ROUNDS = 3
LOADED_S = 120.0
QUIET_S = 20.0  # that is waited for others to be done, before a model is left for later


class Probed(Struct, frozen=True, kw_only=True):
    """What came of one model."""

    model: str
    digest: str
    speeds: Speeds | None = None  # None: not measured; said has why
    memory_bytes: int | None = None
    said: str


class Prober:
    """Measures models of one home; no cloud may run on it meanwhile."""

    def __init__(
        self, config: Config, database: Database, here: Here, *, is_quiet_needed: bool
    ) -> None:
        self._config = config
        self._database = database
        self._here = here
        self._is_quiet_needed = is_quiet_needed

    async def run(self) -> list[Probed]:
        """Every model that is here and has no figures of this engine yet."""
        client = http.Client()
        try:
            with TemporaryDirectory(prefix="haneul-") as folder:
                rows = await self._database.ask(model_queries.every)
                return [await self._one(row, client, Path(folder)) for row in rows]
        finally:
            await client.aclose()

    async def _one(self, row: ModelRow, client: http.Client, folder: Path) -> Probed:
        chip = self._here.chip
        found = Probed(model=row.name, digest=row.digest, said="was measured before")
        try:
            spec = spec_of(self._config, row, memory_bytes=chip.memory_bytes)
            shape = hub.shape(row)
        except (HaneulError, msgspec.MsgspecError) as error:  # the others are measured all the same
            return _not(found, f"what is known of it cannot be read: {error}")
        replica = Replica(spec, client=client, run=folder, logs=folder)
        if await self._database.call(_is_known, row.digest, chip.id, replica.engine_version):
            return found
        need = footprint(shape, context_tokens=spec.context_tokens, slots=spec.slots)
        room = fits(need, await asyncio.to_thread(lambda: cpu_of(read_host())))
        if room.fits is False:
            return _not(found, room.reason)
        try:
            if self._is_quiet_needed:
                await until_quiet(QUIET_S)
            await replica.ready(LOADED_S)
            return await self._measured(row, replica, found, client)
        except (HaneulError, TimeoutError) as error:
            return _not(found, str(error) or "it answered too slowly")
        finally:
            await replica.stop()

    async def _measured(
        self, row: ModelRow, replica: Replica, found: Probed, client: http.Client
    ) -> Probed:
        """Its forecast is kept first, then what it did."""
        shape, spec, here = hub.shape(row), replica.spec, self._here
        deployment = deployment_row(replica, row.digest, shape, here=here, started_us=now_us())
        await self._database.call(deployment_queries.add, deployment)
        rounds = [
            await measure(
                client,
                replica.address,
                spec.model,
                streams=spec.slots,
                context_tokens=spec.context_tokens,
            )
            for _ in range(ROUNDS)
        ]
        best = Speeds(
            prefill=max(each.prefill for each in rounds),
            decode=max(each.decode for each in rounds),
            capacity=max(each.capacity for each in rounds),
            streams=spec.slots,
        )
        assert replica.process is not None
        held = await asyncio.to_thread(held_bytes, replica.process.pid)
        rows = tariff.measurement_rows(
            row.name, row.digest, here.chip, replica.engine_version, best
        )
        rows += [memory_row(deployment, held)] if held is not None else []
        price = tariff.price_row(
            here.fleet, here.hour, model=row.name, speeds=tariff.measured(best)
        )

        def keep(connection: Connection) -> None:
            queries.add_measurements(connection, rows)
            price_queries.add(connection, price)

        await self._database.call(keep)
        return Probed(
            model=found.model,
            digest=found.digest,
            speeds=best,
            memory_bytes=held,
            said=f"{best.decode:,.1f} tok/s alone, {best.capacity:,.1f} tok/s of {spec.slots}, "
            f"prompts at {best.prefill:,.0f} tok/s",
        )


def _is_known(connection: Connection, digest: str, chip: str, engine_version: str) -> bool:
    return all(
        queries.newest(
            connection, digest=digest, chip=chip, engine_version=engine_version, kind=kind
        )
        for kind in KINDS
    )


def _not(found: Probed, reason: str) -> Probed:
    return Probed(model=found.model, digest=found.digest, said=f"not measured: {reason}")
