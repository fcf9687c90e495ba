"""Where a request goes: what its model's name leads to, put in order for this moment.

The choice itself is `choice.rank`, a pure function; here it is given what is known: gates, prices,
health, and the tokens that requests of this name have used so far.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from haneul.base.errors import (
    DeadlineExceeded,
    EngineFailed,
    HaneulError,
    ModelNotFound,
    NotAllowed,
    Overloaded,
    RateLimited,
    Unavailable,
)
from haneul.base.http_connection import Disconnected
from haneul.base.units import MILLION, now_us
from haneul.services import choice
from haneul.services.affinity import beginning, mark
from haneul.services.ask import Ask
from haneul.services.choice import View
from haneul.services.flights import Counters
from haneul.services.keyring import require
from haneul.services.keys import Key
from haneul.services.nearest import nearest
from haneul.services.routes import Route
from haneul.services.targets import Found, Target, Targets
from haneul.services.watch import Silent
from haneul.store.prices import PriceRow

ANSWER_TOKENS = 256  # taken for likely until some have been counted
BYTES_PER_TOKEN = 4
RECENT = 1 / 16  # how much the newest request says of the next
NAMES_MAX = 4096
WAKE_S = 600.0
THOUGHT_SHARE = 0.02  # of late answers, from which on a name is one that thinks
BROKEN = (EngineFailed, Disconnected)  # answers that may be their request's own fault


class Plan(NamedTuple):
    """The targets of one request, best first, and why the first is the first."""

    targets: list[Target]
    reason: str = choice.ONLY


class Habit(NamedTuple):
    """What requests of one name use, those of late counting more."""

    completion_tokens: float = ANSWER_TOKENS
    cached_share: float = 0.0  # of the prompt's tokens
    reasoning_share: float = 0.0  # of the answer's


class Tokens(NamedTuple):
    """What one request will probably use."""

    fresh: int  # of the prompt
    cached: int
    answer: int
    reasoning: int


UNKNOWN = Habit()


class Router:
    """Finds and orders targets."""

    def __init__(
        self,
        targets: Targets,
        *,
        spill_wait_s: float,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._targets = targets
        self._spill_wait_s = spill_wait_s
        self._clock = clock
        self._chance = chance
        self._habits: dict[str, Habit] = {}

    def find(self, key: Key, name: str) -> Found:
        """What a name leads to, as far as the key may use it. Raises ModelNotFound, NotAllowed."""
        try:
            found = self._targets.look_up(name)
        except ModelNotFound:
            raise self._unknown(key, name) from None
        if key.models is None or name in key.models:
            return found
        return _narrowed(key, found)

    def routes(self, key: Key) -> list[Route]:
        """The routes that lead somewhere and that the key may use."""
        leading = self._targets.leading()
        return [self._targets.routes[each.name] for each in leading if _may_use(key, each)]

    def _unknown(self, key: Key, name: str) -> ModelNotFound:
        """The error for a name that is not here, with the nearest of those the key may use."""
        known = [
            each
            for each, targets in self._targets.names()
            if key.models is None or each in key.models or _allowed(key.models, targets)
        ]
        shown = name if len(name) <= 100 else name[:100] + "…"
        near = " or ".join(f"'{each}'" for each in nearest(name, known))
        meant = f" Did you mean {near}?" if near else ""
        return ModelNotFound(
            f"There is no model {shown!r} here.{meant} GET /v1/models lists those there are.",
            param="model",
        )

    def plan(self, key: Key, ask: Ask) -> Plan:
        """The targets that may answer, best first. Raises ModelNotFound, NotAllowed."""
        found = self.find(key, ask.model)
        pools = found.pools
        if len(pools) == 1 and len(pools[0]) == 1:
            return Plan([pools[0][0]])
        return self._order(ask, found)

    def _order(self, ask: Ask, found: Found) -> Plan:
        places = self._places(found)
        targets = [target for target, _ in places]
        if len(targets) == 1:
            return Plan(targets)
        now, tokens = self._clock(), likely_tokens(ask, self._habits.get(found.name, UNKNOWN))
        for target, place in places:
            if place == 0 and target.awake is not None and not target.is_ready:
                target.awake.wake(WAKE_S)  # for those who come later, where this one goes elsewhere
        views = [view(target, tokens, place, now) for target, place in places]
        order, reason = choice.rank(
            views, mark=lambda: mark(beginning(ask)), spill_wait_s=self._spill_wait_s
        )
        return Plan([targets[number] for number in order], reason)

    def _places(self, found: Found) -> list[tuple[Target, int]]:
        """Each target once, with its place: members first, the one that was drawn before others."""
        if len(found.pools) == 1:
            return [(target, 0) for target in found.pools[0]]
        members = range(found.members)
        later = range(found.members, len(found.pools))
        order: list[tuple[int, int]] = [(0, number) for number in members]
        if any(found.weights):
            drawn = choice.draw(found.weights, self._chance())
            rest = sorted(set(members) - {drawn}, key=lambda number: -found.weights[number])
            order = list(enumerate([drawn, *rest]))
        order += [(found.members + place, number) for place, number in enumerate(later)]
        seen: dict[int, tuple[Target, int]] = {}
        for place, number in order:
            for target in found.pools[number]:
                seen.setdefault(id(target), (target, place))
        return list(seen.values())

    def scarce(self, name: str) -> dict[str, list[Target]]:
        """What a route leads to when all is scarce, by the models' names, in its order."""
        route = self._targets.routes.get(name)
        return {} if route is None else {each: self._targets.named(each) for each in route.scarce}

    def smaller(self, key: Key, ask: Ask) -> Iterator[tuple[str, Plan]]:
        """The models that answer when all is scarce and are free, the first named first."""
        models, now = key.models, self._clock()
        is_whole = models is None or ask.model in models
        for name, targets in self.scarce(ask.model).items():
            free = [
                target
                for target in targets
                if is_whole or name in (models or ()) or target.model in (models or ())
                if is_free_at(target) and not target.health.paused_s(now)
            ]
            if free:
                yield name, Plan(free)

    def thinks(self, name: str) -> bool:
        """Whether answers under a name had thoughts of late."""
        return self._habits.get(name, UNKNOWN).reasoning_share > THOUGHT_SHARE

    # what was learnt of it
    def trying(self, target: Target) -> None:
        """A request goes there; if it was paused, this one finds out for the others."""
        if target.health.paused_until:
            target.health.trying(self._clock())

    def ended(self, target: Target, error: BaseException, *, late: HaneulError | None) -> None:
        """A request ended there without a whole answer; `late`: no first byte came in time."""
        error, health, now = late or error, target.health, self._clock()
        if isinstance(error, Silent):
            health.failed(now, retry_after_s=None, chance=self._chance())
        elif isinstance(error, RateLimited | Overloaded):
            health.rest(now, retry_after_s=error.retry_after_s, chance=self._chance())
        elif isinstance(error, BROKEN):
            health.failed(now, retry_after_s=None, chance=self._chance(), is_broken=True)
        elif isinstance(error, Unavailable | DeadlineExceeded):
            health.failed(now, retry_after_s=error.retry_after_s, chance=self._chance())
        else:
            health.untried()  # the client's own fault, or its going away

    def learn(self, name: str, counters: Counters) -> None:
        """What one answered request of a name used."""
        old = self._habits.get(name, UNKNOWN)
        if name not in self._habits and len(self._habits) >= NAMES_MAX:
            self._habits.clear()
        prompt, answer = max(counters.prompt_tokens, 1), max(counters.completion_tokens, 1)
        self._habits[name] = Habit(
            _moved(old.completion_tokens, counters.completion_tokens),
            _moved(old.cached_share, counters.cached_tokens / prompt),
            _moved(old.reasoning_share, counters.reasoning_tokens / answer),
        )


def view(target: Target, tokens: Tokens, place: int, now: float) -> View:
    """What the choice may know of a target."""
    gate, health = target.gate, target.health
    waiting = gate.waiting
    price = target.price_at(now_us()) if target.upcoming else target.price
    is_free = is_free_at(target)
    return View(
        target.id,
        place,
        target.is_own,
        is_free,
        gate.is_full,
        0.0 if is_free else _wait_s(target),
        gate.busy.inside + waiting,
        None if price is None else likely_nano(price, tokens),
        health.paused_s(now),
    )


def is_free_at(target: Target) -> bool:
    """Whether a request would begin there at once."""
    return target.gate.has_place and target.is_ready


def _wait_s(target: Target) -> float | None:
    """In its queue, and until it has started; None: not measured yet."""
    wait_s = target.gate.wait_s
    if target.is_ready or target.awake is None:
        return wait_s
    waking = target.awake.forecast()
    return math.inf if waking is None else (wait_s or 0.0) + waking.mid


def likely_tokens(ask: Ask, habit: Habit) -> Tokens:
    """What the request will probably use, by what those of its name have used."""
    prompt = ask.prompt_bytes // BYTES_PER_TOKEN + 1
    each, most = habit.completion_tokens, ask.completion_max
    answer = int((each if most is None else min(each, most)) * ask.answers)
    cached, reasoning = int(prompt * habit.cached_share), int(answer * habit.reasoning_share)
    return Tokens(prompt - cached, cached, answer - reasoning, reasoning)


def likely_nano(price: PriceRow, tokens: Tokens) -> int:
    """What these tokens cost at a price; without the rounding of a bill, a comparison is all."""
    reasoning_nano = price.output_nano if price.reasoning_nano is None else price.reasoning_nano
    return (
        tokens.fresh * price.input_nano
        + tokens.cached * price.cached_nano
        + tokens.answer * price.output_nano
        + tokens.reasoning * reasoning_nano
    ) // MILLION


def _may_use(key: Key, found: Found) -> bool:
    try:
        return key.models is None or found.name in key.models or bool(_narrowed(key, found))
    except NotAllowed:
        return False


def _narrowed(key: Key, found: Found) -> Found:
    """What a key may use of it that is allowed some models, but not this name as such.

    A member that the route names as the key does is allowed whole. Raises NotAllowed.
    """
    models = key.models
    assert models is not None
    named = zip(found.names, found.pools, strict=True)
    kept = found.kept(
        tuple(pool if name in models else _allowed(models, pool) for name, pool in named)
    )
    if not kept.pools:
        require(key, "infer", found.name)
    return kept


def _allowed(models: frozenset[str], pool: Sequence[Target]) -> tuple[Target, ...]:
    return tuple(target for target in pool if target.model in models)


def _moved(old: float, new: float) -> float:
    return old + (new - old) * RECENT


@lru_cache(maxsize=4096)
def head(engine: str, reason: str) -> bytes:
    """The lines of an answer's head that say who answered, and why."""
    name = engine.encode("ascii", "replace")
    return b"x-haneul-engine: %b\r\nx-haneul-route-reason: %b\r\n" % (name, reason.encode())
