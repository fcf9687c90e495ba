"""The front's side of a worker: starts the process, sends jobs, hands each job its steps."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec

from haneul.base import errors
from haneul.base.errors import (
    BrokenFile,
    DeadlineExceeded,
    EngineFailed,
    EngineUnavailable,
    HaneulError,
)
from haneul.engine.protect import reduced
from haneul.engine.worker.frames import (
    HEAD_BYTES,
    Ask,
    Begin,
    Cancel,
    Failed,
    Stepped,
    ToFront,
    Told,
    ToWorker,
    Unloadable,
    framed,
    length,
    to_front,
)
from haneul.engine.worker.job import Job, Loaded, Step, WorkerSpec
from haneul.engine.worker.stepper import CannotServe

START_S = 600.0
CALL_S = 30.0  # of a small question
FIRST_S = 300.0  # to the first step: the line before it, and a long prompt
NEXT_S = 60.0  # between two steps
LINES_KEPT = 50
LINE_MAX_BYTES = 64 << 10
_REFUSALS = ("BadRequest", "UnsupportedValue", "UnknownField", "ContextTooLong", "Overloaded")


class WorkerProcess:
    """One worker. Its last words are kept, to say why it ended."""

    def __init__(self, spec: WorkerSpec, *, module: str = "haneul.engine.worker") -> None:
        self._spec = spec
        self._module = module
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: dict[int, asyncio.Queue[Step | Told | Failed]] = {}
        self._words: deque[str] = deque(maxlen=LINES_KEPT)
        self._number = 0
        self._folder = f"{Path(spec.file).parent}/"  # not to be told

    async def start(self) -> Loaded:
        """Loads the model. Raises BrokenFile, or CannotServe when another kernel might do it."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            msgspec.json.encode(msgspec.structs.replace(self._spec, parent=os.getpid())).decode(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_MAX_BYTES,
            env=reduced(os.environ),
        )
        listening = asyncio.create_task(self._listen())
        self._tasks.append(listening)
        try:
            async with asyncio.timeout(START_S):
                first = await self._frame()
        except (asyncio.IncompleteReadError, TimeoutError) as cause:
            if isinstance(cause, asyncio.IncompleteReadError):
                await self._process.wait()  # it has closed its output: it is ending by itself
            await self.close()
            raise CannotServe(
                f"The kernel ended while it loaded the model: {self._end()}"
            ) from cause
        if isinstance(first, Unloadable):
            await self.close()
            raise BrokenFile(first.reason) if first.is_broken else CannotServe(first.reason)
        assert isinstance(first, Loaded)
        self._tasks.append(asyncio.create_task(self._read()))
        return first

    async def died(self) -> str:
        """Returns when the process has ended, with the reason it left."""
        assert self._process is not None
        await self._process.wait()
        return f"The kernel ended: {self._end()}"

    async def run(self, job: Job) -> AsyncGenerator[Step, None]:
        """The steps of one sequence. Ended early, it is cancelled before the next step."""
        number, waiting = self._open()
        is_over = False
        try:
            self._send(Begin(number, job))
            within_s = FIRST_S
            while not is_over:
                step = await _next(waiting, within_s)
                assert isinstance(step, Step)
                is_over = step.finish_reason is not None
                yield step
                within_s = NEXT_S
        except HaneulError as error:
            is_over = not isinstance(error, DeadlineExceeded)
            raise
        finally:
            del self._waiting[number]
            if not is_over:
                self._send(Cancel(number))

    async def ask(self, what: str, value: Any = None, *, within_s: float = CALL_S) -> Any:
        """The answer to a question; it is called off when nobody waits for it any longer."""
        number, waiting = self._open()
        is_over = False
        try:
            self._send(Ask(number, what, value))
            told = await _next(waiting, within_s)
            is_over = True
        except HaneulError as error:
            is_over = not isinstance(error, DeadlineExceeded)
            raise
        finally:
            del self._waiting[number]
            if not is_over:
                self._send(Cancel(number))
        assert isinstance(told, Told)
        return told.value

    async def close(self) -> None:
        """Kills the process: it holds nothing that could be lost."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await asyncio.gather(*self._tasks)

    def _end(self) -> str:
        """How the process ended: the signal that killed it, or its last words."""
        code = self._process.returncode if self._process else None
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return self._words[-1] if self._words else f"exit code {code}, without a word"

    def _open(self) -> tuple[int, asyncio.Queue[Step | Told | Failed]]:
        if self._process is None or self._process.returncode is not None:
            raise EngineUnavailable()
        self._number += 1
        waiting = self._waiting[self._number] = asyncio.Queue()
        return self._number, waiting

    def _send(self, message: ToWorker) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        if not self._process.stdin.is_closing():
            self._process.stdin.write(framed(message))

    async def _frame(self) -> ToFront:
        assert self._process is not None
        assert self._process.stdout is not None
        head = await self._process.stdout.readexactly(HEAD_BYTES)
        frame: ToFront = to_front.decode(await self._process.stdout.readexactly(length(head)))
        return frame

    async def _read(self) -> None:
        """Hands every frame to whoever waits for it, until the process ends."""
        while True:
            try:
                message = await self._frame()
            except (asyncio.IncompleteReadError, ConnectionError, msgspec.DecodeError, ValueError):
                break
            if isinstance(message, Stepped):
                for number, step in message.steps:
                    self._hand(number, step)
            elif isinstance(message, Told | Failed):
                self._hand(message.number, message)
        for number in [*self._waiting]:
            self._hand(number, Failed(number, "EngineUnavailable", "The kernel has ended."))

    def _hand(self, number: int, message: Step | Told | Failed) -> None:
        if waiting := self._waiting.get(number):  # else nobody waits any longer
            waiting.put_nowait(message)

    async def _listen(self) -> None:
        """Passes on what the process prints, and keeps its last lines."""
        assert self._process is not None
        assert self._process.stderr is not None
        while True:
            try:
                line = await self._process.stderr.readline()
            except ValueError:  # longer than the limit: dropped by the reader
                continue
            if not line:
                return
            self._words.append(line.decode(errors="replace").strip().replace(self._folder, ""))
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()


async def _next(waiting: asyncio.Queue[Step | Told | Failed], within_s: float) -> Step | Told:
    try:
        async with asyncio.timeout(within_s):
            message = await waiting.get()
    except TimeoutError as cause:
        raise DeadlineExceeded("The kernel fell silent.") from cause
    if isinstance(message, Failed):
        raise _error(message)
    return message


def _error(failed: Failed) -> HaneulError:
    if failed.kind == "EngineUnavailable":
        return EngineUnavailable(failed.message)
    if failed.kind not in _REFUSALS:
        return EngineFailed(failed.message)
    made: type[HaneulError] = getattr(errors, failed.kind)
    return made(failed.message, **failed.facts)
