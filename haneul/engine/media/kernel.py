"""The front's side of a folder's worker: loads it, asks it, ends it when it falls silent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from haneul.base.errors import DeadlineExceeded
from haneul.engine.kernel import Facts
from haneul.engine.media.folder import Kind
from haneul.engine.media.to_draw import Draws
from haneul.engine.media.to_hear import Hears
from haneul.engine.media.to_say import Says
from haneul.engine.worker.job import WorkerSpec
from haneul.engine.worker.process import WorkerProcess

Can = Hears | Says | Draws
C = TypeVar("C", Hears, Says, Draws)
T = TypeVar("T")
_CAN: dict[Kind, type[Can]] = {
    "speech-to-text": Hears,
    "text-to-speech": Says,
    "text-to-image": Draws,
}


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
        self.facts: Facts | None = None  # known when the model is loaded
        self._kind = kind
        self._can: Can | None = None

    async def start(self) -> None:
        """Loads the model. Raises BrokenFile, CannotServe."""
        loaded = await self._worker.start()
        self._can = msgspec.convert(await self._worker.ask("describe"), _CAN[self._kind])
        self.name, self.facts = loaded.kernel, loaded.facts

    def can(self, what: type[C]) -> C:
        """What the model can; only a model of that kind is asked."""
        assert isinstance(self._can, what)
        return self._can

    @property
    def described(self) -> Can | None:
        return self._can

    async def died(self) -> str:
        """Returns, with the reason, only when the worker has ended."""
        return await self._worker.died()

    async def make(self, asked: Any, made: type[T], *, within_s: float) -> T:
        """What is asked for. Raises BadRequest, EngineUnavailable, DeadlineExceeded."""
        try:
            return msgspec.convert(await self._worker.ask("make", asked, within_s=within_s), made)
        except DeadlineExceeded:
            await self._worker.close()  # whatever it does, it will not hear that it should stop
            raise

    async def close(self) -> None:
        await self._worker.close()
