"""One embedded engine process, kept alive.

It is started with a scrubbed environment, listens on a Unix socket in a folder only its owner can
enter, is asked for its health every two seconds, and is killed when it does not answer three times
in a row. However it ends, it is started again after a pause that doubles up to half a minute.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from haneul.base import http
from haneul.base.errors import EngineUnavailable, HaneulError
from haneul.base.log import logger

log = logger("engines")

STOPPED, LOADING, READY, BACKOFF, FAILED = "stopped", "loading", "ready", "backoff", "failed"
MOVES = {
    STOPPED: {LOADING},
    LOADING: {READY, BACKOFF, FAILED, STOPPED},
    READY: {BACKOFF, STOPPED},
    BACKOFF: {LOADING, STOPPED},
    FAILED: {LOADING, STOPPED},
}
BROKEN_FILE_EXIT = 3  # the engine refused its file: starting it again would not help
HEALTH_EVERY_S = 2.0
HEALTH_WITHIN_S = 5.0
HEALTH_MISSES_MAX = 3
LOADING_S = 600.0
LOADING_LOOK_S = 0.05
STOP_S = 6.0
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 30.0
STABLE_S = 60.0  # an engine that lived so long starts over with the first pause
LOG_MAX_BYTES = 4 << 20
PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "TMPDIR",
    "OMP_NUM_THREADS",
    "VIRTUAL_ENV",
)


class Spec(Struct, frozen=True, kw_only=True):
    """What to start."""

    model: str
    path: Path
    slots: int
    context_tokens: int  # per sequence; 0: the engine chooses
    threads: int  # 0: the engine chooses
    queue: int
    kernel: str = "auto"
    options: dict[str, Any] = {}  # of that kernel
    many: dict[str, Any] | None = None  # a second kernel, for when many ask at once
    setup: str = ""  # what tuning chose, in words; "": nothing was chosen


def command(spec: Spec, socket: str) -> list[str]:
    """How the engine of a spec is started."""
    options = {
        "--uds": socket,
        "--name": spec.model,
        "--slots": spec.slots,
        "--context": spec.context_tokens,
        "--threads": spec.threads,
        "--queue": spec.queue,
        "--kernel": spec.kernel,
        "--options": msgspec.json.encode(spec.options).decode() if spec.options else "",
        "--many": msgspec.json.encode(spec.many).decode() if spec.many else "",
    }
    given = [text for name, value in options.items() if value for text in (name, str(value))]
    engine = [sys.executable, "-m", "haneul.engine", str(spec.path)]
    return [*engine, *given, "--die-with-parent"]


def environment() -> dict[str, str]:
    """The few variables that an engine is given."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


class Replica:
    """The process of one Spec. A second one of the same model is told apart by its number."""

    def __init__(
        self, spec: Spec, *, client: http.Client, run: Path, logs: Path, number: int = 1
    ) -> None:
        self.spec = spec
        self.state = STOPPED
        self.restarts = 0
        self.reason = ""  # why it last ended, in words
        self.process: asyncio.subprocess.Process | None = None
        self.load_s: float | None = None
        self.since = time.monotonic()  # of its state
        self.on_ready: Callable[[float], None] | None = None  # told how long it took
        name = "".join(letter if letter.isalnum() else "-" for letter in spec.model)[:36]
        name += f"-{number}" if number > 1 else ""
        self.address = http.unix(str(run / f"{name}.sock"))
        self._log_path = logs / f"engine-{name}.log"
        self._client = client
        self._changed = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def engine_version(self) -> str:
        """The kernels' release, and the setup where one was chosen."""
        release = f"xllamacpp {version('xllamacpp')}"
        return f"{release} ({self.spec.setup})" if self.spec.setup else release

    def start(self) -> None:
        """Begins to keep the process alive; returns at once."""
        if self._supervisor is None or self._supervisor.done():
            self._supervisor = asyncio.create_task(
                self._supervise(), name=f"replica {self.spec.model}"
            )

    async def ready(self, within_s: float) -> None:
        """Returns when the engine answers. Raises EngineUnavailable when it will not in time."""
        if self.state == READY:
            return
        self.start()
        try:
            async with asyncio.timeout(within_s):
                while self.state != READY:
                    is_stopped = self.state == STOPPED and self._supervisor is None
                    if is_stopped or self.state in (FAILED, BACKOFF):
                        raise self.unavailable()
                    await self._change()
        except TimeoutError as cause:
            raise self.unavailable() from cause

    def unavailable(self) -> EngineUnavailable:
        """The error for a request that comes while the engine is not ready."""
        if self.state == FAILED:
            return EngineUnavailable(
                f"The engine of '{self.spec.model}' cannot start: {self.reason}"
            )
        return EngineUnavailable(
            f"The engine of '{self.spec.model}' is {self.state}; try again.", retry_after_s=2
        )

    async def stop(self) -> None:
        """Ends the process: asked first, killed after six seconds.

        Whoever wants it meanwhile starts it anew, as soon as it has ended.
        """
        supervisor, self._supervisor = self._supervisor, None
        process, is_asked = self.process, self.state == READY
        self._move(STOPPED)
        if supervisor is not None:
            supervisor.cancel()
            await asyncio.gather(supervisor, return_exceptions=True)
        await self._end(self.process if self._supervisor is None else process, is_asked=is_asked)

    async def _supervise(self) -> None:
        pause_s = BACKOFF_FIRST_S
        while True:
            self._move(LOADING)
            await self._end(self.process, is_asked=True)  # one that was stopped may still be there
            began = self.since = time.monotonic()
            await self._spawn()
            if await self._until_ready():
                self.load_s = time.monotonic() - began
                self._move(READY)
                log.info("replica_ready", model=self.spec.model, wait_s=round(self.load_s, 2))
                if self.on_ready is not None:
                    self.on_ready(self.load_s)
                await self._until_lost()
            is_asked = self.state == READY and not self.reason.startswith("did not answer")
            await self._end(self.process, is_asked=is_asked)
            if self.process is not None and self.process.returncode == BROKEN_FILE_EXIT:
                self._move(FAILED)
                return
            if time.monotonic() - began > STABLE_S:
                pause_s = BACKOFF_FIRST_S
            self.restarts += 1
            self._move(BACKOFF)
            log.warning("replica_lost", model=self.spec.model, reason=self.reason, pause_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, BACKOFF_MAX_S)

    async def _spawn(self) -> None:
        with await asyncio.to_thread(self._open_files) as output:
            self.process = await asyncio.create_subprocess_exec(
                *command(self.spec, self.address.uds),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(),
                start_new_session=True,  # Ctrl-C in the terminal is for the cloud, not for it
            )

    def _open_files(self) -> BinaryIO:
        """The log to write to; an old socket is out of the way then."""
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        if self._log_path.exists() and self._log_path.stat().st_size > LOG_MAX_BYTES:
            self._log_path.unlink()
        Path(self.address.uds).unlink(missing_ok=True)
        return self._log_path.open("ab")

    async def _until_ready(self) -> bool:
        """Whether the engine came up; False when it ended or took too long."""
        deadline = time.monotonic() + LOADING_S
        while time.monotonic() < deadline:
            if self._has_ended():
                return False
            if await self._is_healthy():
                return True
            await asyncio.sleep(LOADING_LOOK_S)
        self.reason = f"did not load within {LOADING_S:.0f} s"
        return False

    async def _until_lost(self) -> None:
        """Returns when the process has ended or no longer answers."""
        misses = 0
        assert self.process is not None
        ended = asyncio.create_task(self.process.wait())
        try:
            while misses < HEALTH_MISSES_MAX:
                await asyncio.wait([ended], timeout=HEALTH_EVERY_S)
                if self._has_ended():
                    return
                misses = 0 if await self._is_healthy() else misses + 1
        finally:
            ended.cancel()
        self.reason = f"did not answer {misses} times"

    async def _is_healthy(self) -> bool:
        try:
            async with asyncio.timeout(HEALTH_WITHIN_S):
                reply = await self._client.send(self.address, "GET", "/health")
                async with reply:
                    await reply.read()
        except (HaneulError, TimeoutError):
            return False
        return reply.status == 200

    def _has_ended(self) -> bool:
        assert self.process is not None
        code = self.process.returncode
        if code is None:
            return False
        self.reason = self._last_words() or (
            f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        )
        return True

    def _last_words(self) -> str:
        """The reason that an engine gives on its last line when it refuses its file."""
        try:
            last = self._log_path.read_bytes()[-4096:].strip().rpartition(b"\n")[2]
            return str(msgspec.json.decode(last, type=dict[str, str]).get("error", ""))
        except (OSError, msgspec.DecodeError):
            return ""

    async def _end(self, process: asyncio.subprocess.Process | None, *, is_asked: bool) -> None:
        """Returns when the process has ended; one that is not asked is killed."""
        self._client.forget(self.address)
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM if is_asked else signal.SIGKILL)
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def _move(self, to: str) -> None:
        if to == self.state:
            return
        if to not in MOVES[self.state]:
            raise RuntimeError(f"a replica cannot go from {self.state} to {to}")
        self.state, self.since = to, time.monotonic()
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self) -> None:
        await self._changed.wait()
