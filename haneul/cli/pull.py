"""`haneul pull`: a model from wherever it is, looked at before it comes."""

from __future__ import annotations

import asyncio
from typing import Any

import click
import msgspec

from haneul.base import places
from haneul.base.config import Config
from haneul.base.units import show_bytes
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.preview import check_fits, look, tell
from haneul.cli.progress import PullProgress
from haneul.cli.show import console, print_json
from haneul.models import hub, revisions
from haneul.models.hub import Brought
from haneul.models.manifest import read
from haneul.store import revisions as revision_queries


@command("pull", example="haneul pull qwen2.5-coder:0.5b")
@click.argument("model")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only tells what would come, and whether.")
@click.option("--anyway", is_flag=True, help="Also what does not fit this machine.")
@click.option("--update", "is_update", is_flag=True, help="Asks for a newer revision.")
@json_option
def pull(model: str, is_dry: bool, anyway: bool, is_update: bool, as_json: bool) -> None:
    """Brings a model here: a catalogue name, hf:ORG/REPO:QUANT, modelscope:…, a URL or a file.

    Of a repository only GGUF files or safetensors are taken, with what describes them; pickles and
    code are named and left out. What does not fit this machine is not pulled unless --anyway.
    """
    settings = config()
    if is_dry:
        tell(look(model, settings), as_json=as_json)
        return
    if not (anyway or _is_known(model, settings)):
        check_fits(model, settings)
    brought = pull_model(model, is_update=is_update)
    for line in brought.template_change:
        click.echo(f"  {line}", err=True)
    if as_json:
        print_json(_facts(brought))
    else:
        _tell(brought)


def _tell(brought: Brought) -> None:
    revision, facts = brought.revision, revisions.facts(brought.revision)
    files = read(revision.manifest)
    what = f"sha256:{revision.digest}" if len(files.files) == 1 else f"{len(files.files)} files"
    size = show_bytes(revision.bytes)
    click.echo(f"{revision.model}: {size} from {revision.source}, {what}")
    for entry in facts.left_out:
        click.echo(f"  left out: {entry}")
    if brought.row is None:
        click.echo(f"  No engine here reads {files.format}: haneul models convert {revision.model}")


def _is_known(model: str, settings: Config) -> bool:
    """Whether it was pulled before, under that name."""
    name = hub.name_of(model)
    return bool(database(settings).run(revision_queries.of_model, name))


def pull_model(model: str, *, is_update: bool) -> Brought:
    """Pulls with progress on standard error. Raises FetchFailed and its kin."""
    settings = config()
    store = database(settings)
    with PullProgress(console(stderr=True)) as progress:
        return asyncio.run(
            hub.bring(
                model,
                database=store,
                folder=places.blobs(settings.home),
                on_progress=progress.report,
                actor=actor(),
                is_update=is_update,
            )
        )


def _facts(brought: Brought) -> dict[str, Any]:
    """The served row as `haneul ls` has it, or the revision of what no engine here reads."""
    facts = msgspec.structs.asdict(brought.row or brought.revision)
    if "shape" in facts:
        facts["shape"] = msgspec.json.decode(facts["shape"])
    return facts
