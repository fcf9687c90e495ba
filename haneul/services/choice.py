"""Which target a request goes to: one pure function over what is known at this moment.

Own hardware while it has a free place: it is paid for anyway, so one more answer costs nothing. Its
queue while that keeps the wait within what the operator allows; else the cheapest remote for this
request. What has failed lately comes last, but never falls out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from haneul.services.affinity import spread

OWN_FREE = "own_free"
OWN_QUEUE = "own_queue"
SPILLED = "spilled"
CHEAPEST = "cheapest"
AFFINITY = "affinity"
FALLBACK = "fallback"
ONLY = "only"
SCARCE_THINKING = "scarce_thinking"
SCARCE_MODEL = "scarce_model"
SCARCE_QUEUE = "scarce_queue"
CACHE = "cache"
REASONS = {
    OWN_FREE: "own hardware was free",
    OWN_QUEUE: "own hardware, where the wait was short enough",
    SPILLED: "own hardware was busy for too long",
    CHEAPEST: "the cheapest",
    AFFINITY: "of equals the one that read such prompts before",
    FALLBACK: "the better ones failed or were paused",
    ONLY: "the only one",
    SCARCE_THINKING: "the best there was, with fewer thoughts: all was scarce",
    SCARCE_MODEL: "a smaller model: all was scarce",
    SCARCE_QUEUE: "the best there was, after a wait that was announced: all was busy",
    CACHE: "it answered the same before, and that answer was kept",
}

UNKNOWN_NANO = 1 << 62  # where a price is not known: after all that are
FREE, SHORT_QUEUE, REMOTE, LONG_QUEUE, REMOTE_QUEUE = range(5)  # better first
Key = tuple[float, bool, int, int, int]


class View(NamedTuple):
    """What the choice knows of one target."""

    id: int  # 64 bits of its name
    place: int = 0  # in its route: 0 for the model that is meant, more for what comes after it
    is_own: bool = False
    has_place: bool = True
    is_full: bool = False  # its queue takes nobody any more
    wait_s: float | None = 0.0  # in its queue, estimated; None: nothing was measured yet
    load: int = 0  # requests inside and waiting
    cost_nano: int | None = 0  # of this request's likely tokens; None: the price is unknown
    paused_s: float = 0.0  # until it may be asked again


def rank(
    views: Sequence[View], *, mark: Callable[[], int], spill_wait_s: float
) -> tuple[list[int], str]:
    """The targets' numbers, best first, and why the first is the first.

    `mark` gives the 64 bits of the prompt's beginning; it is asked only where that decides.
    """
    if len(views) == 1:
        return [0], ONLY
    keys = [_key(view, spill_wait_s) for view in views]
    sorting = sorted((key, views[each].load, each) for each, key in enumerate(keys))
    order, is_home = [each for _, _, each in sorting], False
    equal = keys.count(sorting[0][0])
    if equal > 1:
        group = order[:equal]
        ids, loads = [views[each].id for each in group], [views[each].load for each in group]
        numbers, is_home = spread(mark(), ids, loads)
        order[:equal] = [group[number] for number in numbers]
    return order, _reason(views, keys, order[0], is_home=is_home)


def _key(view: View, spill_wait_s: float) -> Key:
    """Lower goes first; the same for those between which nothing but the prompt decides."""
    tier = _tier(view, spill_wait_s)
    cost = 0 if view.is_own else UNKNOWN_NANO if view.cost_nano is None else view.cost_nano
    return view.paused_s, view.is_full, view.place, tier, cost


def _tier(view: View, spill_wait_s: float) -> int:
    if not view.is_own:
        return REMOTE if view.has_place else REMOTE_QUEUE
    if view.has_place:
        return FREE
    is_short = not view.is_full if view.wait_s is None else view.wait_s <= spill_wait_s
    return SHORT_QUEUE if is_short else LONG_QUEUE


def _reason(views: Sequence[View], keys: Sequence[Key], number: int, *, is_home: bool) -> str:
    """Why this one goes first; `is_home`: the prompt's beginning chose it, and no other's load."""
    first, (paused_s, *key) = views[number], keys[number]
    for view, (other_paused_s, *other) in zip(views, keys, strict=True):
        if view.place < first.place or (other_paused_s > paused_s and other < key):
            return FALLBACK
    if not first.is_own and any(view.is_own and view.place <= first.place for view in views):
        return SPILLED
    if is_home:
        return AFFINITY
    if first.is_own:
        return OWN_FREE if first.has_place else OWN_QUEUE
    return CHEAPEST


def draw(weights: Sequence[int], point: float) -> int:
    """The number of the member that a point from 0 to 1 falls on; members of weight 0 are none."""
    rest = point * sum(weights)
    last = 0
    for number, weight in enumerate(weights):
        if weight:
            last = number
            if rest < weight:
                return number
            rest -= weight
    return last
