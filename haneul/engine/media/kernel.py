"""The front's side of a folder's worker: loads it, asks it, ends it when it falls silent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from haneul.base.errors import DeadlineExceeded
from haneul.engine.kernel import Facts
from haneul.engine.media.asked import Hearing, Hears
from haneul.engine.media.folder import Kind
from haneul.engine.media.transcript import Heard
from haneul.engine.worker.job import WorkerSpec
from haneul.engine.worker.process import WorkerProcess

# A model that needs more than four times as long as the sound lasts is too large for its machine.
HEAR_S, HEAR_FACTOR = 60.0, 4.0


class MediaKernel:
    """One model of a folder in a process of its own."""

    def __init__(self, folder: Path, kind: Kind, *, threads: int) -> None:
        spec = WorkerSpec(
            kernel=kind,
            file=str(folder),
            parent=os.getpid(),
            context_tokens=0,
            slots=1,
            threads=threads,
        )
        self._worker = WorkerProcess(spec, module="haneul.engine.media")
        self.name = ""
        self.facts: Facts | None = None
        self.hears = Hears(languages=[], translates=False, times_words=False)

    async def start(self) -> None:
        """Loads the model. Raises BrokenFile, CannotServe."""
        loaded = await self._worker.start()
        self.hears = msgspec.convert(await self._worker.ask("describe"), Hears)
        self.name, self.facts = loaded.kernel, loaded.facts

    async def died(self) -> str:
        """Returns, with the reason, only when the worker has ended."""
        return await self._worker.died()

    async def hear(self, asked: Hearing) -> Heard:
        """What was said. Raises BadRequest, EngineUnavailable, DeadlineExceeded."""
        within_s = HEAR_S + HEAR_FACTOR * asked.sound.duration_ms / 1000
        return msgspec.convert(await self._ask(asked, within_s), Heard)

    async def close(self) -> None:
        await self._worker.close()

    async def _ask(self, asked: Any, within_s: float) -> Any:
        try:
            return await self._worker.ask("make", asked, within_s=within_s)
        except DeadlineExceeded:
            await self._worker.close()  # whatever it does, it will not hear that it should stop
            raise
