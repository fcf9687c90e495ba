"""The search: every chip, layout and kind; the cheapest first, and why the others lost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from msgspec import Struct
from msgspec.structs import replace

from haneul.base.errors import HaneulError, UnsupportedValue
from haneul.chips.plan.calibration import Planner
from haneul.chips.plan.layouts import layout_text, layouts
from haneul.chips.plan.local import Local, offers
from haneul.chips.plan.options import Demand, Lost, Option, Pair, Terms, aggregated, separate
from haneul.chips.plan.predict import predict
from haneul.chips.plan.terms import Deployment, Load, PlanChip, PlanModel, Role

PREFILLS, DECODES = 3, 8  # of the best layouts for each: what is tried together
HALF_PERCENT = 0.005  # what is nearer than this is not told apart in whole percent


class Choice(Struct, frozen=True, kw_only=True):
    """The best of each chip and kind, cheapest first, with why it lost ('' of the first)."""

    options: tuple[Option, ...]
    whys: tuple[str, ...]
    lost: tuple[Lost, ...]


class Search(Struct, frozen=True, kw_only=True):
    """What holds for all chips; an empty precision is the model's own."""

    model: PlanModel
    demand: Demand
    precision: str = ""
    engine: str = "vllm"
    kv_bits: int | None = None  # of a number of the cache; None: as the engine keeps it
    kinds: tuple[str, ...] = ("aggregated", "split")


def choose(
    search: Search,
    chips: Sequence[tuple[PlanChip, Terms]],
    *,
    planner: Planner,
    local: Local | None = None,
) -> Choice:
    """The options of all chips, this machine's processor among them where one is given.

    Raises UnsupportedValue where a demand cannot be.
    """
    refuse_unless_it_can_be(search.demand)
    options: list[Option] = []
    lost: list[Lost] = []
    if local is not None:
        options, lost = offers(local, search.model, search.demand, precision=search.precision)
    for chip, terms in chips:
        for kind in search.kinds:
            tried = _aggregated if kind == "aggregated" else _split
            found, refused = tried(search, chip, terms, planner)
            if found:
                options.append(min(found, key=rank))
            lost += refused
    options.sort(key=rank)
    return Choice(
        options=tuple(options),
        whys=tuple(_why(each, options[0]) for each in options),
        lost=tuple(lost),
    )


def rank(option: Option) -> tuple[int, float]:
    """Cheapest request first; chips nobody has a price for come after, the fastest first."""
    if option.price is None:
        return (1, -option.tokens_per_s_per_chip.mid)
    return (0, option.price.request.mid)


def refuse_unless_it_can_be(demand: Demand) -> None:
    """Raises UnsupportedValue for lengths, rates and limits that are none."""
    load = demand.load
    positive = (demand.rate, demand.users, load.ttft_s, load.tpot_s)
    if load.isl < 1 or load.osl < 1 or any(each is not None and not each > 0 for each in positive):
        raise UnsupportedValue("Lengths, rates, users and limits are above zero.")
    if demand.rate is not None and demand.users is not None:
        raise UnsupportedValue("Name a rate or users, not both.")
    if not 0 <= load.cache_hit < 1 or not 0 <= load.acceptance <= 8:
        raise UnsupportedValue("A cache hit is from 0 to below 1, an acceptance from 0 to 8.")


def reasons(lost: Iterable[Lost]) -> dict[str, str]:
    """For each chip why its best layout does not serve.

    That is the one that needs least, where there are too few chips, else the one with the most.
    """
    best: dict[str, Lost] = {}
    for each in lost:
        if each.kind != "aggregated":
            continue
        before = best.get(each.chip)
        if before is None or _tells_more(each, before):
            best[each.chip] = each
    return {chip: f"{each.layout}: {each.why}" for chip, each in best.items()}


def _tells_more(lost: Lost, before: Lost) -> bool:
    if lost.chips_needed is None and before.chips_needed is None:
        return True
    return (lost.chips_needed or math.inf) < (before.chips_needed or math.inf)


def _lost(chip: PlanChip, kind: str, deployment: Deployment, refusal: HaneulError) -> Lost:
    needed = refusal.facts.get("chips_needed")
    return Lost(chip.name, kind, layout_text(deployment), refusal.message, needed)


def _aggregated(
    search: Search, chip: PlanChip, terms: Terms, planner: Planner
) -> tuple[list[Option], list[Lost]]:
    options: list[Option] = []
    lost: list[Lost] = []
    for deployment in layouts(
        search.model,
        chip,
        precision=search.precision,
        engine=search.engine,
        count_most=terms.chips_most,
        kv_bits=search.kv_bits,
    ):
        try:
            options.append(aggregated(deployment, search.demand, terms, planner=planner))
        except HaneulError as refusal:
            lost.append(_lost(chip, "aggregated", deployment, refusal))
    return options, lost


def _split(
    search: Search, chip: PlanChip, terms: Terms, planner: Planner
) -> tuple[list[Option], list[Lost]]:
    load = search.demand.load
    limits: Mapping[Role, Load] = {
        "prefill": replace(load, tpot_s=None),
        "decode": replace(load, ttft_s=None),
    }
    pairs: dict[Role, list[Pair]] = {"prefill": [], "decode": []}
    lost: list[Lost] = []
    for role, asked in limits.items():
        for deployment in layouts(
            search.model,
            chip,
            precision=search.precision,
            engine=search.engine,
            role=role,
            count_most=terms.chips_most,
            kv_bits=search.kv_bits,
        ):
            try:
                found = predict(deployment, asked, planner=planner)
            except HaneulError as refusal:
                lost.append(_lost(chip, role, deployment, refusal))
            else:
                pairs[role].append((deployment, found))
        pairs[role].sort(key=lambda pair: -pair[1].tokens_per_s_per_chip.mid)
    options: list[Option] = []
    for prefill, decode in product(pairs["prefill"][:PREFILLS], pairs["decode"][:DECODES]):
        try:
            options.append(separate(prefill, decode, search.demand, terms))
        except HaneulError as refusal:
            lost.append(_lost(chip, "split", decode[0], refusal))
    return options, lost


def _why(option: Option, first: Option) -> str:
    """Why it is not the first."""
    if option is first:
        return ""
    if option.price is None or first.price is None:
        slower = 1 - option.tokens_per_s_per_chip.mid / first.tokens_per_s_per_chip.mid
        return "price unknown" if first.price else f"{slower:.0%} fewer tokens a chip"
    dearer = option.price.request.mid / first.price.request.mid - 1
    return f"dearer by {dearer:.0%}" if dearer >= HALF_PERCENT else "dearer by less than 1%"
