"""The engines of a search that stay loaded, so that setups run in turns and load once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from haneul.base import http
from haneul.services.replica import Spec
from haneul.services.tune.candidate import Candidate, Lost
from haneul.services.tune.setup import Setup

ALIVE_MAX = 4  # at a time

SpecOf = Callable[[Setup], Spec]


class Alive:
    """Starts an engine for each setup that is asked for; `close` ends all."""

    def __init__(
        self,
        spec_of: SpecOf,
        *,
        run_folder: Path,
        client: http.Client,
        has_room: Callable[[], bool],
    ) -> None:
        self._spec_of = spec_of
        self._run_folder = run_folder
        self._client = client
        self._has_room = has_room  # whether one more engine fits into memory
        self._engines: dict[str, Candidate] = {}  # by setup, the one used last at the end
        self._number = 0

    async def get(self, setup: Setup) -> Candidate:
        """The running engine of a setup; the oldest of the others makes room. Raises Lost."""
        if (found := self._engines.pop(setup.key, None)) is not None:
            self._engines[setup.key] = found
            return found
        while self._engines and (len(self._engines) >= ALIVE_MAX or not self._has_room()):
            await self._engines.pop(next(iter(self._engines))).close()
        if not self._has_room():
            raise Lost("not enough memory is free")
        self._number += 1
        socket = self._run_folder / f"tune-{os.getpid()}-{self._number}.sock"
        candidate = Candidate(self._spec_of(setup), socket, self._client)
        try:
            await candidate.start()
        except BaseException:
            await asyncio.shield(candidate.close())
            raise
        self._engines[setup.key] = candidate
        return candidate

    async def end(self, setup: Setup) -> None:
        """Ends the engine of a setup, if it runs."""
        if (candidate := self._engines.pop(setup.key, None)) is not None:
            await candidate.close()

    async def close(self) -> None:
        """Ends all; they are started again when they are asked for."""
        engines, self._engines = self._engines, {}
        await asyncio.gather(*(candidate.close() for candidate in engines.values()))
