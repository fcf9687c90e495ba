"""`haneul models show`, and the look before a pull: what would come, whether it fits, its price."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import click
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection

from haneul.base.config import Config
from haneul.base.errors import BrokenFile, HaneulError, ModelNotFound
from haneul.base.gguf import read_header
from haneul.base.units import NANO, show_bytes, show_parameters
from haneul.chips.cost import Price, TokenPrice
from haneul.chips.estimate import exactly
from haneul.chips.estimate import show as shown
from haneul.cli.command import command, config, database, json_option
from haneul.cli.show import print_json
from haneul.models import catalogue, hub, preview, revisions, templates
from haneul.models.catalogue import Entry
from haneul.models.licences import Licence, licence
from haneul.models.manifest import read
from haneul.models.previewed import Preview
from haneul.models.pulling.fetch import Fetcher
from haneul.models.reference import Reference, parse
from haneul.models.sources.offer import LeftOut, Listed
from haneul.services import outlook
from haneul.services.appraisal import corrections
from haneul.services.outlook import Alternative, Machine, Outlook
from haneul.services.steady import steady
from haneul.store import models as queries
from haneul.store.revisions import RevisionRow

FILES_SHOWN = 8


class Look(Struct, frozen=True, kw_only=True):
    """Everything that is told of a model."""

    model: Preview
    here: Outlook | None  # None: what it needs is unknown
    alternatives: tuple[Alternative, ...] = ()  # where it does not fit
    template_change: tuple[str, ...] = ()  # against what is here under that name


@command("show", example="haneul models show qwen3:8b")
@click.argument("model")
@json_option
def show(model: str, as_json: bool) -> None:
    """Shows what MODEL is, whether it fits this machine, how fast it would be and at what price.

    One that is not here is asked for at its sources; of its weights only the header is read.
    """
    settings = config()
    found = _here(model, settings)
    tell(_seen(found, _machine(settings)) if found else look(model, settings), as_json=as_json)


def look(model: str, settings: Config) -> Look:
    """What a pull would bring. Raises FetchFailed, BadRequest, BrokenFile, ModelNotFound."""
    found = asyncio.run(_ask(catalogue.load().resolve(model)))
    seen = _seen(found, _machine(settings))
    before = _template_here(hub.name_of(model), settings)
    if before is None or not found.shape:
        return seen
    return replace(seen, template_change=templates.difference(before, found.template))


def check_fits(model: str, settings: Config) -> None:
    """Raises NotEnoughMemory, naming what would fit, for a model that is known not to fit.

    What the catalogue knows is not asked for; nor is what cannot be known before it is here.
    """
    known = catalogue.load()
    found = asyncio.run(_judged(known.resolve(model)))
    if found is not None:
        outlook.refuse_misfit(found, _machine(settings), known.entries)


def tell(seen: Look, *, as_json: bool) -> None:
    """Prints it."""
    if as_json:
        print_json(seen)
        return
    click.echo(seen.model.name)
    for label, value in _lines(seen):
        click.echo(f"  {label:<11}{value}")


async def _judged(target: Entry | Reference) -> Preview | None:
    async with Fetcher() as fetcher:
        return await preview.before_pull(target, fetcher=fetcher)


async def _ask(target: Entry | Reference) -> Preview:
    async with Fetcher() as fetcher:
        return await preview.preview(target, fetcher=fetcher)


def _machine(settings: Config) -> Machine:
    machine = outlook.this_machine(settings)
    if not settings.home.exists():
        return machine
    store = database(settings)
    chip = store.run(steady, machine.chip)
    return replace(machine, chip=chip, corrections=store.run(corrections, chip, settings))


def _seen(found: Preview, machine: Machine) -> Look:
    if found.shape is None:
        return Look(model=found, here=None)
    here = outlook.outlook(found.shape, machine)
    others: tuple[Alternative, ...] = ()
    if here.fit.fits is False:
        others = outlook.alternatives(found, machine, catalogue.load().entries)
    return Look(model=found, here=here, alternatives=others)


def _here(model: str, settings: Config) -> Preview | None:
    """What the store says of a model or one of its revisions; None for what is not here."""
    if not settings.home.exists():
        return None
    store = database(settings)
    for name in (model, _plain(model)):
        try:
            return _kept(store.run(_resolved, name))
        except HaneulError:
            continue
    return None


def _plain(model: str) -> str:
    return hub.name_of(model) if parse(model).kind != "catalogue" else model.lower()


def _resolved(connection: Connection, name: str) -> RevisionRow:
    """Raises ModelNotFound, also for a model whose name was removed."""
    row = revisions.resolve(connection, name)
    is_served = read(row.manifest).format == "gguf"
    if name == row.model and is_served and queries.get(connection, name) is None:
        raise ModelNotFound
    return row


def _kept(row: RevisionRow) -> Preview:
    facts, files = revisions.facts(row), read(row.manifest)
    return Preview(
        name=revisions.named(row),
        source=f"{row.source}, here",
        revision=row.source_revision,
        format=files.format,
        files=tuple(Listed(file.path, file.bytes, file.sha256) for file in files.files),
        size=exactly(row.bytes, "B", source="the store"),
        licence=licence(row.licence),
        shape=facts.shape,
        template="",
        left_out=tuple(
            LeftOut(path, reason) for path, _, reason in (e.partition(": ") for e in facts.left_out)
        ),
        variants=(),
        read_bytes=0,
        reason="" if facts.shape else "it was not read when it came",
    )


def _template_here(name: str, settings: Config) -> str | None:
    """The template of what serves under the name now; None where nothing does."""
    row = database(settings).run(queries.get, name) if settings.home.exists() else None
    try:
        return templates.of_header(read_header(row.path)) if row else None
    except BrokenFile:
        return None


def _lines(seen: Look) -> Iterator[tuple[str, str]]:
    """Each a label and what is told."""
    model, here = seen.model, seen.here
    commit = f", revision {model.revision[:12]}" if model.revision else ""
    yield "source", f"{model.source or 'the catalogue; no source was reached'}{commit}"
    yield "size", shown(model.size) if model.size else "unknown"
    for file in model.files[:FILES_SHOWN]:
        size = show_bytes(file.bytes) if file.bytes is not None else "size unknown"
        yield "file", f"{file.path} ({size})"
    if len(model.files) > FILES_SHOWN:
        yield "file", f"and {len(model.files) - FILES_SHOWN} more"
    yield "licence", _licence(model.licence)
    for condition in model.licence.conditions:
        yield "", condition
    for entry in model.left_out:
        yield "left out", f"{entry.path}: {entry.reason}"
    if model.shape is None or here is None:
        yield "fits", f"unknown: {model.reason or 'its shape is unknown'}"
    else:
        yield from _forecast(seen, here)
    if model.format != "gguf":
        yield "engine", f"none here reads {model.format}: haneul models convert, once it is here"
    if model.read_bytes:
        yield "read", f"{show_bytes(model.read_bytes)} of the weights' files, for their header"
    for line in seen.template_change:
        yield "template", line


def _forecast(seen: Look, here: Outlook) -> Iterator[tuple[str, str]]:
    shape = seen.model.shape
    if shape is not None:
        active = f", {show_parameters(shape.active_parameters)} active" if shape.experts else ""
        yield "weights", f"{show_parameters(shape.parameters)}{active}, {shape.quantisation}"
        yield "context", f"{here.context_tokens:,} of {shape.context_tokens:,} tokens"
    yield "fits", f"{here.fit.reason}"
    decode, prefill = here.speed.decode, here.speed.prefill
    yield "answers", f"{shown(decode) if decode else 'unknown'} on {here.chip}"
    yield "prompts", shown(prefill) if prefill else "unknown"
    yield "price", _price(here.price)
    for other in seen.alternatives:
        yield "instead", _alternative(other)


def _licence(terms: Licence) -> str:
    """The name and what it allows, in words."""
    words = {True: "yes", False: "no", None: "unknown"}
    return (
        f"{terms.name} (commercial use: {words[terms.allows_commercial]}, derivatives: "
        f"{words[terms.allows_derivatives]}, sharing: {words[terms.allows_sharing]})"
    )


def _price(price: TokenPrice | None) -> str:
    if price is None:
        return "unknown"
    return (
        f"{_money(price.output)} {price.currency} per million tokens answered, "
        f"{_money(price.input)} per million read"
    )


def _money(price: Price) -> str:
    low, mid, high = (value / NANO for value in (price.low_nano, price.mid_nano, price.high_nano))
    return f"{mid:.3g} ({low:.3g}–{high:.3g})"


def _alternative(other: Alternative) -> str:
    speed = shown(other.decode) if other.decode else "speed unknown"
    return f"{other.name}: {shown(other.size)}, {speed} ({other.why})"
