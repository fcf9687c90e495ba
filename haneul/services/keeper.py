"""Which embedded engines run: woken by requests, stopped when idle, put out to make room.

A model's engine starts when it is first asked for. Where the memory does not suffice, engines that
nobody is at are stopped until it does, the one whose last request is longest ago first, by what
each was forecast to hold; where that would not suffice either, none is. An engine that nobody has
been at for its `keep_alive_s` is stopped too; by default none is for that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from haneul.base.config import Config
from haneul.base.errors import HaneulError, NotEnoughMemory
from haneul.base.log import logger
from haneul.base.units import show_bytes
from haneul.chips.detect import cpu_of
from haneul.chips.estimate import Estimate, show
from haneul.chips.footprint import Footprint
from haneul.chips.host import read_host
from haneul.services.loads import Loads, remaining
from haneul.services.replica import BACKOFF, BACKOFF_MAX_S, FAILED, LOADING, READY, STOPPED, Replica
from haneul.services.rules import Rules
from haneul.services.targets import Target, Targets

RUNNING = (LOADING, READY, BACKOFF)
LOOK_S = 1.0
FULL_RETRY_S = 30.0  # where nothing says when an engine will have nobody in it
NOW = Estimate(low=0, mid=0, high=0, unit="s", source="the engine is ready")
log = logger("keeper")


class Awake:
    """One model's engine, woken and kept as long as somebody wants it."""

    def __init__(
        self, keeper: Keeper, replica: Replica, *, digest: str, size_bytes: int, need: Footprint
    ) -> None:
        self.replica = replica
        self.need = need
        self.is_measured = False
        self.wish_s: float | None = None  # as a client said; below 0: for ever
        self._keeper = keeper
        self._digest = digest
        self._size_bytes = size_bytes
        self._waking: asyncio.Task[None] | None = None
        replica.on_ready = self._was_ready

    def _was_ready(self, seconds: float) -> None:
        replica = self.replica
        model, engine_version = replica.spec.model, replica.engine_version
        self._keeper.loads.note(model, self._digest, engine_version, seconds)
        self._keeper.deployed(replica, self._digest)

    async def ready(self, within_s: float) -> None:
        """Returns when the engine answers. Raises NotEnoughMemory, EngineUnavailable."""
        if self.replica.state == READY:
            return
        if self.replica.state in (STOPPED, FAILED):
            await self._keeper.make_room(self)
        await self.replica.ready(within_s)

    def wake(self, within_s: float) -> None:
        """Begins to make it ready, for those who come later."""
        if self.replica.state == STOPPED and (self._waking is None or self._waking.done()):
            self._waking = asyncio.create_task(self._wake(within_s), name="wake")

    @contextmanager
    def measured(self) -> Iterator[None]:
        """It is not idle while the block runs, though it makes room if it has to."""
        self.is_measured = True
        try:
            yield
        finally:
            self.is_measured = False

    def keep(self, seconds: float) -> None:
        """Stays at least so long after its last request; below 0: for ever."""
        self.wish_s = seconds

    async def _wake(self, within_s: float) -> None:
        try:
            await self.ready(within_s)
        except HaneulError as error:
            log.info("not_woken", model=self.replica.spec.model, reason=error.message)

    def forecast(self) -> Estimate | None:
        """Seconds until it answers, 0 where it does; None where it cannot start."""
        replica = self.replica
        if replica.state == READY:
            return NOW
        if replica.state == FAILED:
            return None
        whole = self._keeper.loads.forecast(self._digest, self._size_bytes)
        if replica.state == LOADING:
            return remaining(whole, time.monotonic() - replica.since)
        if replica.state == BACKOFF:
            return replace(whole, high=whole.high + BACKOFF_MAX_S)
        return whole


class Keeper:
    """All embedded engines of one machine."""

    def __init__(
        self,
        config: Config,
        *,
        targets: Targets,
        loads: Loads,
        rules: Rules,
        deployed: Callable[[Replica, str], None],
        free_bytes: Callable[[], int | None] | None = None,
    ) -> None:
        self.loads = loads
        self.deployed = deployed  # told of each engine that is ready, and the digest of its file
        self._config = config
        self._targets = targets
        self._rules = rules
        self._free_bytes = free_bytes or _free_bytes
        self._deciding = asyncio.Lock()
        self._looker: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Looks for idle engines from now on."""
        self._looker = asyncio.create_task(self._look(), name="keeper")

    async def aclose(self) -> None:
        """Stops looking."""
        if self._looker is not None:
            self._looker.cancel()
            await asyncio.gather(self._looker, return_exceptions=True)

    # idle engines
    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            for target in self._embedded():
                keep_s = self.keep_s(target)
                is_measured = isinstance(target.awake, Awake) and target.awake.is_measured
                if keep_s is not None and not is_measured and (idle_s(target) or 0.0) > keep_s:
                    log.info("engine_idle", model=target.model, kept_s=keep_s)
                    await _stop(target)

    def keep_s(self, target: Target) -> float | None:
        """How long an engine is kept without requests; None for ever.

        The model's rule holds before the configuration; what a client wished, where it is longer.
        """
        rule = self._rules.keep_alive_s(target.model)
        keep_s = rule if rule is not None else self._config.keep_alive_s
        wish_s = target.awake.wish_s if isinstance(target.awake, Awake) else None
        if keep_s <= 0 or (wish_s is not None and wish_s < 0):
            return None
        return max(keep_s, wish_s or 0.0)

    # memory
    async def make_room(self, awake: Awake) -> None:
        """Stops idle engines until one more fits. Raises NotEnoughMemory, saying what lacks."""
        async with self._deciding:
            while (lack_bytes := await self._lack_bytes(awake)) > 0:
                idle = self._idle(awake)
                if sum(_held_bytes(target) for target in idle) < lack_bytes:
                    raise self._too_little(awake, lack_bytes)
                log.info("engine_put_out", model=idle[0].model, for_model=awake.replica.spec.model)
                await _stop(idle[0])
            awake.replica.start()

    async def _lack_bytes(self, awake: Awake) -> float:
        """How much more must be free; 0 or less where it fits, or nothing is known.

        Engines that load now will hold what they do not hold yet.
        """
        others = [other for other in self._embedded() if other.awake is not awake]
        need, lacks = awake.need.lasting, []
        if (free := await asyncio.to_thread(self._free_bytes)) is not None:
            loading = sum(_held_bytes(other) for other in others if other.state == LOADING)
            lacks.append(need.high - (free - loading))
        if self._config.memory_max_bytes:
            held = sum(_held_bytes(other) for other in others if other.state in RUNNING)
            lacks.append(need.mid + held - self._config.memory_max_bytes)
        return max(lacks, default=0.0)

    def _embedded(self) -> list[Target]:
        return [target for target in self._targets.every() if isinstance(target.awake, Awake)]

    def _idle(self, awake: Awake) -> list[Target]:
        """Engines that nobody is at, the longest idle first; those kept for ever last."""
        found = [
            (self.keep_s(target) is None and self._is_wished(target), -since_s, number)
            for number, target in enumerate(self._embedded())
            if target.awake is not awake and (since_s := idle_s(target)) is not None
        ]
        every = self._embedded()
        return [every[number] for *_, number in sorted(found)]

    def _is_wished(self, target: Target) -> bool:
        return isinstance(target.awake, Awake) and (target.awake.wish_s or 0) < 0

    def _too_little(self, awake: Awake, lack_bytes: float) -> NotEnoughMemory:
        model = awake.replica.spec.model
        lacks = f"it needs {show(awake.need.lasting)}, {show_bytes(lack_bytes)} more than are free"
        stays = [target.gate.wait_s for target in self._embedded() if target.gate.busy.inside]
        soon_s = min((stay_s for stay_s in stays if stay_s), default=FULL_RETRY_S)
        if not any(target.gate.busy.inside for target in self._embedded()):
            return NotEnoughMemory(f"'{model}' cannot be loaded: {lacks}.", retry_after_s=soon_s)
        return NotEnoughMemory(
            f"'{model}' cannot be loaded while other models answer: {lacks}.",
            retry_after_s=max(1.0, soon_s),
        )


def idle_s(target: Target) -> float | None:
    """Seconds since somebody was at a running engine; None where it does not run or is used."""
    if target.replica is None or target.state != READY:
        return None
    if target.gate.busy.inside or target.gate.waiting:
        return None
    return min(target.gate.busy.idle_s, time.monotonic() - target.replica.since)


async def _stop(target: Target) -> None:
    assert target.replica is not None
    await target.replica.stop()


def _held_bytes(target: Target) -> float:
    return target.awake.need.lasting.mid if isinstance(target.awake, Awake) else 0.0


def _free_bytes() -> int | None:
    return cpu_of(read_host()).memory_free_bytes
