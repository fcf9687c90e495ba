"""The door of an engine that several workers go through: `gate.Gate`, over all of them.

So many are inside and so many wait as one gateway would have, first come, first served: a place
that is free goes to the worker whose first request has waited longest, and that one is woken.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from weakref import WeakValueDictionary

from haneul.base.config import Config
from haneul.services.call import Call, Calls
from haneul.services.gate import Busy, Full, Gate, Gates
from haneul.services.health import Health
from haneul.services.workers.health import SharedHealth
from haneul.services.workers.places import BILLION, Places, Row

LOOK_S = 0.05  # how often who waits looks for itself, should nobody have woken it


class SharedBusy(Busy):
    """The engine's clock, in the shared file."""

    def __init__(self, row: Row) -> None:
        self._row = row

    @property
    def inside(self) -> int:  # type: ignore[override]
        return self._row.taken

    @property
    def busy_s(self) -> float:  # type: ignore[override]
        return self._row.busy_s

    @property
    def stay_s(self) -> float | None:
        return self._row.stay_s

    @property
    def idle_s(self) -> float:
        return self._row.idle_s

    def reading_s(self) -> float:
        with self._row.places:
            return self._row.advance() / BILLION


class SharedGate(Gate):
    """One worker's side of the door."""

    def __init__(
        self,
        row: Row,
        wake: Callable[[int], None],
        *,
        inside_max: int,
        queue_max: int,
        queue_s: float,
    ) -> None:
        super().__init__(inside_max=inside_max, queue_max=queue_max, queue_s=queue_s)
        self.busy = SharedBusy(row)
        self._row = row
        self._wake = wake
        self._line: deque[tuple[asyncio.Future[float], int]] = deque()  # since when, in ns

    @property
    def row(self) -> Row:
        """Of the shared file."""
        return self._row

    @property
    def waiting(self) -> int:
        return self._row.waiting

    @property
    def has_place(self) -> bool:
        return self._row.taken < self.inside_max and not self._row.waiting

    @property
    def is_full(self) -> bool:
        return not self.has_place and self._row.waiting >= self.queue_max

    @property
    def wait_s(self) -> float | None:
        if self.has_place:
            return 0.0
        stay_s = self.busy.stay_s
        return None if stay_s is None else (self._row.waiting + 1) * stay_s / self.inside_max

    async def enter(self) -> float:
        """Waits for a place; gives the busy clock's reading at entry. Raises Overloaded."""
        row = self._row
        with row.places:
            reading = row.advance()
            if self.has_place:
                row.take()
                return reading / BILLION
            if row.waiting >= self.queue_max:
                message = "The queue of this model's engine is full."
                raise Full(message, retry_after_s=self.retry_after_s)
            turn: asyncio.Future[float] = asyncio.get_running_loop().create_future()
            self._line.append((turn, time.monotonic_ns()))
            self._note(0)
        return await self._turn(turn)

    async def _turn(self, turn: asyncio.Future[float]) -> float:
        try:
            async with asyncio.timeout(self.queue_s):
                return await turn
        except BaseException as cause:
            self._leave_line(turn)
            if isinstance(cause, TimeoutError):
                message = "Waited too long for this model's engine."
                raise Full(message, retry_after_s=self.retry_after_s) from cause
            raise

    def leave(self) -> None:
        """Gives the place to the one that has waited longest, here or at another worker."""
        with self._row.places:
            self._row.advance()
            self._row.leave()
            following = self._grant()
        self._call(following)

    def look(self) -> None:
        """Takes what is free for those of this worker whose turn it is."""
        if self._line:
            with self._row.places:
                following = self._grant()
            self._call(following)

    def _grant(self) -> int | None:
        """Lets those in whose turn it is; gives the worker that is to let one of its own in."""
        row = self._row
        while row.taken < self.inside_max and (following := row.next_worker()) is not None:
            if following != row.places.slot:
                return following
            turn, _ = self._line.popleft()
            if is_there := not turn.done():
                turn.set_result(row.advance() / BILLION)
            self._note(is_there)
        return None

    def _note(self, granted: int) -> None:
        since_ns = self._line[0][1] if self._line else 0
        self._row.put(taken=granted, waiting=len(self._line), since_ns=since_ns)

    def _call(self, worker: int | None) -> None:
        if worker is not None and worker != self._row.places.slot:
            self._wake(worker)

    def _leave_line(self, turn: asyncio.Future[float]) -> None:
        """Gives back a place that was granted in the moment its taker went away."""
        if turn.done() and not turn.cancelled():
            self.leave()
            return
        with self._row.places:
            self._line = deque(each for each in self._line if each[0] is not turn)
            self._note(0)
            following = self._grant()
        self._call(following)


class SharedGates(Gates):
    """Makes the gates of one worker, and wakes the others' through a socket each."""

    def __init__(self, config: Config, places: Places, run: Path) -> None:
        super().__init__(config)
        self._places = places
        self._run = run
        self._made: WeakValueDictionary[str, SharedGate] = WeakValueDictionary()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        own = self._path(places.slot)
        Path(own).unlink(missing_ok=True)
        self._socket.bind(own)
        os.chmod(own, 0o600)
        asyncio.get_running_loop().add_reader(self._socket, self._woken)
        self._looker = asyncio.create_task(self._look(), name="gates")

    def of(self, name: str, inside_max: int) -> Gate:
        """The gate of a name; without room for it, this worker's part of the places."""
        config = self._config
        if (known := self._made.get(name)) is not None:
            known.inside_max = inside_max  # the line in the file is one, and so is the gate
            return known
        row = self._places.row(name)
        if row is None:
            return super().of(name, max(1, inside_max // self._places.workers))
        gate = SharedGate(
            row,
            self.wake,
            inside_max=inside_max,
            queue_max=config.queue_max,
            queue_s=config.queue_s,
        )
        self._made[name] = gate
        return gate

    def health(self, gate: Gate, of: str) -> Health:
        """One for all workers, where the gate is."""
        return SharedHealth(gate.row, of) if isinstance(gate, SharedGate) else Health()

    def wake(self, worker: int) -> None:
        """Has a worker look at its queues; one that is not there does not wait."""
        with suppress(OSError):
            self._socket.sendto(b"!", self._path(worker))

    def _woken(self) -> None:
        with suppress(BlockingIOError):
            while self._socket.recv(16):
                pass
        self._look_once()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self._look_once()

    def _look_once(self) -> None:
        for gate in list(self._made.values()):
            gate.look()

    def _path(self, worker: int) -> str:
        return str(self._run / f"wake-{worker}")

    async def aclose(self) -> None:
        """Wakes nobody any more, and is not woken."""
        self._looker.cancel()
        await asyncio.gather(self._looker, return_exceptions=True)
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


class SharedCalls(Calls):
    """The calls in progress, counted over all workers."""

    def __init__(self, places: Places) -> None:
        super().__init__()
        self._places = places

    def __len__(self) -> int:
        return self._places.calls

    def add(self, call: Call) -> None:
        super().add(call)
        self._places.set_calls(len(self._open))

    def remove(self, call: Call) -> None:
        super().remove(call)
        self._places.set_calls(len(self._open))
