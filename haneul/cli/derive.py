"""`haneul models quantize`, `merge`, `convert`, `measure`: models made of models that are here."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Literal

import click
from sqlalchemy import Connection

from haneul.base.errors import BadRequest, ModelNotFound
from haneul.base.units import show_bytes
from haneul.chips.estimate import Estimate
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.show import console, print_json
from haneul.cli.steps import StepProgress
from haneul.models import hub, revisions
from haneul.models.derive import make
from haneul.models.derive.make import Child, Kitchen
from haneul.models.quality import Measures
from haneul.store import revisions as queries
from haneul.store.revisions import RevisionRow

name_option = click.option("--name", default="", help="What the new model is called.")
unmeasured_option = click.option(
    "--no-measure", is_flag=True, help="Not measured now, and so not served yet."
)


@command("quantize", example="haneul models quantize qwen3:0.6b Q4_K_M")
@click.argument("model")
@click.argument("type", metavar="TYPE")
@name_option
@click.option("--importance", default="", help="An importance matrix: its file, or 'measure'.")
@click.option("--from-lossy", is_flag=True, help="Also of a parent that was rounded before.")
@unmeasured_option
@json_option
def quantize(
    model: str,
    type: str,
    name: str,
    importance: str,
    from_lossy: bool,
    no_measure: bool,
    as_json: bool,
) -> None:
    """Makes MODEL smaller: TYPE is Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q4_0, IQ4_XS, IQ3_M and so on.

    The copy says what it lost against its parent, and is served under its name. Types of three bits
    and fewer want an importance matrix, those called IQ1, IQ2 and IQ3_XXS need one.
    """
    matrix: Path | Literal["", "measure"]
    matrix = importance if importance in ("", "measure") else Path(importance)  # type: ignore[assignment]
    if isinstance(matrix, Path) and not matrix.is_file():
        raise BadRequest(f"There is no file {matrix.name}.")

    async def work(kitchen: Kitchen) -> Child:
        return await make.quantize(
            kitchen,
            await _brought(kitchen, model),
            type,
            name=name,
            importance=matrix,
            is_lossy_allowed=from_lossy,
            is_measured=not no_measure,
        )

    _show(work, as_json=as_json)


@command("merge", example="haneul models merge qwen3:0.6b dates.gguf")
@click.argument("model")
@click.argument("adapter")
@click.option("--type", "kind", default="Q8_0", show_default=True, help="Type of the result.")
@name_option
@unmeasured_option
@json_option
def merge(model: str, adapter: str, kind: str, name: str, no_measure: bool, as_json: bool) -> None:
    """Adds a LoRA ADAPTER (a GGUF file, or one that is here) into the weights of MODEL.

    An adapter that stays apart costs nothing and can be taken back: merge where an engine takes
    none. Into four bits it may vanish.
    """
    _show(
        lambda kitchen: make.merge(
            kitchen, model, adapter, kind, name=name, is_measured=not no_measure
        ),
        as_json=as_json,
    )


@command("convert", example="haneul models convert hf:Qwen/Qwen3-0.6B")
@click.argument("model")
@name_option
@unmeasured_option
@json_option
def convert(model: str, name: str, no_measure: bool, as_json: bool) -> None:
    """Turns MODEL from safetensors into GGUF, which the engine here serves; nothing is rounded.

    MODEL is one that is here, a folder, or a reference that is pulled first. It is proven that text
    is cut into the same tokens. Needs two packages more: pip install 'haneul[convert]'.
    """

    async def work(kitchen: Kitchen) -> Child:
        text = await _brought(kitchen, model)
        return await make.convert(kitchen, text, name=name, is_measured=not no_measure)

    _show(work, as_json=as_json)


@command("measure", example="haneul models measure qwen3:0.6b-q4_k_m")
@click.argument("model")
@click.option("--against", default="", help="Another model of the same vocabulary.")
@json_option
def measure(model: str, against: str, as_json: bool) -> None:
    """Measures what MODEL lost against its parent, so that it may be served."""

    async def work(kitchen: Kitchen) -> tuple[RevisionRow, RevisionRow, Measures]:
        row = await kitchen.database.call(revisions.resolve, model)
        if against:
            other = await kitchen.database.call(revisions.resolve, against)
        else:
            other = await kitchen.database.call(_parent, row)
        return row, other, await make.measure(kitchen, row, other)

    row, other, found = _run(work)
    if as_json:
        print_json({"child": row.id, "parent": other.id, "measures": found})
        return
    click.echo(f"{revisions.named(row)} against {revisions.named(other)}:")
    _lines(found)


def _show(work: Any, *, as_json: bool) -> None:
    child: Child = _run(work)
    if as_json:
        print_json(
            {
                "revision": child.revision,
                "made": child.made,
                "measures": child.measures,
                "served": child.row is not None,
                "warnings": child.warnings,
            }
        )
        return
    size = show_bytes(child.revision.bytes)
    click.echo(f"{revisions.named(child.revision)}: {size}, {child.revision.source}")
    for warning in child.warnings:
        click.echo(f"  careful: {warning}")
    if child.measures is None:
        click.echo(f"  not served before: haneul models measure {revisions.named(child.revision)}")
    else:
        _lines(child.measures)


def _lines(found: Measures) -> None:
    sources = set()
    for what, estimate, digits in (
        ("perplexity over the parent's", found.perplexity_ratio, 3),
        ("divergence", found.kl_nats, 4),
        ("same first choice", found.agreement, 3),
        ("cosine of vectors", found.cosine, 4),
    ):
        if estimate is not None:
            sources.add(estimate.source)
            click.echo(f"  {what}: {_number(estimate, digits)}")
    if found.languages:
        each = ", ".join(f"{name} {value:.3f}" for name, value in found.languages.items())
        click.echo(f"  by language: {each}")
    for source in sorted(sources):
        click.echo(f"  source: {source}")


def _number(estimate: Estimate, digits: int) -> str:
    low, mid, high = (f"{each:.{digits}f}" for each in (estimate.low, estimate.mid, estimate.high))
    unit = f" {estimate.unit}" if estimate.unit else ""
    return f"{mid}{unit}" if low == high else f"{mid}{unit} ({low} to {high})"


def _run(work: Any) -> Any:
    """Does the work with progress on standard error."""
    settings = config()
    with StepProgress(console(stderr=True)) as progress:
        kitchen = Kitchen(
            database=database(settings),
            home=settings.home,
            actor=actor(),
            on_step=progress.report,
        )
        running: Coroutine[Any, Any, Any] = work(kitchen)
        return asyncio.run(running)


async def _brought(kitchen: Kitchen, text: str) -> str:
    """The name of a model that is here, pulled if it is not."""
    try:
        await kitchen.database.call(revisions.resolve, text)
    except ModelNotFound:
        brought = await hub.bring(
            text,
            database=kitchen.database,
            folder=kitchen.blobs.folder,
            actor=kitchen.actor,
        )
        return revisions.named(brought.revision)
    return text


def _parent(connection: Connection, row: RevisionRow) -> RevisionRow:
    """The nearest parent that is here. Raises BadRequest."""
    for edge in queries.parents(connection, row.id):
        if edge.relation == "adapted":
            continue
        for found in queries.of_id(connection, edge.parent):
            return found
    raise BadRequest(
        f"{revisions.named(row)} was not made of a model that is here: say --against ANOTHER."
    )
