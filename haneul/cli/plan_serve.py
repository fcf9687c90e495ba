"""`haneul plan serve`: which chips, how many and how for a model, and what it costs."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click
from msgspec.structs import replace

from haneul.chips.plan.curve import plot_svg
from haneul.cli.command import command, config, json_option
from haneul.cli.plan_models import asked_model
from haneul.cli.plan_report import tell
from haneul.cli.show import print_json
from haneul.services.planning.house import house_fleet
from haneul.services.planning.question import USUAL, asked
from haneul.services.planning.serving import asks_for_this, plan_serving


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
    "--chips",
    "names",
    default=",".join(USUAL),
    show_default=True,
    help="Also with a number: 8xH100; this: what is found here.",
)
@click.option("--price", "rents", multiple=True, metavar="CHIP=USD", help="An hour of one chip.")
@click.option("--cache-hit", default=0.0, help="Share of input that a prefix cache has, 0 to 1.")
@click.option("--acceptance", default=0.0, help="Tokens a step gains by speculation, such as 0.7.")
@click.option("--precision", default="", help="Of the weights; otherwise as the makers publish.")
@click.option("--engine", default="vllm", show_default=True, help="vllm, sglang or trtllm.")
@click.option("--kv-bits", type=click.Choice(["8", "16"]), help="Of the cache's numbers.")
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
    kv_bits: str | None,
    utilisation: float,
    is_assumed: bool,
    svg: Path | None,
    as_json: bool,
) -> None:
    """Plans chips, their number and layout for MODEL under a load, the cheapest first.

    MODEL is a name, a config.json or a GGUF file. Without a rate and without users: the most one
    replica does within the limits. Every figure has its interval of four in five.
    """
    question = asked(
        model=model,
        isl=isl,
        osl=osl,
        rate=rate,
        users=users,
        ttft=ttft,
        tpot=tpot,
        chips=names.split(","),
        prices=rents,
        cache_hit=cache_hit,
        acceptance=acceptance,
        precision=precision,
        engine=engine,
        kv_bits=None if kv_bits is None else int(kv_bits),
        utilisation=utilisation,
        assume_like=is_assumed,
    )
    settings = config()
    known = asked_model(model, settings)
    here = None
    if asks_for_this(question):  # loaded only here: it asks tools and the database
        module = import_module("haneul.services.planning.this")
        here = module.this_machine(settings, shape=known.shape)
    found = plan_serving(
        question,
        known.model,
        name=known.name,
        cached_share=house_fleet(settings).figures.cached_input_share.value,
        repository=known.repository,
        said=known.said,
        here=here,
    )
    if settings.home.exists():  # loaded only here, as above
        module = import_module("haneul.cli.plan_seen")
        found = replace(found, seen=module.near(settings, found, here))
    if svg is not None:
        batch = found.choice.options[0].batch
        svg.write_text(plot_svg(found.curve, title=found.answer, chosen=batch), "utf-8")
    if as_json:
        print_json(found)
        return
    tell(found)
