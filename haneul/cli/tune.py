"""`haneul tune`: each model's best setup on this machine, by measuring."""

from __future__ import annotations

import asyncio
from typing import Any

import click
import msgspec

from haneul.base import http
from haneul.base.errors import CommandError, NotFound
from haneul.base.units import MILLION, show_bytes, show_duration, show_time
from haneul.chips.detect import detect
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.progress import BuildProgress
from haneul.cli.show import console, print_json, print_table
from haneul.models import hub
from haneul.services.tune import native
from haneul.services.tune.chooser import LOSS_MAX, PURPOSES, Purpose
from haneul.services.tune.kept import MILLI, Kept, in_use
from haneul.services.tune.processes import NotQuiet
from haneul.services.tune.setup import read, show
from haneul.services.tune.tuner import Order, Tuner
from haneul.store import audit, tunings
from haneul.store import models as model_queries
from haneul.store.models import ModelRow
from haneul.store.tunings import TrialRow


@command("engine", example="haneul tune engine smollm2:135m --full")
@click.argument("model", required=False)
@click.option(
    "--native",
    "is_native",
    is_flag=True,
    help="First build llama.cpp for this very processor, where a compiler is present.",
)
@click.option("--full", "is_full", is_flag=True, help="Every axis, up to 15 minutes; else about 2.")
@click.option(
    "--for",
    "purpose",
    type=click.Choice(PURPOSES),
    default="both",
    show_default=True,
    help="What it must be best for: one stream, several, or both with neither slower.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="TYPE",
    help="A format to requantise the weights to and try, such as Q4_0; can be repeated.",
)
@click.option(
    "--loss-max",
    type=click.FloatRange(0, 100),
    default=100 * LOSS_MAX,
    show_default=True,
    metavar="PERCENT",
    help="Of perplexity, the most that another format may lose and still be chosen.",
)
@click.option("--busy", "is_busy", is_flag=True, help="Beside other work; shown and not kept.")
@json_option
def engine(
    model: str | None,
    is_native: bool,
    is_full: bool,
    purpose: Purpose,
    formats: tuple[str, ...],
    loss_max: float,
    is_busy: bool,
    as_json: bool,
) -> None:
    """Measures kernels, threads and formats for a model and keeps the best setup.

    Each is a real engine, and the default stays unless another is better beyond the noise that
    was seen. A running cloud goes over to the new setup within seconds, without losing a request.
    """
    order = Order(
        purpose=purpose,
        is_full=is_full,
        formats=tuple(name.upper() for name in formats),
        loss_max=loss_max / 100,
        is_quiet_needed=not is_busy,
    )
    if is_native:
        asyncio.run(_build(is_quiet=as_json))
        database(config()).run(audit.note, actor(), "kernel.build", native.VERSION)
    if model is None:
        if not is_native:
            raise CommandError("name a model, or --native to build a kernel")
        if as_json:
            print_json({"native": native.VERSION})
        return
    kept = asyncio.run(_search(model, order, is_quiet=as_json))
    if as_json:
        print_json(_facts(kept))
        return
    _show(kept)
    if is_busy:
        click.echo("Measured beside other work: shown, not kept.")


@command("ls", example="haneul tune ls --json")
@json_option
def ls(as_json: bool) -> None:
    """Lists what was found: the setup that each model runs with here, and what it brings."""
    store = database(config())
    held = [(row, store.run(tunings.trials, row.id)) for row in store.run(tunings.every)]
    if as_json:
        print_json([_facts(Kept(row, trials)) for row, trials in held])
        return
    print_table(
        ("MODEL", "CHIP", "SETUP", "SAID", "WHEN"),
        [
            (
                row.model,
                row.chip,
                show(read(next(trial.setup for trial in trials if trial.id == row.used_trial))),
                row.said,
                show_time(row.created_us),
            )
            for row, trials in held
        ],
        empty="Nothing was tuned here yet: haneul tune engine smollm2:135m",
    )


async def _build(*, is_quiet: bool) -> None:
    """Builds libllama here, with a line now and then."""
    settings = config()
    (chip, *_) = await asyncio.to_thread(lambda: detect(measure=False))
    with BuildProgress(console(stderr=True), is_quiet=is_quiet) as progress:
        folder = await native.ensure_build(
            settings.home, chip.id, jobs=chip.cores or 1, on_progress=progress.report
        )
    if not is_quiet:
        click.echo(f"The kernel for this processor is in {folder}.")


async def _search(model: str, order: Order, *, is_quiet: bool) -> Kept:
    settings = config()
    store = database(settings)
    row = _row(model)
    (chip, *_) = await asyncio.to_thread(lambda: detect(measure=False))
    out = console(stderr=True)
    client = http.Client()
    try:
        tuner = Tuner(
            settings,
            row,
            chip,
            database=store,
            client=client,
            order=order,
            on_news=lambda text: None if is_quiet else out.print(f"  [dim]{text}[/]"),
        )
        return await tuner.run(actor=actor())
    except NotQuiet as error:
        raise CommandError(f"{error.message} Try later; --busy shows it anyway.") from error
    finally:
        await client.aclose()
        store.close()


def _row(model: str) -> ModelRow:
    store = database(config())
    row = store.run(model_queries.get, model) or store.run(model_queries.get, hub.name_of(model))
    if row is None:
        raise NotFound(f"there is no model '{model}' here: haneul pull {model}")
    return row


def _show(kept: Kept) -> None:
    tuning, uses = kept.tuning, in_use(kept)
    print_table(
        (
            "SETUP",
            ">ONE",
            ">LONG",
            ">SEVERAL",
            ">SHARED",
            ">FIRST TOKEN",
            ">NOISE",
            ">MEMORY",
            ">PERPLEXITY",
            "",
        ),
        [_cells(trial, uses.get(trial.id, "")) for trial in kept.trials],
        empty="Nothing was tried.",
    )
    load = msgspec.json.decode(tuning.load)
    click.echo(
        f"tok/s: one stream of {load['answer_tokens']} tokens after {load['prompt_words']} words; "
        f"one behind {load['shared_words']} words that are in memory; {load['streams']} at once; "
        f"{load['streams']} whose prompts begin with the same {load['shared_words']} words."
    )
    click.echo(f"Took {show_duration(tuning.took_us / MILLION)}. Chosen: {tuning.said}.")


def _cells(trial: TrialRow, use: str) -> tuple[str, ...]:
    setup = read(trial.setup)
    name = f"{show(setup)} [{trial.kernel}]" if trial.kernel not in (None, setup.kernel) else ""
    mark = use or trial.reason or ""
    return (
        name or show(setup),
        _rate(trial.single_milli),
        _rate(trial.long_milli),
        _rate(trial.together_milli),
        _rate(trial.shared_milli),
        show_duration(trial.ttft_us / MILLION) if trial.ttft_us is not None else "-",
        f"±{(trial.spread_millionths or 0) / MILLION:.0%}" if trial.rounds > 1 else "-",
        show_bytes(trial.memory_bytes) if trial.memory_bytes else "-",
        _loss(trial),
        mark,
    )


def _rate(milli: int | None) -> str:
    return "-" if milli is None else f"{milli / MILLI:.1f} tok/s"


def _loss(trial: TrialRow) -> str:
    if trial.loss_low is None or trial.loss_mid is None or trial.loss_high is None:
        return "unknown" if read(trial.setup).is_lossy else "same weights"
    low, mid, high = (loss / MILLION for loss in (trial.loss_low, trial.loss_mid, trial.loss_high))
    return f"{mid:+.2%} ({low:+.2%} to {high:+.2%})"


def _facts(kept: Kept) -> dict[str, Any]:
    tuning = msgspec.structs.asdict(kept.tuning)
    return {
        **tuning,
        "load": msgspec.json.decode(kept.tuning.load),
        "trials": [
            {**msgspec.structs.asdict(trial), "setup": msgspec.json.decode(trial.setup)}
            for trial in kept.trials
        ],
    }


@click.group("tune", commands=[engine, ls])
def tune() -> None:
    """Finds each model's best setup on this machine, by measuring."""
