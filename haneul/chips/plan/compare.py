"""Unlike fleets at one model and load: what all of each does, its power, and what its tokens cost.

Every fleet is filled with the layout that gives it most output tokens. Hours are priced as owned or
rented chips are, so a price of power weighs on what is bought and on nothing that is rented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from haneul.base.errors import HaneulError, NotEnoughMemory
from haneul.base.units import NANO
from haneul.chips.cost import HourCost
from haneul.chips.estimate import Estimate, scale, show
from haneul.chips.fleet import Fleet
from haneul.chips.plan.asked import Group
from haneul.chips.plan.calibration import Planner
from haneul.chips.plan.charging import TokenMoney, charge, prompt_share
from haneul.chips.plan.layouts import layout_text, layouts
from haneul.chips.plan.owning import hour_of, watts_of
from haneul.chips.plan.predict import predict
from haneul.chips.plan.terms import Deployment, Load, PlanModel, Prediction

MILLION = 1e6
HOUR_S = 3600


class Compared(Struct, frozen=True, kw_only=True):
    """One fleet, full; energy is kWh for a million output tokens, with PUE. None: unknown."""

    fleet: str
    layout: str
    replicas: int
    idle_chips: int  # that no whole replica takes
    tokens_per_s: Estimate
    tokens_per_s_per_chip: Estimate
    ttft: Estimate
    tpot: Estimate
    power_w: float | None
    energy: Estimate | None
    hour: HourCost | None
    price: TokenMoney | None
    assumptions: tuple[str, ...]


def compare(
    model: PlanModel,
    load: Load,
    group: Group,
    fleet: Fleet,
    *,
    planner: Planner,
    precision: str = "",
    engine: str = "vllm",
    purchases: Mapping[str, str] | None = None,
    rents: Mapping[str, str] | None = None,
) -> Compared:
    """The fleet at its best. Raises NotEnoughMemory where no layout serves, with the reason."""
    deployment, found = _best(model, load, group, planner, precision, engine)
    replicas = group.count // deployment.count
    made = scale(found.tokens_per_s, replicas)
    hour = hour_of(fleet, group, purchases=purchases, rents=rents)
    watts = watts_of(group)
    return Compared(
        fleet=group.text,
        layout=layout_text(deployment),
        replicas=replicas,
        idle_chips=group.count - replicas * deployment.count,
        tokens_per_s=made,
        tokens_per_s_per_chip=scale(made, 1 / group.count),
        ttft=found.ttft,
        tpot=found.tpot,
        power_w=watts,
        energy=energy_of(made, watts, fleet),
        hour=hour,
        price=_price(load, found, made, hour, fleet),
        assumptions=found.assumptions,
    )


def verdict(found: Sequence[Compared]) -> str:
    """One line: who makes most, who needs least energy, whose tokens are cheapest."""
    if not found:
        return "None of them serves it."
    most = max(found, key=lambda each: each.tokens_per_s.mid)
    said = [f"Most output: {most.fleet}, {show(most.tokens_per_s)}"]
    powered = [each for each in found if each.energy is not None]
    if powered:
        said.append(_least("least energy", [(each.fleet, each.energy) for each in powered]))
    priced = [(each.fleet, each.price.output) for each in found if each.price is not None]
    if priced:
        said.append(_least("cheapest output", priced))
    unknown = [each.fleet for each in found if each.price is None]
    if unknown:
        said.append(f"price unknown: {', '.join(unknown)}")
    return "; ".join(said)


def _least(what: str, costs: Sequence[tuple[str, Estimate | None]]) -> str:
    """The least of costs, and how far the next is."""
    known = sorted(
        ((cost.mid, fleet, cost) for fleet, cost in costs if cost is not None),
        key=lambda each: each[:2],
    )
    first = known[0]
    apart = f", next {known[1][0] / first[0] - 1:.0%} more" if len(known) > 1 else ""
    return f"{what}: {first[1]}, {show(first[2])}{apart}"


def _best(
    model: PlanModel,
    load: Load,
    group: Group,
    planner: Planner,
    precision: str,
    engine: str,
) -> tuple[Deployment, Prediction]:
    """The layout with most tokens of the whole fleet, chips left over counted."""
    best: tuple[float, Deployment, Prediction] | None = None
    why = "no layout is that small"
    for each in layouts(
        model, group.chip, precision=precision, engine=engine, count_most=group.count
    ):
        try:
            found = predict(each, load, planner=planner)
        except HaneulError as refusal:
            why = refusal.message
            continue
        total = found.tokens_per_s.mid * (group.count // each.count)
        if best is None or total > best[0]:
            best = (total, each, found)
    if best is None:
        raise NotEnoughMemory(f"{group.text} do not serve {model.name} so: {why}")
    return best[1], best[2]


def energy_of(made: Estimate, watts: float | None, fleet: Fleet) -> Estimate | None:
    """kWh of a million tokens with the building's PUE; None where the power is unknown."""
    if watts is None:
        return None
    per_s = watts * fleet.figures.pue.value / 1000 / HOUR_S
    return Estimate(
        low=per_s * MILLION / made.high,
        mid=per_s * MILLION / made.mid,
        high=per_s * MILLION / made.low,
        unit="kWh/1M",
        source=f"power at the chips' limit; {made.source}",
    )


def _price(
    load: Load, found: Prediction, made: Estimate, hour: HourCost | None, fleet: Fleet
) -> TokenMoney | None:
    if hour is None:
        return None
    paid = Estimate(
        low=hour.low_nano / NANO,
        mid=hour.total_nano / NANO,
        high=hour.high_nano / NANO,
        unit=hour.currency,
        source=hour.source,
    )
    return charge(
        load,
        hour=paid,
        tokens_per_s=made,
        input_share=prompt_share(load, found),
        utilisation=fleet.figures.utilisation_share.value,
        cached_share=fleet.figures.cached_input_share.value,
    )
