"""`haneul plan compare`: unlike fleets at one model, one load and one price of power."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module

import click

from haneul.base.errors import NotEnoughMemory
from haneul.base.units import show_money
from haneul.chips.estimate import Estimate, show
from haneul.chips.fleet import Fleet
from haneul.chips.plan.answer import milliseconds
from haneul.chips.plan.asked import named_price, parse_group, parse_prices
from haneul.chips.plan.calibration import Planner, load_calibration
from haneul.chips.plan.chipfiles import load_chips
from haneul.chips.plan.choose import refuse_unless_it_can_be
from haneul.chips.plan.compare import Compared, verdict
from haneul.chips.plan.compare import compare as compared
from haneul.chips.plan.compare_here import compare_here
from haneul.chips.plan.here import THIS
from haneul.chips.plan.options import Demand
from haneul.chips.plan.owning import with_figures
from haneul.chips.plan.terms import Load, PlanChip
from haneul.cli.command import command, config, json_option
from haneul.cli.plan_models import asked_model
from haneul.cli.plan_report import kilowatts
from haneul.cli.show import print_json, print_table
from haneul.services.planning.house import house_fleet

COLUMNS = (
    *("FLEET", "LAYOUT", ">TOK/S", ">A CHIP", ">TPOT MS", ">KW", ">KWH/1M", ">AN HOUR"),
    *(">INPUT/1M", ">OUTPUT/1M"),
)


@command(
    "compare",
    example="haneul plan compare GLM-4.6 --fleet 384x910C --fleet 72xGB200 --isl 4000 --osl 1000",
)
@click.argument("model")
@click.option(
    "--fleet",
    "groups",
    multiple=True,
    required=True,
    help="Such as 384x910C; this: what is found here.",
)
@click.option("--isl", type=int, required=True, help="Input tokens of a request.")
@click.option("--osl", type=int, required=True, help="Output tokens of a request.")
@click.option("--tpot", type=float, help="Most milliseconds for each token after the first.")
@click.option("--cache-hit", default=0.0, help="Share of input that a prefix cache has, 0 to 1.")
@click.option("--acceptance", default=0.0, help="Tokens a step gains by speculation, such as 0.7.")
@click.option("--precision", default="", help="Of the weights; otherwise as the makers publish.")
@click.option("--engine", default="vllm", show_default=True, help="vllm, sglang or trtllm.")
@click.option("--purchase", "purchases", multiple=True, metavar="CHIP=USD", help="To buy one.")
@click.option("--price", "rents", multiple=True, metavar="CHIP=USD", help="To rent one an hour.")
@click.option("--electricity", type=float, help="Price of a kWh, for chips that are bought.")
@click.option("--utilisation", type=float, help="Share of all hours that sells tokens, 0 to 1.")
@json_option
def compare(
    model: str,
    groups: tuple[str, ...],
    isl: int,
    osl: int,
    tpot: float | None,
    cache_hit: float,
    acceptance: float,
    precision: str,
    engine: str,
    purchases: tuple[str, ...],
    rents: tuple[str, ...],
    electricity: float | None,
    utilisation: float | None,
    as_json: bool,
) -> None:
    """Compares what unlike fleets do with MODEL, their power and what their tokens cost.

    Each is filled with its best layout. Power weighs on fleets that are bought (--purchase); a rent
    has it in it. What is not told comes from the fleet file and the chip files.
    """
    chips, settings = load_chips(), config()
    load = Load(
        isl=isl,
        osl=osl,
        cache_hit=cache_hit,
        acceptance=acceptance,
        tpot_s=None if tpot is None else tpot / 1e3,
    )
    refuse_unless_it_can_be(Demand(load=load))
    figures = with_figures(house_fleet(settings), electricity=electricity, utilisation=utilisation)
    asked, planner = asked_model(model, settings), Planner(load_calibration())
    known = asked.model
    bought, rented = _prices(purchases, chips), _prices(rents, chips)
    found: list[Compared] = []
    refused: dict[str, str] = {}
    for text in groups:
        if text.strip().lower() == THIS:  # loaded only here: it asks tools and the database
            here = import_module("haneul.services.planning.this").this_machine(
                settings, shape=asked.shape
            )
            own = compare_here(
                *(here, known, load, figures, chips),
                planner=planner,
                precision=precision,
                engine=engine,
                purchases=bought,
                rents=rented,
            )
            found += own.found
            refused |= own.refused
            continue
        group = parse_group(text, chips)
        try:
            found.append(
                compared(
                    known,
                    load,
                    group,
                    figures,
                    planner=planner,
                    precision=precision,
                    engine=engine,
                    purchases=bought,
                    rents=rented,
                )
            )
        except NotEnoughMemory as refusal:
            refused[group.text] = refusal.message
    if as_json:
        facts = {"answer": verdict(found), "fleets": found, "refused": refused}
        print_json({**facts, "figures": figures.figures})
        return
    _tell(found, refused, figures)


def _prices(texts: Sequence[str], chips: Mapping[str, PlanChip]) -> dict[str, str]:
    """By a chip's id; "this" is the processor of this machine."""
    told = [(text, *named_price(text)) for text in texts]
    found = parse_prices((text for text, name, _ in told if name.lower() != THIS), chips)
    for _, name, amount in told:
        if name.lower() == THIS:
            found[THIS] = amount
    return found


def _tell(found: list[Compared], refused: dict[str, str], fleet: Fleet) -> None:
    click.echo(f"{verdict(found)}\n")
    print_table(COLUMNS, [_row(each) for each in found], empty="")
    for why in refused.values():
        click.echo(why)
    click.echo()
    for each in found:
        click.echo(f"{each.fleet}: {each.hour.source if each.hour else 'no price is known for it'}")
        for said in each.assumptions:
            click.echo(f"  assumed: {said}")
    figures, power = fleet.figures, fleet.figures.electricity_per_kwh
    rules = (
        (f"{fleet.currency} {power.value:g} a kWh", power),
        (f"PUE {figures.pue.value:g}", figures.pue),
        (f"{figures.utilisation_share.value:.0%} of hours sold", figures.utilisation_share),
    )
    for what, figure in rules:
        click.echo(f"assumed: {what} ({figure.source})")


def _row(each: Compared) -> tuple[str, ...]:
    hour = show_money(each.hour.total_nano, each.hour.currency, digits=2) if each.hour else None
    power = None if each.power_w is None else kilowatts(each.power_w)
    return (
        each.fleet,
        f"{each.replicas} x {each.layout}",
        show(each.tokens_per_s),
        show(each.tokens_per_s_per_chip),
        show(milliseconds(each.tpot)),
        power or "unknown",
        _known(each.energy),
        hour or "unknown",
        _known(each.price.input if each.price else None),
        _known(each.price.output if each.price else None),
    )


def _known(estimate: Estimate | None) -> str:
    return "unknown" if estimate is None else show(estimate)
