"""What an hour of planned chips costs, by the rules that price the chips that are here.

A purchase is written off and takes power and care; a rent has them in it. The rents of the chip
files are dated observations, so they stand in only where the owner said nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from haneul.base.errors import BadRequest
from haneul.base.units import NANO, parse_money
from haneul.chips.chip import Chip
from haneul.chips.cost import HourCost, hour_cost
from haneul.chips.estimate import Estimate
from haneul.chips.fleet import Amount, Fleet, Machine
from haneul.chips.plan.asked import Group
from haneul.chips.plan.terms import PlanChip

TOLD = "as told"


def rent_of(chip: PlanChip, rents: Mapping[str, str]) -> Estimate | None:
    """USD for an hour of one chip: as told, else as seen, else None."""
    told = rents.get(chip.id)
    if told is not None:
        value = parse_money(told) / NANO
        return Estimate(low=value, mid=value, high=value, unit="USD", source=TOLD)
    if chip.price is None:
        return None
    low, mid, high = (float(each) for each in (chip.price.low, chip.price.mid, chip.price.high))
    return Estimate(low=low, mid=mid, high=high, unit="USD", source=chip.price.source)


def watts_of(group: Group) -> float | None:
    """Watts of the chips at their limit; of a supernode with its hosts. None: unknown."""
    chip = group.chip
    if chip.domain_power_w is not None:
        return chip.domain_power_w / chip.domain_chips * group.count
    return None if chip.power_w is None else chip.power_w * group.count


def hour_of(
    fleet: Fleet,
    group: Group,
    *,
    purchases: Mapping[str, str] | None = None,
    rents: Mapping[str, str] | None = None,
) -> HourCost | None:
    """An hour of all chips of the group, its parts adding up exactly; None: no price is known.

    purchases are of one chip with its share of the machine around it. Raises BadRequest.
    """
    bought, rented = purchases or {}, rents or {}
    chip = group.chip
    if chip.id in bought and chip.id in rented:
        raise BadRequest(f"{chip.name} has both a purchase and a rent.")
    machine = fleet.chips.get(chip.id, Machine())
    if chip.id in bought:
        machine = replace(machine, purchase=Amount(bought[chip.id], TOLD), rent_per_hour=None)
    elif chip.id in rented:
        machine = replace(machine, rent_per_hour=Amount(rented[chip.id], TOLD), purchase=None)
    if not machine.purchase and not machine.rent_per_hour:
        return _seen(fleet, group)
    return hour_cost(
        replace(fleet, chips={**fleet.chips, chip.id: machine}), _as_chip(fleet, group)
    )


def _as_chip(fleet: Fleet, group: Group) -> Chip:
    """The group as a chip that is here; a supernode's power has its hosts in it already."""
    chip, watts = group.chip, watts_of(group)
    each = None if watts is None else watts / group.count
    if each is not None and chip.domain_power_w is not None:
        each /= 1 + fleet.accelerator.host_share.value
    return Chip(
        id=chip.id,
        name=chip.name,
        kind="gpu",
        vendor=chip.vendor,
        count=group.count,
        power_w=each,
    )


def _seen(fleet: Fleet, group: Group) -> HourCost | None:
    """The rent of the chip file, which is in USD."""
    price = group.chip.price
    if price is None or fleet.currency != "USD":
        return None
    low, mid, high = (
        parse_money(each) * group.count for each in (price.low, price.mid, price.high)
    )
    return HourCost(
        currency=fleet.currency,
        basis="rent",
        hardware_nano=0,
        rent_nano=mid,
        power_nano=0,
        other_nano=0,
        total_nano=mid,
        low_nano=low,
        high_nano=high,
        source=price.source,
    )


def with_figures(
    fleet: Fleet,
    *,
    electricity: float | None = None,
    pue: float | None = None,
    utilisation: float | None = None,
    life_years: float | None = None,
) -> Fleet:
    """The fleet file with what was told instead. Raises BadRequest for a figure out of range."""
    checks = (
        ("a kWh", electricity, 0.0, 1e6),
        ("PUE", pue, 1.0, 100.0),
        ("utilisation", utilisation, 0.001, 1.0),
        ("life in years", life_years, 0.1, 100.0),
    )
    for name, value, low, high in checks:
        if value is not None and not low <= value <= high:
            raise BadRequest(f"{name} is between {low:g} and {high:g}, not {value:g}.")
    named = {
        "electricity_per_kwh": electricity,
        "pue": pue,
        "utilisation_share": utilisation,
        "life_years": life_years,
    }
    told = {
        key: replace(getattr(fleet.figures, key), value=value, source=TOLD)
        for key, value in named.items()
        if value is not None
    }
    return replace(fleet, figures=replace(fleet.figures, **told))
