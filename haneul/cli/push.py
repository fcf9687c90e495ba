"""`haneul models push`: a revision put to another haneul."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click
from sqlalchemy import Connection

from haneul.base import places
from haneul.base.errors import CommandError, Conflict
from haneul.base.units import show_bytes
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.progress import PullProgress
from haneul.cli.show import console, print_json
from haneul.models import revisions
from haneul.models.folder.blobs import Blobs
from haneul.models.licences import licence
from haneul.models.manifest import Manifest, read
from haneul.services.hub.names import id_of
from haneul.store import audit
from haneul.store.revisions import RevisionRow

KEY_MAX_CHARS = 1024


@command("push", example="haneul models push support-8b@prod http://10.0.0.7:8420")
@click.argument("model")
@click.argument("target")
@click.option(
    "--key-file", metavar="FILE", help="Holds a key of the other side; without: HF_TOKEN."
)
@json_option
def push(model: str, target: str, key_file: str | None, as_json: bool) -> None:
    """Puts MODEL (NAME, NAME@ALIAS or NAME@ID) to the hub of another haneul.

    TARGET is its address, with /ORGANISATION/NAME behind it where the model is to be called
    otherwise there. The key needs the scope push. What the other side has is not sent again.
    """
    # Loaded here: what speaks https takes 12 MB, which no other command of the group needs.
    from haneul.models.push import Told, read_target
    from haneul.models.push import push as put

    settings = config()
    row = database(settings).run(_revision, model)
    manifest, blobs = read(row.manifest), Blobs(places.blobs(settings.home))
    place = read_target(target, id_of(row.model))
    key = _key(key_file)
    if licence(row.licence).allows_sharing is False:
        click.echo(f"{row.licence}: its licence does not allow passing it on to others.", err=True)
    _check_here(manifest, blobs)
    with PullProgress(console(stderr=True)) as progress:
        done = asyncio.run(
            put(
                manifest,
                place,
                blobs=blobs,
                key=key,
                told=Told(model=row.model, source=row.source, licence=row.licence),
                on_progress=progress.report,
            )
        )
    told = {"revision": row.id, "to": f"{done.hub}/{done.repository}", "commit": done.commit}
    database(settings).run(
        lambda c: audit.note(c, actor(), "model.push", revisions.named(row), after=told)
    )
    if as_json:
        print_json(done)
        return
    what = f"{show_bytes(done.sent_bytes)} sent" if done.is_new else "was there"
    click.echo(f"{done.hub}/{done.repository}@{done.commit[:12]}: {what}")


def _revision(connection: Connection, model: str) -> RevisionRow:
    row = revisions.resolve(connection, model)
    if row.withdrawn_us is not None:
        raise Conflict(f"{revisions.named(row)} was withdrawn: {row.reason or 'no reason given'}.")
    return row


def _check_here(manifest: Manifest, blobs: Blobs) -> None:
    """Raises CommandError for a file that is not here, before anything is sent."""
    for file in manifest.files:
        if blobs.size(file.sha256) != file.bytes:
            raise CommandError(f"{file.path} is not here any more: haneul pull brings it back")


def _key(key_file: str | None) -> str:
    if key_file is None:
        return os.environ.get("HF_TOKEN", "").strip()
    try:
        key = Path(key_file).expanduser().read_text()[:KEY_MAX_CHARS].strip()
    except (OSError, UnicodeDecodeError) as cause:
        raise CommandError(f"the key file {key_file} cannot be read") from cause
    if not key or not key.isprintable() or not key.isascii():
        raise CommandError(f"the key file {key_file} does not hold a key")
    return key
