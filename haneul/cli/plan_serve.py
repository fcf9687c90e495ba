"""`haneul plan serve`: which chips, how many and how for a model, and what it costs."""

from __future__ import annotations

from pathlib import Path

import click

from haneul.chips.plan.answer import make_plan, wanted
from haneul.chips.plan.asked import parse_prices
from haneul.chips.plan.calibration import Planner, load_calibration
from haneul.chips.plan.chipfiles import load_chips, load_models
from haneul.chips.plan.choose import Search
from haneul.chips.plan.curve import plot_svg
from haneul.chips.plan.options import Demand
from haneul.chips.plan.rows import published, read_rows
from haneul.chips.plan.terms import Load
from haneul.cli.command import command, config, json_option
from haneul.cli.plan_fleet import configured
from haneul.cli.plan_models import asked_model, called
from haneul.cli.plan_report import tell
from haneul.cli.show import print_json

USUAL = "H100,H200,B200,MI300X"


@command(
    "serve", example="haneul plan serve Llama-3.3-70B --isl 1000 --osl 500 --rate 20 --tpot 50"
)
@click.argument("model")
@click.option("--isl", type=int, required=True, help="Input tokens of a request.")
@click.option("--osl", type=int, required=True, help="Output tokens of a request.")
@click.option("--rate", type=float, help="Requests per second.")
@click.option("--users", type=int, help="Users at once.")
@click.option("--ttft", type=float, help="Most milliseconds to the first token.")
@click.option("--tpot", type=float, help="Most milliseconds for each token after it.")
@click.option(
    "--chips", "names", default=USUAL, show_default=True, help="Also with a number: 8xH100."
)
@click.option("--price", "rents", multiple=True, metavar="CHIP=USD", help="An hour of one chip.")
@click.option("--cache-hit", default=0.0, help="Share of input that a prefix cache has, 0 to 1.")
@click.option("--acceptance", default=0.0, help="Tokens a step gains by speculation, such as 0.7.")
@click.option("--precision", default="", help="Of the weights; otherwise as the makers publish.")
@click.option("--engine", default="vllm", show_default=True, help="vllm, sglang or trtllm.")
@click.option("--utilisation", default=1.0, show_default=True, help="Share of hours that sells.")
@click.option("--assume-like", "is_assumed", is_flag=True, help="Unknown speeds as of a like chip.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="The curve, drawn.")
@json_option
def serve(
    model: str,
    isl: int,
    osl: int,
    rate: float | None,
    users: int | None,
    ttft: float | None,
    tpot: float | None,
    names: str,
    rents: tuple[str, ...],
    cache_hit: float,
    acceptance: float,
    precision: str,
    engine: str,
    utilisation: float,
    is_assumed: bool,
    svg: Path | None,
    as_json: bool,
) -> None:
    """Plans chips, their number and layout for MODEL under a load, the cheapest first.

    MODEL is a name, a config.json or a GGUF file. Without a rate and without users: the most one
    replica does within the limits. Every figure has its interval of four in five.
    """
    chips, settings = load_chips(), config()
    known = asked_model(model, settings)
    load = Load(
        isl=isl,
        osl=osl,
        cache_hit=cache_hit,
        acceptance=acceptance,
        ttft_s=None if ttft is None else ttft / 1e3,
        tpot_s=None if tpot is None else tpot / 1e3,
    )
    search = Search(
        model=known,
        demand=Demand(load=load, rate=rate, users=users),
        precision=precision,
        engine=engine,
    )
    groups = wanted(
        names.split(","),
        chips,
        rents=parse_prices(rents, chips),
        utilisation=utilisation,
        cached_share=configured(settings).figures.cached_input_share.value,
        is_assumed=is_assumed,
    )
    found = make_plan(
        search,
        groups,
        read_rows(published(), chips, load_models())[0],
        name=called(model, known),
        planner=Planner(load_calibration()),
    )
    if svg is not None:
        svg.write_text(plot_svg(found.curve, title=found.answer), "utf-8")
    if as_json:
        print_json(found)
        return
    tell(found)
