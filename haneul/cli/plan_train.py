"""`haneul plan train`: hours, money and memory of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click
from msgspec.structs import replace

from haneul.base.errors import BadRequest
from haneul.chips.estimate import Estimate, show
from haneul.chips.plan.asked import Group, parse_count, parse_group, parse_prices
from haneul.chips.plan.chipfiles import load_chips
from haneul.chips.plan.here import THIS
from haneul.chips.plan.owning import rent_of
from haneul.chips.plan.terms import PlanChip
from haneul.chips.plan.training import MFU, SEQUENCE_TOKENS, Training, plan_training
from haneul.cli.command import command, config, json_option
from haneul.cli.plan_models import asked_model
from haneul.cli.show import print_json

MFU_LEAST = 0.001


@command("train", example="haneul plan train DeepSeek-V3 --tokens 14.8T --chips 2048xH800")
@click.argument("model")
@click.option("--tokens", required=True, help="Tokens it is trained on, such as 14.8T.")
@click.option("--chips", "group", required=True, help="Such as 2048xH800; this: cards here.")
@click.option("--price", "rents", multiple=True, metavar="CHIP=USD", help="An hour of one chip.")
@click.option("--mfu", type=float, help="Share of the 16-bit peak that is reached, if you know it.")
@click.option(
    "--sequence", default=SEQUENCE_TOKENS, show_default=True, help="Tokens of one sequence."
)
@json_option
def train(
    model: str,
    tokens: str,
    group: str,
    rents: tuple[str, ...],
    mfu: float | None,
    sequence: int,
    as_json: bool,
) -> None:
    """Forecasts how long training MODEL takes on those chips, what it costs and whether it fits.

    MODEL is a name, a config.json or a GGUF file. Six operations per active parameter and token,
    over a band of what published runs reach of their chips.
    """
    chips = load_chips()
    asked = _group(group, chips)
    known = asked_model(model, config())
    found = plan_training(
        replace(known.model, name=known.name),
        asked,
        tokens=parse_count(tokens, what="tokens"),
        rent=rent_of(asked.chip, parse_prices(rents, chips)),
        mfu=MFU if mfu is None else _told(mfu),
        sequence_tokens=sequence,
    )
    if as_json:
        print_json(found)
        return
    _tell(found)


def _group(text: str, chips: Mapping[str, PlanChip]) -> Group:
    """The chips that are named; "this" are the cards found here, which are of one kind."""
    if text.strip().lower() != THIS:
        return parse_group(text, chips)
    here = import_module("haneul.services.planning.this")  # loaded only here: it asks tools
    found: list[Group] = here.cards_of_this(chips)
    if len(found) > 1:
        names = ", ".join(each.text for each in found)
        raise BadRequest(f"Cards of several kinds are here: name one of {names}.")
    return found[0]


def _told(mfu: float) -> Estimate:
    """Raises BadRequest for what no run reaches."""
    if not MFU_LEAST <= mfu <= 1:
        raise BadRequest(f"The MFU is a share from {MFU_LEAST:g} to 1, not {mfu:g}.")
    return Estimate(low=mfu, mid=mfu, high=mfu, unit="", source="as told")


def _tell(found: Training) -> None:
    memory, layout = found.memory, found.layout
    money = show(found.cost) if found.cost else "unknown"
    click.echo(f"{found.model} on {found.chips}: {show(found.days)}, {money}")
    lines = (
        ("chip-hours", show(found.chip_hours)),
        ("energy", show(found.energy) if found.energy else "unknown"),
        ("work", f"{found.flop:.3g} FLOP for {found.tokens:.4g} tokens"),
        ("MFU", show(found.mfu).strip()),
        ("layout", f"tp {layout.tp} x pp {layout.pp} x dp {layout.dp}, experts over {layout.ep}"),
        (
            "memory",
            f"{memory.need_bytes / 1e9:.1f} GB of {memory.capacity_bytes / 1e9:.1f} GB usable: "
            f"weights and gradients {memory.weights_bytes / 1e9:.1f}, optimiser "
            f"{memory.state_bytes / 1e9:.1f}, activations {memory.activations_bytes / 1e9:.1f}",
        ),
    )
    for label, value in lines:
        click.echo(f"  {label:<11}{value}")
    for each in found.assumptions:
        click.echo(f"  assumed    {each}")
