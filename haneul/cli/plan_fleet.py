"""`haneul plan fleet`: what chips cost to own or rent, and a million tokens of theirs."""

from __future__ import annotations

import click
from msgspec import Struct

from haneul.base.errors import BadRequest
from haneul.base.units import NANO, show_money
from haneul.chips.cost import HOURS_PER_YEAR, HourCost, TokenPrice, token_price
from haneul.chips.estimate import exactly
from haneul.chips.fleet import Fleet
from haneul.chips.plan.asked import Group, parse_group, parse_prices
from haneul.chips.plan.chipfiles import load_chips
from haneul.chips.plan.owning import TOLD, hour_of, watts_of, with_figures
from haneul.cli.command import command, config, json_option
from haneul.cli.show import print_json, print_table
from haneul.services.planning.house import house_fleet


class Owned(Struct, frozen=True, kw_only=True):
    """One fleet; None where no price or no power of it is known."""

    chips: str
    count: int
    hour: HourCost | None
    year_nano: int | None
    life_nano: int | None  # over the years in which a purchase is written off
    power_w: float | None  # of the chips at their limit, without cooling
    price: TokenPrice | None


@command(
    "fleet",
    example="haneul plan fleet 384x910C 72xGB200 --purchase 910C=22000 --purchase GB200=45000",
)
@click.argument("groups", metavar="CHIPS...", nargs=-1, required=True)
@click.option("--purchase", "purchases", multiple=True, metavar="CHIP=USD", help="To buy one.")
@click.option("--price", "rents", multiple=True, metavar="CHIP=USD", help="To rent one an hour.")
@click.option("--electricity", type=float, help="Price of a kWh, for chips that are bought.")
@click.option("--pue", type=float, help="Power of the building over power of the machines.")
@click.option("--utilisation", type=float, help="Share of all hours that sells tokens, 0 to 1.")
@click.option("--life", "life_years", type=float, help="Years until a purchase is written off.")
@click.option("--output-speed", type=float, help="Output tokens per second of the whole fleet.")
@click.option("--input-speed", type=float, help="Input tokens per second of the whole fleet.")
@json_option
def fleet(
    groups: tuple[str, ...],
    purchases: tuple[str, ...],
    rents: tuple[str, ...],
    electricity: float | None,
    pue: float | None,
    utilisation: float | None,
    life_years: float | None,
    output_speed: float | None,
    input_speed: float | None,
    as_json: bool,
) -> None:
    """Shows what CHIPS such as 384x910C cost by the hour and year, bought or rented, with power.

    What is not told comes from the fleet file; rents that nobody told are dated observations. With
    both speeds, also what a million tokens cost, as the ledger would price them.
    """
    if (output_speed is None) != (input_speed is None):
        raise BadRequest("A price of tokens needs --output-speed and --input-speed together.")
    chips = load_chips()
    known = with_figures(
        house_fleet(config()),
        electricity=electricity,
        pue=pue,
        utilisation=utilisation,
        life_years=life_years,
    )
    bought, rented = parse_prices(purchases, chips), parse_prices(rents, chips)
    speeds = None if output_speed is None else (output_speed, input_speed or 0.0)
    found = [
        _owned(known, group, hour_of(known, group, purchases=bought, rents=rented), speeds)
        for group in (parse_group(text, chips) for text in groups)
    ]
    if as_json:
        print_json({"fleets": found, "figures": known.figures})
        return
    _tell(found, known)


def _owned(
    fleet: Fleet, group: Group, hour: HourCost | None, speeds: tuple[float, float] | None
) -> Owned:
    year = hour.total_nano * HOURS_PER_YEAR if hour else None
    price = None
    if hour is not None and speeds is not None:
        price = token_price(
            hour,
            decode=exactly(speeds[0], "tok/s", source=TOLD),
            prefill=exactly(speeds[1], "tok/s", source=TOLD),
            utilisation=fleet.figures.utilisation_share.value,
            cached_share=fleet.figures.cached_input_share.value,
        )
    return Owned(
        chips=group.text,
        count=group.count,
        hour=hour,
        year_nano=year,
        life_nano=None if year is None else round(year * fleet.figures.life_years.value),
        power_w=watts_of(group),
        price=price,
    )


def _tell(found: list[Owned], fleet: Fleet) -> None:
    figures, energy = fleet.figures, fleet.figures.electricity_per_kwh
    print_table(
        (
            "FLEET",
            "BASIS",
            ">HARDWARE/H",
            ">RENT/H",
            ">POWER/H",
            ">OTHER/H",
            ">ALL/H",
            ">YEAR",
            ">KW",
        ),
        [_row(each, fleet.currency) for each in found],
        empty="No chips were named.",
    )
    priced = [each for each in found if each.price is not None]
    if priced:
        click.echo()
        print_table(
            ("FLEET", ">INPUT/1M", ">CACHED/1M", ">OUTPUT/1M"),
            [_prices(each) for each in priced],
            empty="",
        )
    click.echo()
    for each in found:
        click.echo(f"{each.chips}: {each.hour.source if each.hour else 'no price is known for it'}")
    rules = (
        (f"written off over {figures.life_years.value:g} years", figures.life_years.source),
        (f"{fleet.currency} {energy.value:g} a kWh", energy.source),
        (f"PUE {figures.pue.value:g}", figures.pue.source),
        (f"{figures.utilisation_share.value:.0%} of hours sold", figures.utilisation_share.source),
    )
    for what, source in rules:
        click.echo(f"assumed: {what} ({source})")


def _row(owned: Owned, currency: str) -> tuple[str, ...]:
    power = "unknown" if owned.power_w is None else f"{owned.power_w / 1000:,.1f}"
    hour = owned.hour
    if hour is None:
        return (owned.chips, "unknown", *("unknown",) * 6, power)
    parts = (hour.hardware_nano, hour.rent_nano, hour.power_nano, hour.other_nano, hour.total_nano)
    shown = [show_money(nano, currency, digits=2) for nano in parts]
    year = f"{currency} {(owned.year_nano or 0) / NANO:,.0f}"
    return (owned.chips, hour.basis, *shown, year, power)


def _prices(owned: Owned) -> tuple[str, ...]:
    price = owned.price
    if price is None:
        return (owned.chips, "unknown", "unknown", "unknown")
    kinds = (price.input, price.cached_input, price.output)
    return (
        owned.chips,
        *(
            f"{show_money(kind.mid_nano, price.currency, digits=4)} "
            f"({kind.low_nano / 1e9:.4g}–{kind.high_nano / 1e9:.4g})"
            for kind in kinds
        ),
    )
