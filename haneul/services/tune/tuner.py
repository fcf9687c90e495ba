"""Searches for one model's best setup and keeps what was found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from haneul.base import http, places
from haneul.base.config import Config
from haneul.base.log import logger
from haneul.chips.chip import Chip
from haneul.chips.detect import cpu_of
from haneul.chips.footprint import fits, footprint
from haneul.chips.host import read_host
from haneul.models import hub
from haneul.models.folder import lock
from haneul.services.replica import Spec
from haneul.services.specs import context, spec_of
from haneul.services.tune import axes
from haneul.services.tune.axes import Scope
from haneul.services.tune.chooser import LOSS_MAX, Purpose
from haneul.services.tune.kept import Kept, rows
from haneul.services.tune.requantised import requantise
from haneul.services.tune.search import OnNews, Search
from haneul.services.tune.setup import Setup, weights_path
from haneul.store import audit, tunings
from haneul.store.audit import Who
from haneul.store.database import Database
from haneul.store.models import ModelRow

REQUANTISE_S, FULL_REQUANTISE_S = 60.0, 1800.0
log = logger("tune")


class Order(Struct, frozen=True, kw_only=True):
    """What is asked of a search."""

    purpose: Purpose = "both"
    is_full: bool = False
    formats: tuple[str, ...] = ()  # named ones; empty: those that usually help
    loss_max: float = LOSS_MAX  # of perplexity, for another format to be chosen
    is_quiet_needed: bool = True  # False: measured beside other work, shown and not kept


class Tuner:
    """One model's search. `run` may be cancelled and called again: it goes on where it was."""

    def __init__(
        self,
        config: Config,
        row: ModelRow,
        chip: Chip,
        *,
        database: Database,
        client: http.Client,
        order: Order | None = None,
        on_news: OnNews = lambda _: None,
        scope: Scope | None = None,
    ) -> None:
        self._config, self._row, self._chip = config, row, chip
        self._database = database
        self._order = order or Order()
        self._say = on_news
        self.versions = axes.versions(config.home, chip.id)
        self._search = Search(
            scope or self._scope(),
            spec_of=self._spec,
            prepare=self._prepare,
            run_folder=places.socket_folder(config.home),
            client=client,
            has_room=self._has_room,
            on_news=on_news,
            is_quiet_needed=self._order.is_quiet_needed,
            loss_max=self._order.loss_max,
        )

    async def run(self, actor: Who = "cloud") -> Kept:
        """The finished search, kept in the store. Raises NotQuiet, Lost; one runs at a time."""
        waiting = "another search is running here: waiting for it"
        path = self._config.home / "tune.lock"
        async with lock.hold(path, on_wait=_once(lambda: self._say(waiting))):
            found = await self._search.run()
        kept = rows(
            found,
            self._row,
            chip=self._chip.id,
            versions=self.versions,
            purpose=self._order.purpose,
        )
        if self._order.is_quiet_needed:
            await self._database.call(tunings.add, kept.tuning, kept.trials)
            note = (actor, "model.tune", self._row.name, kept.tuning.said)
            await self._database.call(audit.note, *note)
        log.info("tuned", model=self._row.name, said=kept.tuning.said, took_s=found.took_s)
        return kept

    def _scope(self) -> Scope:
        """All there is to choose from here."""
        config, order = self._config, self._order
        formats = axes.formats(
            hub.shape(self._row).quantisation,
            self._row.bytes,
            named=order.formats,
            is_full=order.is_full,
        )
        return Scope(
            kernels=axes.kernels(config.home, self._chip.id, is_full=order.is_full),
            cores=1 if config.threads else self._chip.cores or 1,  # a configured number stands
            formats=tuple(formats),
            is_full=order.is_full,
        )

    def _spec(self, setup: Setup) -> Spec:
        return spec_of(
            self._config,
            self._row,
            setup,
            chip=self._chip.id,
            memory_bytes=self._chip.memory_bytes,
        )

    async def _prepare(self, setup: Setup) -> None:
        if not setup.weights:
            return
        source = Path(self._row.path)
        target = weights_path(self._config.home, source, self._row.digest, setup)
        within_s = FULL_REQUANTISE_S if self._order.is_full else REQUANTISE_S
        await requantise(source, target, setup.weights, within_s=within_s)

    def _has_room(self) -> bool:
        need = footprint(
            hub.shape(self._row),
            context_tokens=context(self._config, self._row),
            slots=self._spec(Setup()).slots,
        )
        return fits(need, cpu_of(read_host())).fits is not False


def _once(say: Callable[[], None]) -> Callable[[], None]:
    """Says it the first time only."""
    said: list[bool] = []

    def again() -> None:
        if not said:
            said.append(True)
            say()

    return again
