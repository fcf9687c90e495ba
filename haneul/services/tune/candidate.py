"""A real engine process with one setup, private to a search. If it dies, only it is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from haneul.base import http
from haneul.base.errors import EngineFailed, HaneulError
from haneul.services.replica import Spec, command, environment
from haneul.services.tune.load import Client
from haneul.services.tune.processes import usage
from haneul.services.tune.setup import AUTO

T = TypeVar("T")
LOAD_S = 120.0
LOOK_S = 0.05
SMOKE_PROMPT = "The capital of France is"
SMOKE_TOKENS = 8
REASON_MAX = 200
LOG_READ_BYTES = 64 << 10
CANNOT_SERVE = "kernel_cannot_serve"  # the engine's log event
STEPPED_IN = "another kernel stepped in"  # for one that cannot serve the file


class Lost(EngineFailed):
    """A setup that cannot be used here."""


class _Model(Struct, frozen=True):
    kernel: str = ""


class _LogLine(Struct, frozen=True):
    event: str = ""
    kernel: str = ""
    reason: str = ""


class _Models(Struct, frozen=True):
    data: list[_Model]


class Candidate:
    """`start` returns when the engine has given a first answer; `close` kills it."""

    def __init__(self, spec: Spec, socket: Path, client: http.Client) -> None:
        self.spec = spec
        self.kernel = ""  # as the engine names it
        self.memory_bytes = 0  # the most that was seen
        self._address = http.unix(str(socket))
        self._http = client
        self.client = Client(client, self._address, spec.model)
        self._process: asyncio.subprocess.Process | None = None
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()

    async def start(self) -> None:
        """Loads the model and makes the kernel compute once. Raises Lost with the reason."""
        self._process = await asyncio.create_subprocess_exec(
            *command(self.spec, self._address.uds),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=self._words,
            env=environment(),
            start_new_session=True,
        )
        deadline = time.monotonic() + LOAD_S
        while not await self._is_ready():
            if self._process.returncode is not None:
                raise Lost(self.last_words())
            if time.monotonic() > deadline:
                raise Lost(f"did not load within {LOAD_S:.0f} s")
            await asyncio.sleep(LOOK_S)
        await self.guarded(self._smoke())

    async def guarded(self, work: Awaitable[T]) -> T:
        """What the work gives; whatever goes wrong with the engine meanwhile is a reason."""
        try:
            return await work
        except TimeoutError as cause:
            raise Lost("answered too slowly") from cause
        except HaneulError as cause:
            await asyncio.sleep(LOOK_S)  # a death is noticed a moment after the connection's end
            assert self._process is not None
            is_dead = self._process.returncode is not None
            raise Lost(self.last_words() if is_dead else cause.message) from cause
        finally:
            await asyncio.to_thread(self._look)

    def last_words(self) -> str:
        """Why the process ended, in words."""
        code = self._process.returncode if self._process is not None else None
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        self._words.seek(0)
        last = self._words.read()[-4096:].strip().rpartition(b"\n")[2]
        try:
            said = msgspec.json.decode(last, type=dict[str, str]).get("error", "")
        except msgspec.MsgspecError:
            said = ""
        return said[:REASON_MAX] or f"exit code {code}"

    def _why_not(self) -> str:
        """Why the kernel that was asked for cannot serve, from the engine's own log."""
        self._words.seek(0)
        for line in self._words.read()[-LOG_READ_BYTES:].splitlines():
            try:
                said = msgspec.json.decode(line, type=_LogLine)
            except msgspec.MsgspecError:
                continue
            if said.event == CANNOT_SERVE and said.kernel == self.spec.kernel:
                return said.reason[:REASON_MAX]
        return ""

    async def _is_ready(self) -> bool:
        try:
            await self.client.answer("/health")
        except (HaneulError, TimeoutError):
            return False
        return True

    async def _smoke(self) -> None:
        models = await self.client.answer("/v1/models")
        self.kernel = msgspec.json.decode(models, type=_Models).data[0].kernel
        asked = self.spec.kernel
        if asked not in (AUTO, self.kernel):
            why = await asyncio.to_thread(self._why_not) or "no reason was given"
            raise EngineFailed(f"{STEPPED_IN} ({self.kernel}): {why}")
        await self.client.ask(SMOKE_PROMPT, SMOKE_TOKENS)

    def _look(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self.memory_bytes = max(self.memory_bytes, usage(self._process.pid).resident_bytes)

    async def close(self) -> None:
        """Kills the engine and all below it: it holds nothing that could be lost."""
        self._http.forget(self._address)
        process = self._process
        if process is not None and process.returncode is None:
            _kill(process.pid)
            await process.wait()
        self._words.close()
        await asyncio.to_thread(Path(self._address.uds).unlink, missing_ok=True)


def _kill(leader: int) -> None:
    """The engine leads a process group of its own; what it started dies with it or of its end."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass
