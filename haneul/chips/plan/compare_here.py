"""What is found here as fleets of a comparison: each known kind of card, and the processor."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from haneul.base.errors import BadRequest, NotEnoughMemory
from haneul.base.units import NANO
from haneul.chips.cost import hour_cost
from haneul.chips.estimate import Estimate
from haneul.chips.fleet import Amount, Fleet, Machine
from haneul.chips.plan.asked import Group
from haneul.chips.plan.calibration import Planner
from haneul.chips.plan.compare import Compared, compare, energy_of
from haneul.chips.plan.here import THIS, Here, planned
from haneul.chips.plan.local import local_of, offers
from haneul.chips.plan.options import Demand, Terms
from haneul.chips.plan.owning import TOLD
from haneul.chips.plan.terms import Load, PlanChip, PlanModel


class Fleets(Struct, frozen=True):
    """Those that serve, and why others do not."""

    found: list[Compared]
    refused: dict[str, str]


def compare_here(
    here: Here,
    model: PlanModel,
    load: Load,
    fleet: Fleet,
    files: Mapping[str, PlanChip],
    *,
    planner: Planner,
    precision: str = "",
    engine: str = "vllm",
    purchases: Mapping[str, str] | None = None,
    rents: Mapping[str, str] | None = None,
) -> Fleets:
    """The fleets of this machine; an hour of each costs what `haneul chips` says, or as told.

    What is told is of one chip by its id; "this" is the processor. Raises BadRequest.
    """
    bought, rented = purchases or {}, rents or {}
    fleets = Fleets([], {})
    for chip in here.chips[1:]:
        known = planned(files, chip)
        if known is None:
            why = "no chip file knows it: no speed is forecast."
            fleets.refused[chip.name] = f"{chip.count} x {chip.name}, found here: {why}"
            continue
        group = Group(replace(known, name=f"{known.name} here"), chip.count)
        own = fleet.chips.get(chip.id)
        priced = replace(fleet, chips={**fleet.chips, known.id: own}) if own else fleet
        try:
            fleets.found.append(
                compare(
                    *(model, load, group, priced),
                    planner=planner,
                    precision=precision,
                    engine=engine,
                    purchases=bought,
                    rents=rented,
                )
            )
        except NotEnoughMemory as refusal:
            fleets.refused[group.text] = refusal.message
    priced = _told(fleet, here.chips[0].id, bought.get(THIS), rented.get(THIS))
    _processor(here, model, load, priced, fleets, precision)
    return fleets


def _told(fleet: Fleet, chip: str, purchase: str | None, rent: str | None) -> Fleet:
    """The fleet with what the processor was told to cost."""
    if purchase is not None and rent is not None:
        raise BadRequest("This machine has both a purchase and a rent.")
    own = fleet.chips.get(chip, Machine())
    if purchase is not None:
        own = replace(own, purchase=Amount(purchase, TOLD), rent_per_hour=None)
    elif rent is not None:
        own = replace(own, rent_per_hour=Amount(rent, TOLD), purchase=None)
    else:
        return fleet
    return replace(fleet, chips={**fleet.chips, chip: own})


def _processor(
    here: Here, model: PlanModel, load: Load, fleet: Fleet, fleets: Fleets, precision: str
) -> None:
    chip, figures = here.chips[0], fleet.figures
    hour = hour_cost(fleet, chip)
    paid = None
    if hour is not None:
        paid = Estimate(
            low=min(hour.low_nano, hour.total_nano) / NANO,
            mid=hour.total_nano / NANO,
            high=max(hour.high_nano, hour.total_nano) / NANO,
            unit=hour.currency,
            source=hour.source,
        )
    terms = Terms(
        rent=paid,
        utilisation=figures.utilisation_share.value,
        cached_share=figures.cached_input_share.value,
    )
    local = replace(local_of(here, terms), terms=terms)
    options, lost = offers(local, model, Demand(load=load), precision=precision)
    if not options:
        fleets.refused[lost[0].chip] = f"{lost[0].chip} does not serve {model.name}: {lost[0].why}"
        return
    best = options[0]
    fleets.found.append(
        Compared(
            fleet=best.chip,
            layout=best.layout,
            replicas=1,
            idle_chips=0,
            tokens_per_s=best.tokens_per_s,
            tokens_per_s_per_chip=best.tokens_per_s,
            ttft=best.ttft,
            tpot=best.tpot,
            power_w=best.power_w,
            energy=energy_of(best.tokens_per_s, best.power_w, fleet),
            hour=hour,
            price=best.price,
            assumptions=best.assumptions,
        )
    )
