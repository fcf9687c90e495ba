"""The measured search for a model's best setup.

Every setup begins one round and leaves it when it is clearly slower than others; those that could
be the best race on for up to two more, in turns, so that a machine that slows down slows all of
them. A search that was interrupted goes on where it was when `run` is called again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from haneul.base import http
from haneul.base.errors import EngineFailed
from haneul.base.log import logger
from haneul.base.units import now_us
from haneul.services.tune import axes, load, quality, race
from haneul.services.tune.alive import Alive, SpecOf
from haneul.services.tune.axes import Scope
from haneul.services.tune.candidate import STEPPED_IN, Candidate, Lost
from haneul.services.tune.chooser import LOSS_MAX, PURPOSES, Choice, Purpose, Trial, choose, score
from haneul.services.tune.crossing import crossing, next_count
from haneul.services.tune.load import FULL_ROUND_S, ROUND_S, Load, fitting_load
from haneul.services.tune.processes import QUIET_SHARE, Clock, NotQuiet, until_quiet
from haneul.services.tune.setup import Setup, paired, show

QUIET_WITHIN_S = 30.0
DISTURBED_MAX = 2  # rounds that are repeated because others worked meanwhile
BUDGET_S, FULL_BUDGET_S = 45.0, 600.0  # after which only kernels are still begun
RACE_S, FULL_RACE_S = 62.0, 780.0  # after which nobody runs a third round
FORMATS = 3  # the stage of the weights' formats
SCORES_S, FULL_SCORES_S = 15.0, 120.0  # for the quality of one setup
SLOW = "given up: clearly slower than others, for one stream and for several"
LATE = "not tried: the time of the search was up"
CLOSE = 1.1  # two kernels that near to each other at a number of streams are measured twice
log = logger("tune")

T = TypeVar("T")
Prepare = Callable[[Setup], Awaitable[None]]  # makes the files that a setup needs; raises Lost
OnNews = Callable[[str], None]


class Found(Struct, frozen=True, kw_only=True):
    """What a search found out."""

    load: Load
    default: Trial
    trials: tuple[Trial, ...]  # all, the default first
    choices: dict[Purpose, Choice]
    many_from: int  # streams from which on the kernel for several is the better one; 0: no pair
    took_s: float


class Search:
    """Finds the best setups of one model. `run` may be cancelled and called again."""

    def __init__(
        self,
        scope: Scope,
        *,
        spec_of: SpecOf,
        prepare: Prepare,
        run_folder: Path,
        client: http.Client,
        has_room: Callable[[], bool],
        on_news: OnNews,
        is_quiet_needed: bool = True,
        loss_max: float = LOSS_MAX,
    ) -> None:
        self._scope = scope
        self._prepare = prepare
        self._alive = Alive(spec_of, run_folder=run_folder, client=client, has_room=has_room)
        self._say = on_news
        self._is_quiet_needed = is_quiet_needed
        self._loss_max = loss_max
        self._trials: dict[str, Trial] = {}
        self._load: Load | None = None
        self._words: list[str] = []  # that the default setup takes at the places of the text
        self._spent_s = 0.0
        self._many_from = 0
        self.default = Setup()

    async def run(self) -> Found:
        """Measures what is left to measure. Raises NotQuiet, and Lost when the default is."""
        if self._is_quiet_needed:
            await until_quiet(QUIET_WITHIN_S)
        began = time.monotonic()
        try:
            await self._first_rounds(began)
            await self._final_rounds(began)
            await self._losses()
            await self._cross()
        finally:
            self._spent_s += time.monotonic() - began
            await self._alive.close()
        return self._found()

    # the stages
    async def _first_rounds(self, began: float) -> None:
        await self._try(self.default)
        default = self._trials[self.default.key]
        if default.lost:
            raise Lost(f"The model cannot be served as it is: {default.lost}")
        scope, full = self._scope, self._scope.is_full
        stages: list[Callable[[Setup], Sequence[Setup]]] = [
            lambda _: scope.kernels,
            lambda best: axes.further_setups(best, self._kernel_of(best), is_full=full),
            lambda best: axes.thread_setups(best, scope.cores, is_full=full),
            lambda best: axes.format_setups(best, scope.formats),
        ]
        for number, stage in enumerate(stages):
            starts = self._leaders() + (self._unreadable() if number == FORMATS else [])
            for setup in _each([one for start in starts for one in stage(start)]):
                is_late = number > 0 and self._has_spent(began, BUDGET_S, FULL_BUDGET_S)
                await self._try(setup, is_late=is_late)

    async def _final_rounds(self, began: float) -> None:
        """Those near the best race on, until each purpose has one that leads, or to the end."""
        for number in range(1, race.ROUNDS):
            racing = self._racing()
            is_late = number > 1 and self._has_spent(began, RACE_S, FULL_RACE_S)
            if is_late or race.is_decided(racing, self._purposes()):
                return
            turn = [trial.setup for trial in racing]
            for setup in turn if number % 2 else turn[::-1]:
                if len(self._trials[setup.key].samples) <= number:
                    await self._again(setup)

    async def _losses(self) -> None:
        """The quality of coarser numbers, wherever their speed was measured to the end."""
        wanted = [
            trial.setup
            for trial in self._trials.values()
            if trial.setup.is_lossy
            and trial.is_measured
            and len(trial.samples) > 1
            and trial.loss is None
        ]
        if not wanted:
            return
        self._say("measuring what coarser numbers cost in quality")
        own = await self._alive.get(self.default)
        tokens = await own.guarded(
            quality.text_tokens(own.client, context_tokens=own.spec.context_tokens)
        )
        within_s = FULL_SCORES_S if self._scope.is_full else SCORES_S
        before = await own.guarded(quality.scores(own.client, tokens, within_s=within_s))
        for setup in wanted:
            if not quality.can_score(setup):
                self._say(f"{show(setup)}: this kernel cannot be asked for its scores")
                continue
            try:
                candidate = await self._alive.get(setup)
                after = await candidate.guarded(
                    quality.scores(candidate.client, tokens, within_s=within_s)
                )
                self._note(setup, loss=quality.loss(before, after))
            except Lost as error:
                await self._lose(setup, error.message)
            except EngineFailed as error:
                self._say(f"{show(setup)}: {error.message}")

    async def _cross(self) -> None:
        """From where on the better setup for several is that, if it is another kernel's."""
        assert self._load is not None
        choices = self._choices()
        pair = (choices["single"].trial.setup, choices["many"].trial.setup)
        if paired(*pair) is None:
            return
        rates: tuple[dict[int, float], dict[int, float]] = ({}, {})
        try:
            while (count := next_count(*rates, most=self._load.streams)) is not None:
                await self._at(count, pair, rates)
        except Lost as error:
            self._say(f"from how many streams on two kernels help is unknown: {error.message}")
            return
        self._many_from = crossing(*rates, most=self._load.streams)
        self._say(f"the second kernel is the quicker one from {self._many_from} streams on")

    async def _at(
        self, streams: int, pair: Sequence[Setup], rates: Sequence[dict[int, float]]
    ) -> None:
        """Both kernels' rates with so many streams; where they are close, of two rounds."""
        found: list[list[float]] = [[], []]
        for turn in ((0, 1), (1, 0)):
            for which in turn:
                found[which].append(await self._several(pair[which], streams))
            low, high = sorted(fmean(values) for values in found)
            if high > CLOSE * low:
                break
        for which, values in enumerate(found):
            rates[which][streams] = fmean(values)
        one, other = (mine[streams] for mine in rates)
        self._say(f"{streams} streams: {one:.1f} and {other:.1f} tok/s")

    async def _several(self, setup: Setup, streams: int) -> float:
        """Tokens per second: the geometric mean of own and of shared beginnings."""
        assert self._load is not None
        fewer = self._load.for_crossing(streams)
        candidate = await self._alive.get(setup)
        own = await self._part(candidate, lambda: load.together(candidate.client, fewer))
        alike = await self._part(candidate, lambda: load.alike(candidate.client, fewer))
        return math.sqrt(own.tokens_per_s * alike.shared)

    def _has_spent(self, began: float, quick_s: float, full_s: float) -> bool:
        """Whether the search has taken that long already."""
        spent_s = self._spent_s + time.monotonic() - began
        return spent_s > (full_s if self._scope.is_full else quick_s)

    # one setup
    async def _try(self, setup: Setup, *, is_late: bool = False) -> None:
        """The first round of a setup, unless it had one or is the default under its own name."""
        if setup.key in self._trials or self._is_default(setup):
            return
        self._trials[setup.key] = Trial(setup=setup, began_us=now_us())
        if is_late:
            await self._lose(setup, LATE)
            return
        try:
            await self._prepare(setup)
            candidate = await self._alive.get(setup)
            self._note(setup, kernel=candidate.kernel)
            if self._load is None:
                self._load = await candidate.guarded(
                    fitting_load(
                        candidate.client,
                        context_tokens=candidate.spec.context_tokens,
                        round_s=FULL_ROUND_S if self._scope.is_full else ROUND_S,
                    )
                )
            await self._check_words(setup, candidate)
            await self._round(setup, candidate, is_first=True)
        except Lost as error:
            await self._lose(setup, error.message)
        except BaseException:  # interrupted: as if it had not been begun
            self._trials.pop(setup.key, None)
            raise

    async def _again(self, setup: Setup) -> None:
        try:
            await self._round(setup, await self._alive.get(setup))
        except Lost as error:
            if setup == self.default:
                raise
            await self._lose(setup, error.message)

    async def _round(self, setup: Setup, candidate: Candidate, *, is_first: bool = False) -> None:
        """One round, noted. Raises Lost in the middle of a first one that can win nothing more."""
        size, client = self._load, candidate.client
        assert size is not None
        known = [
            one for trial in self._trials.values() if trial.is_measured for one in trial.samples
        ]
        single = await self._part(candidate, lambda: load.alone(client, size))
        may_leave = is_first and self._is_quiet_needed  # beside other work anything may be slow
        if not may_leave or not race.is_hopeless_alone(single.tokens_per_s, known):
            known = []
        limit_s = race.together_limit_s(size, known)
        several = await self._part(candidate, lambda: load.together(client, size), limit_s)
        limit_s = race.shared_limit_s(size, several.tokens_per_s, known)
        behind = await self._part(candidate, lambda: load.alike(client, size), limit_s)
        sample = load.sample(single, several, behind)
        trial = self._trials[setup.key]
        self._note(setup, samples=(*trial.samples, sample), memory_bytes=candidate.memory_bytes)
        self._say(f"{show(setup)}: {load.words_of(sample, size)}")

    async def _part(
        self, candidate: Candidate, work: Callable[[], Awaitable[T]], limit_s: float | None = None
    ) -> T:
        """What a measurement gives at a quiet moment, after some tries. Raises NotQuiet, Lost."""
        for _ in range(DISTURBED_MAX + 1):
            clock = Clock()
            found = await _within(limit_s, candidate.guarded(work()))
            others = clock.others_share()
            if others <= QUIET_SHARE or not self._is_quiet_needed:
                if found is None:
                    raise Lost(SLOW)
                return found
            self._say(f"others used {others:.0%} of the processors: once more")
            await until_quiet(QUIET_WITHIN_S)
        raise NotQuiet(retry_after_s=60)

    async def _check_words(self, setup: Setup, candidate: Candidate) -> None:
        """A kernel must take the tokens that the default takes; other weights may differ."""
        said = await candidate.guarded(quality.next_words(candidate.client))
        if setup == self.default:
            self._words = said
        agreed = quality.agreement(self._words, said)
        if agreed < quality.AGREEMENT_LEAST and not setup.is_lossy:
            raise Lost(f"takes other tokens than the default at {1 - agreed:.0%} of the places")

    # what is known so far
    def _leaders(self) -> list[Setup]:
        """The best setups so far, for one stream and for several; measured once each."""
        measured = [trial for trial in self._trials.values() if trial.is_measured]
        return _each([_best(measured, purpose).setup for purpose in PURPOSES])

    def _kernel_of(self, setup: Setup) -> str:
        return self._trials[setup.key].kernel

    def _unreadable(self) -> list[Setup]:
        """Kernels that cannot serve the file as it is, and perhaps can in another format."""
        lost = [setup for setup in self._scope.kernels if setup.key in self._trials]
        return [setup for setup in lost if STEPPED_IN in self._trials[setup.key].lost]

    def _purposes(self) -> Sequence[Purpose]:
        """What is to be decided: where two kernels can share the work, no compromise is."""
        measured = [trial for trial in self._trials.values() if trial.is_measured]
        single, many = (_best(measured, purpose).setup for purpose in ("single", "many"))
        return PURPOSES if paired(single, many) is None else ("single", "many")

    def _racing(self) -> list[Trial]:
        """Those who may yet be the best at something; the default while it is near."""
        return race.contenders(list(self._trials.values()), self._purposes())

    def _is_default(self, setup: Setup) -> bool:
        """Whether it is the default under its own name, which is known once that has started."""
        default = self._trials.get(self.default.key)
        return default is not None and setup == replace(self.default, kernel=default.kernel)

    def _note(self, setup: Setup, **news: object) -> None:
        self._trials[setup.key] = replace(self._trials[setup.key], **news)

    async def _lose(self, setup: Setup, reason: str) -> None:
        await self._alive.end(setup)
        self._note(setup, lost=reason)
        self._say(f"{show(setup)}: lost, {reason}")
        log.info("setup_lost", setup=show(setup), reason=reason)

    def _found(self) -> Found:
        assert self._load is not None
        default = self._trials[self.default.key]
        others = [trial for trial in self._trials.values() if trial is not default]
        return Found(
            load=self._load,
            default=default,
            trials=(default, *others),
            choices=self._choices(),
            many_from=self._many_from,
            took_s=self._spent_s,
        )

    def _choices(self) -> dict[Purpose, Choice]:
        default = self._trials[self.default.key]
        others = [trial for trial in self._trials.values() if trial is not default]
        return {
            purpose: choose(default, others, purpose, loss_max=self._loss_max)
            for purpose in PURPOSES
        }


async def _within(limit_s: float | None, work: Awaitable[T]) -> T | None:
    """What the work gives; None when it took longer than the limit."""
    try:
        async with asyncio.timeout(limit_s):
            return await work
    except TimeoutError:
        return None


def _best(trials: Sequence[Trial], purpose: Purpose) -> Trial:
    return max(trials, key=lambda trial: score(trial, purpose))


def _each(setups: Sequence[Setup]) -> list[Setup]:
    return list({setup.key: setup for setup in setups}.values())
