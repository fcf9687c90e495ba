"""The one place that builds every object of a running cloud, and closes them in order."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Connection

from haneul import sockets
from haneul.api import Api
from haneul.base import places
from haneul.base.config import Config
from haneul.base.errors import CommandError, HaneulError
from haneul.base.ids import new_id
from haneul.base.log import logger
from haneul.base.units import HOUR_US, MILLION, Moment
from haneul.chips.chip import Chip
from haneul.chips.cost import HourCost, hour_cost
from haneul.chips.detect import detect_processor, survey
from haneul.chips.fleet import Fleet
from haneul.chips.fleet import load as load_fleet
from haneul.chips.shape import Shape
from haneul.console.pages import read_pages
from haneul.listener import Listener, room_for
from haneul.models import catalogue, hub
from haneul.models.previewed import Preview
from haneul.models.pulling.progress import OnProgress
from haneul.parts import open_parts
from haneul.server import Server
from haneul.services import dialects, outlook
from haneul.services.appraisal import Appraiser
from haneul.services.audit_pages import Keeping
from haneul.services.batches.addresses import BatchAddresses
from haneul.services.batches.batch import Tools
from haneul.services.batches.file_addresses import FileAddresses
from haneul.services.batches.files import Files
from haneul.services.batches.room import Room
from haneul.services.batches.worker import Worker
from haneul.services.call import FAIL_S
from haneul.services.flights import PAGES_EACH, Flights
from haneul.services.hub.addresses import HubAddresses
from haneul.services.keeper import Keeper
from haneul.services.ledger import recover
from haneul.services.loads import Loads
from haneul.services.media.addresses import MediaAddresses
from haneul.services.planning.pages import PlanPages
from haneul.services.responses.addresses import ResponseAddresses
from haneul.services.responses.dialect import Responses
from haneul.services.responses.kept import Kept
from haneul.services.retention import Retention
from haneul.services.roster import Roster
from haneul.services.scored.deployments import Deployments
from haneul.services.targets import Target
from haneul.services.tei import Tei
from haneul.services.tune.background import Background
from haneul.services.workers.shared import Shared, part_of
from haneul.store import ledger as ledger_queries
from haneul.store import models as model_queries
from haneul.store.database import Database, open_database
from haneul.store.ledger import ChipHourRow
from haneul.workers import Workers, recover_all

CUT_OFF_S = FAIL_S + 1  # for requests that outlived the drain to say so
OWNED_EVERY_S = 60.0  # how often the cost of owning the chips is booked; a kill loses no more
log = logger("cloud")


class Cloud:
    """A running cloud. `async with Cloud(config) as cloud:` listens until the block is left."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.default_model = ""
        self.port = config.port
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    @property
    def base_url(self) -> str:
        """Where clients point OPENAI_BASE_URL."""
        return f"http://{self.config.host}:{self.port}/v1"

    @property
    def chip(self) -> Chip:
        """The chip that embedded engines run on: the CPU."""
        return self.chips[0]

    async def _open(self) -> None:
        config, stack = self.config, self._stack
        self.database: Database = await asyncio.to_thread(
            open_database, config.database_url, config.home
        )
        stack.callback(self.database.close)
        await asyncio.to_thread(self.database.hold)
        pages = PAGES_EACH * config.in_flight_max
        flights = stack.enter_context(Flights(config.home / "flights", pages))
        self.recovered = await asyncio.to_thread(recover, self.database, flights)
        self.recovered += await asyncio.to_thread(recover_all, self.database, config)
        shared = Shared.begin(config) if config.workers > 1 else None
        if shared is not None:
            stack.push_async_callback(shared.aclose)
        self.chips = [await asyncio.to_thread(detect_processor)]
        fleet = await asyncio.to_thread(_fleet, config)
        self.hour = _hour(fleet, self.chip)
        loads = Loads(self.database, self.chip.id)
        stack.push_async_callback(loads.aclose)
        await loads.open()
        parts = await open_parts(stack, config, self.database, flights, shared)
        self.gateway, self.ledger, self.metrics = parts.gateway, parts.ledger, parts.metrics
        self.client, self.targets, self.gates = parts.client, parts.targets, parts.gates
        self.rules, self.cached, self.outside = parts.rules, parts.cached, parts.outside
        self._open_appraiser(fleet)
        if has_models := bool(await self.database.ask(model_queries.every)):
            await self._look_at_chips()  # before they are priced
        await self._open_models(loads)
        owned = asyncio.create_task(self._book_owned(), name="owned")
        stack.push_async_callback(_cancel, owned)
        await self._listen(shared)
        if not has_models:
            await self._look_at_chips()

    def _open_appraiser(self, fleet: Fleet) -> None:
        """What forecasts, measures and prices; it waits for the chips to be known."""
        self.appraiser = Appraiser(
            self.config,
            database=self.database,
            client=self.client,
            targets=self.targets,
            chip=self.chip,
            fleet=fleet,
            hour=self.hour,
        )
        self._stack.push_async_callback(self.appraiser.aclose)

    async def _look_at_chips(self) -> None:
        """Asks makers' tools and measures memory, a third of a second and longer."""
        found = await asyncio.to_thread(survey)
        for trouble in found.troubles:
            log.warning("chips_unknown", tool=trouble.tool, reason=trouble.why)
        self.chips[:] = found.chips
        await self.appraiser.open(self.chip)

    async def _open_models(self, loads: Loads) -> None:
        """What follows the models in the store, keeps their engines and tunes them."""
        config, stack = self.config, self._stack
        deployments = Deployments(self.database, self.appraiser)
        stack.push_async_callback(deployments.aclose)
        self.keeper = Keeper(
            config,
            targets=self.targets,
            loads=loads,
            rules=self.rules,
            deployed=deployments.note,
        )
        stack.push_async_callback(self.keeper.aclose)
        self.roster = Roster(
            config,
            database=self.database,
            targets=self.targets,
            client=self.client,
            chip=self.chip,
            priced=self.appraiser.first_price,
            gates=self.gates,
            keeper=self.keeper,
        )
        stack.push_async_callback(self.roster.aclose)
        await self.roster.follow()
        self.keeper.open()
        deployments.open()
        tuning = Background(
            config,
            database=self.database,
            client=self.client,
            targets=self.targets,
            chip=self.chip,
        )
        stack.push_async_callback(tuning.aclose)
        tuning.open()

    async def _listen(self, shared: Shared | None) -> None:
        """Opens the public port and the cloud's own socket."""
        config = self.config
        public, *others = sockets.public(config.host, config.port, workers=config.workers)
        self.port = public.getsockname()[1]
        own = sockets.own(places.cloud_socket(config.home))
        kept = Kept(
            self.database,
            room_bytes=config.responses_max_bytes,
            days=config.responses_days,
            chain_max_bytes=config.body_max_bytes,
        )
        tei = Tei(lambda key, model: self.gateway.find(key, model)[0].engine)
        self.dialects = dialects.every({"/v1/responses": Responses(kept), "/rerank": tei})
        files, self.batches = await self._batches()
        retention = Retention(
            [
                kept.forget,
                self.cached.forget,
                files.forget,
                self.batches.forget,
                Keeping(self.database, config.audit_days).forget,
            ]
        )
        self._stack.push_async_callback(retention.aclose)
        self.hub = HubAddresses(self.gateway, self.database)
        self._stack.push_async_callback(self.hub.aclose)
        await self.hub.open()
        self.workers = Workers(
            config,
            shared=shared,
            database=self.database,
            client=self.client,
            metrics=self.metrics,
            targets=self.targets,
        )
        self.api = Api(
            self.gateway,
            database=self.database,
            ledger=self.ledger,
            outside=self.outside,
            chips=self.chips,
            pages=read_pages(),
            default_model=lambda: self.default_model,
            refresh=self.refresh,
            judge=self._judge,
            workers=self.workers,
            more={
                **MediaAddresses(self.gateway).routes(),
                **ResponseAddresses(self.gateway, kept).routes(),
                **FileAddresses(self.gateway, files, file_max_bytes=config.file_max_bytes).routes(),
                **BatchAddresses(
                    self.gateway, database=self.database, files=files, worker=self.batches
                ).routes(),
                **self.hub.routes(),
                **PlanPages(self.gateway, self.database, self.appraiser.fleet).routes(),
            },
        )
        server = Server(self.gateway, self.api, self.dialects)
        most = room_for(part_of(config, config.connections_max))
        listener = Listener(server, server.errors, connections_max=most)
        if shared is not None:
            await self.workers.hear(self._stack, server, server.errors)
        self._stack.push_async_callback(
            _shut, listener, config, places.cloud_socket(config.home), self.workers
        )
        await listener.open([public, own])
        if shared is not None:
            self.workers.open(listener, others)
        log.info("listening", host=config.host, port=self.port)

    async def _batches(self) -> tuple[Files, Worker]:
        """The files of clients, and what runs their batches."""
        config = self.config
        files = Files(
            self.database,
            config.home / "files",
            room_bytes=config.files_max_bytes,
            days=config.files_days,
        )
        await files.open()
        tools = Tools(
            gateway=self.gateway,
            database=self.database,
            files=files,
            dialects=self.dialects.at,
            room=Room(self.gateway, config.batch_at_once),
            at_once=config.batch_at_once,
            days=config.files_days,
            share_millionths=round(config.batch_price_share * MILLION),
            line_max_bytes=config.body_max_bytes,
        )
        worker = Worker(tools)
        self._stack.push_async_callback(worker.aclose)
        return files, worker

    # models
    async def refresh(self) -> None:
        """Follows the store now, in every process."""
        await self.roster.refresh()
        await self.workers.refresh()

    def _judge(self, found: Preview) -> None:
        """Raises NotEnoughMemory for a model that is known not to fit this machine."""
        outlook.refuse_misfit(found, self.appraiser.machine(), catalogue.load().entries)

    async def serve(self, text: str, on_progress: OnProgress | None = None) -> Target:
        """Pulls the model if need be, makes it the default, starts its engine."""
        row = await hub.ensure(
            text,
            database=self.database,
            folder=places.blobs(self.config.home),
            on_progress=on_progress,
        )
        self.default_model = row.name
        await self.refresh()
        target = self.targets.find(row.name)[0]
        await target.ready(self.config.first_token_s)
        return target

    def shape(self, target: Target) -> Shape:
        """The shape of the model behind an embedded target."""
        return self.roster.shapes[target.model]

    # owning
    async def _book_owned(self) -> None:
        """Books what the chips cost by the hour, minute by minute, idle or not.

        A database that is away for a while is told later; a cancellation books the rest.
        """
        clock, is_over = Moment(), False
        from_us = clock.at_us
        while not is_over:
            try:
                await asyncio.sleep(OWNED_EVERY_S)
            except asyncio.CancelledError:
                is_over = True
            try:
                await self.database.call(self._book, from_us, to_us := clock.now_us())
                from_us = to_us
            except HaneulError as error:
                log.warning("owned_not_booked", reason=error.message)

    def _book(self, connection: Connection, from_us: int, to_us: int) -> None:
        row = ChipHourRow(
            id=new_id("own"),
            chip=self.chip.id,
            currency=self.config.currency,
            from_us=from_us,
            to_us=to_us,
            cost_nano=round(self.hour.total_nano * (to_us - from_us) / HOUR_US),
        )
        ledger_queries.append_chip_hour(connection, row)


def _fleet(config: Config) -> Fleet:
    own = config.home / "fleet.toml"
    named = Path(config.fleet).expanduser() if config.fleet else own if own.exists() else None
    fleet = load_fleet(named)
    if fleet.currency != config.currency:
        raise CommandError(
            f"the fleet file is in {fleet.currency}, the cloud in {config.currency}: "
            "write a fleet file in that currency, or set HANEUL_CURRENCY"
        )
    return fleet


def _hour(fleet: Fleet, chip: Chip) -> HourCost:
    hour = hour_cost(fleet, chip)
    if hour is None:
        raise CommandError(f"the fleet file has no price for the chip {chip.id}")
    return hour


async def _shut(listener: Listener, config: Config, own: Path, workers: Workers) -> None:
    closing = listener.close(drain_s=config.drain_s, cut_off_s=CUT_OFF_S)
    await asyncio.gather(closing, workers.aclose())
    await asyncio.to_thread(own.unlink, missing_ok=True)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
