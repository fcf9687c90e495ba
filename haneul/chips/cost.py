"""What an hour of a machine and a million tokens cost, and why.

Two bases, as an accountant has them: a purchase written off in equal parts, or a rent. Power and
care are added to a purchase; a rent contains them. Money is in integers of 10⁻⁹ of the currency.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from haneul.base.errors import BadRequest
from haneul.base.units import MILLION, NANO, parse_money
from haneul.chips.catalogue import load_catalogue, look_up
from haneul.chips.chip import Chip
from haneul.chips.estimate import Estimate, around, exactly, times
from haneul.chips.fleet import Fleet

HOURS_PER_YEAR = 8766
HOUR_S = 3600
OWN_SPREAD = 1.0  # of a price the owner wrote down
GB = 1_000_000_000


class HourCost(Struct, frozen=True, kw_only=True):
    """One hour of a machine in nano-units; the parts add up to total_nano exactly.

    hardware_nano is the purchase written off, rent_nano the rent; one of them is zero.
    """

    currency: str
    basis: Literal["purchase", "rent"]
    hardware_nano: int
    rent_nano: int
    power_nano: int
    other_nano: int
    total_nano: int
    low_nano: int
    high_nano: int
    source: str


class Price(Struct, frozen=True):
    """Nano-units per million tokens, with the interval its speed and costs leave open."""

    low_nano: int
    mid_nano: int
    high_nano: int


class TokenPrice(Struct, frozen=True, kw_only=True):
    """What a million tokens cost to make, by kind."""

    currency: str
    input: Price
    cached_input: Price
    output: Price
    source: str


def hour_cost(fleet: Fleet, chip: Chip) -> HourCost | None:
    """One hour of all chips of this kind together; None where no price is known for it."""
    own = fleet.chips.get(chip.id)
    if own and own.rent_per_hour:
        rent = parse_money(own.rent_per_hour.amount) * chip.count
        return _rented(fleet, around(rent, "", factor=OWN_SPREAD, source=own.rent_per_hour.source))
    if own and own.purchase:
        price = parse_money(own.purchase.amount) * chip.count
        paid = around(price, "", factor=OWN_SPREAD, source=own.purchase.source)
        return _bought(fleet, paid, _watts(fleet, chip))
    if chip.kind == "cpu":
        return _bought(fleet, _cpu_price(fleet, chip), _watts(fleet, chip))
    seen = _seen_rent(fleet, chip)
    return None if seen is None else _rented(fleet, seen)


def _cpu_price(fleet: Fleet, chip: Chip) -> Estimate:
    """Nano-units for the cores and memory that this process may use."""
    memory_gb = (chip.memory_bytes or 0) / GB
    price = fleet.cpu.price_per_core.value * (chip.cores or 1)
    price += fleet.cpu.price_per_gb.value * memory_gb
    source = f"{fleet.cpu.price_per_core.source}; {fleet.cpu.price_per_gb.source}"
    spread = fleet.figures.price_spread.value
    return around(price * NANO * chip.count, "", factor=spread, source=source)


def _seen_rent(fleet: Fleet, chip: Chip) -> Estimate | None:
    """Nano-units per hour as the catalogue saw them, if it did and the currency is the same."""
    catalogue = load_catalogue()
    known = look_up(catalogue, chip.name) or next(
        (entry for entry in catalogue.chip if entry.name == chip.name), None
    )
    if known is None or known.rent is None or fleet.currency != "USD":
        return None
    low, mid, high = (
        parse_money(text) * chip.count for text in (known.rent.low, known.rent.mid, known.rent.high)
    )
    return Estimate(low=low, mid=mid, high=high, unit="", source=known.rent.source)


def _watts(fleet: Fleet, chip: Chip) -> float | None:
    """Watts averaged over all hours: at full load for the share that sells, at rest otherwise.

    None where the power of an accelerator is unknown.
    """
    own = fleet.chips.get(chip.id)
    busy = fleet.figures.utilisation_share.value
    if chip.kind == "cpu":
        cores = chip.cores or 1
        idle, load = (
            figure.value * cores
            for figure in (fleet.cpu.idle_w_per_core, fleet.cpu.load_w_per_core)
        )
        if own and own.power_w:
            load = own.power_w.value
            idle = min(idle, load)
    else:
        limit = own.power_w.value if own and own.power_w else chip.power_w
        if limit is None:
            return None
        load = limit * (1 + fleet.accelerator.host_share.value)
        idle = limit * (fleet.accelerator.idle_share.value + fleet.accelerator.host_share.value)
    return (idle + (load - idle) * busy) * chip.count


def _bought(fleet: Fleet, price: Estimate, watts: float | None) -> HourCost:
    figures, energy = fleet.figures, fleet.figures.electricity_per_kwh
    lost_share = 1 - figures.residual_share.value
    per_hour = lost_share / (figures.life_years.value * HOURS_PER_YEAR)
    other_per_hour = figures.other_share_per_year.value / HOURS_PER_YEAR
    kilowatts = (watts or 0.0) / 1000
    power_source = "power unknown, not counted" if watts is None else energy.source
    power = kilowatts * figures.pue.value * energy.value * NANO
    return _sum(
        fleet,
        basis="purchase",
        hardware=price.mid * per_hour,
        power=power,
        other=price.mid * other_per_hour,
        low=price.low * (per_hour + other_per_hour) + power,
        high=price.high * (per_hour + other_per_hour) + power,
        source=f"{price.source}; {figures.life_years.source}; {power_source}",
    )


def _rented(fleet: Fleet, rent: Estimate) -> HourCost:
    return _sum(
        fleet,
        basis="rent",
        rent=rent.mid,
        low=rent.low,
        high=rent.high,
        source=rent.source,
    )


def _sum(
    fleet: Fleet,
    *,
    basis: Literal["purchase", "rent"],
    hardware: float = 0,
    rent: float = 0,
    power: float = 0,
    other: float = 0,
    low: float,
    high: float,
    source: str,
) -> HourCost:
    """Rounds each part once, so that the total is their exact sum."""
    parts = [round(part) for part in (hardware, rent, power, other)]
    total = sum(parts)
    return HourCost(
        currency=fleet.currency,
        basis=basis,
        hardware_nano=parts[0],
        rent_nano=parts[1],
        power_nano=parts[2],
        other_nano=parts[3],
        total_nano=total,
        low_nano=min(round(low), total),
        high_nano=max(round(high), total),
        source=source,
    )


def token_price(
    hour: HourCost,
    *,
    decode: Estimate,
    prefill: Estimate,
    utilisation: float,
    cached_share: float = 0.1,
) -> TokenPrice:
    """What a million tokens cost on a machine of that hour, sold for that share of its hours.

    decode and prefill are tokens per second of the whole machine while it does nothing else: an
    output token takes its part of the decoding time, an input token of the prefill time, so the
    two together pay for exactly the hours sold. A cached token skips the prefill; it still holds
    memory and is attended to, so it takes a small share of an input token. Raises BadRequest.
    """
    if not 0 < utilisation <= 1 or not 0 <= cached_share <= 1:
        raise BadRequest("utilisation is above 0 and at most 1, cached_share from 0 to 1")
    if not (decode.low > 0 and prefill.low > 0):
        raise BadRequest("a price needs speeds above zero")
    cost = Estimate(
        low=hour.low_nano, mid=hour.total_nano, high=hour.high_nano, unit="", source=hour.source
    )
    return TokenPrice(
        currency=hour.currency,
        input=_price(cost, prefill, utilisation, 1.0),
        cached_input=_price(cost, prefill, utilisation, cached_share),
        output=_price(cost, decode, utilisation, 1.0),
        source=f"{hour.source}; decode: {decode.source}; prefill: {prefill.source}",
    )


def _price(cost: Estimate, speed: Estimate, utilisation: float, share: float) -> Price:
    """cost ÷ (speed × sold seconds of an hour), times a million and the share."""
    per_speed = share * MILLION / (HOUR_S * utilisation)
    slowness = Estimate(
        low=per_speed / speed.high,
        mid=per_speed / speed.mid,
        high=per_speed / speed.low,
        unit="",
        source="",
    )
    price = times(cost, slowness, unit="") if share else exactly(0, "", source="")
    return Price(round(price.low), round(price.mid), round(price.high))
