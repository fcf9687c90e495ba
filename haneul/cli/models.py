"""`haneul ls`, `rm`: the models on this machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click
import msgspec

from haneul.base import places
from haneul.base.errors import NotFound
from haneul.base.units import show_bytes, show_time
from haneul.chips.estimate import show
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.progress import PullProgress
from haneul.cli.show import console, print_json, print_table
from haneul.models import catalogue, hub
from haneul.models.folder import removal
from haneul.models.folder.blobs import Blobs
from haneul.models.manifest import read
from haneul.store import models as queries
from haneul.store.database import Database
from haneul.store.models import ModelRow
from haneul.store.revisions import RevisionRow


def pull_row(model: str) -> ModelRow:
    """Pulls with progress on standard error. Raises FetchFailed and its kin."""
    settings = config()
    store = database(settings)
    with PullProgress(console(stderr=True)) as progress:
        return asyncio.run(
            hub.ensure(
                model,
                database=store,
                folder=places.blobs(settings.home),
                on_progress=progress.report,
                actor=actor(),
            )
        )


@command("ls", example="haneul ls --all")
@click.option("--all", "is_all", is_flag=True, help="The catalogue too: what could be pulled.")
@json_option
def ls(is_all: bool, as_json: bool) -> None:
    """Lists the models on this machine."""
    settings = config()
    store, blobs = database(settings), Blobs(places.blobs(settings.home))
    rows, kept = store.run(queries.every), store.run(removal.unserved, blobs)
    here = {row.name for row in rows} | {row.model for row in kept}
    entries = [entry for entry in catalogue.load().entries if is_all and entry.name not in here]
    if as_json:
        rest = [{"name": entry.name, "size": entry.size} for entry in entries]
        models = [_facts(row) for row in rows]
        print_json({"models": models, "kept": kept, "catalogue": rest})
        return
    print_table(
        ("NAME", ">SIZE", "WEIGHTS", "LICENCE", "SOURCE", "PULLED"),
        [
            *(_row(row) for row in rows),
            *(_kept(row) for row in kept),
            *(
                (
                    entry.name,
                    show(entry.size),
                    entry.shape.quantisation,
                    entry.licence,
                    "can be pulled" if entry.sources else "can be planned for",
                    "no",
                )
                for entry in entries
            ),
        ],
        empty="No models here yet: haneul pull smollm2:135m",
    )


@command("rm", example="haneul rm qwen2.5-coder:0.5b")
@click.argument("model")
@json_option
def rm(model: str, as_json: bool) -> None:
    """Removes a model and its file; a running cloud unloads it within seconds."""
    settings = config()
    store = database(settings)
    row = store.run(queries.get, model) or store.run(queries.get, hub.name_of(model))
    if row is not None:
        name, digest = row.name, row.digest
        unused = store.run(removal.forget, row, actor())
    else:
        kept = _unserved(store, hub.name_of(model), settings.home)
        name, digest = kept.model, kept.digest
        unused = store.run(removal.forget_unserved, kept, actor())
    if unused:
        removal.remove_files(digest, unused, settings.home)
    if as_json:
        print_json({"removed": name, "digest": digest})
    else:
        click.echo(f"Removed {name}.")


def _unserved(store: Database, name: str, home: Path) -> RevisionRow:
    for row in store.run(removal.unserved, Blobs(places.blobs(home))):
        if row.model == name:
            return row
    raise NotFound(f"there is no model '{name}' here")


def _facts(row: ModelRow) -> dict[str, Any]:
    return {**msgspec.structs.asdict(row), "shape": msgspec.json.decode(row.shape)}


def _row(row: ModelRow) -> tuple[str, ...]:
    return (
        row.name,
        show_bytes(row.bytes),
        hub.shape(row).quantisation,
        row.licence or "unknown",
        row.source,
        show_time(row.pulled_us),
    )


def _kept(row: RevisionRow) -> tuple[str, ...]:
    """What no engine here reads; its files may be converted and shared."""
    format = read(row.manifest).format
    size, since = show_bytes(row.bytes), show_time(row.created_us)
    return row.model, size, format, row.licence or "unknown", row.source, since
