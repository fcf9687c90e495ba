"""The model that another is made of: its revision, its files, what its licence allows."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct
from sqlalchemy import Connection

from haneul.base.errors import BadRequest, ModelNotFound, NotAllowed
from haneul.models import licences, revisions
from haneul.models.folder.blobs import Blobs
from haneul.models.manifest import Format, Manifest, read
from haneul.store import revisions as queries
from haneul.store.revisions import RevisionRow


class Parent(Struct, frozen=True, kw_only=True):
    """A revision that is here. `licence`: what is made of it has, None: unknown."""

    row: RevisionRow
    manifest: Manifest
    licence: str | None


def find(connection: Connection, text: str, *, wanted: Format) -> Parent:
    """The revision that NAME, NAME@ALIAS or NAME@ID means; of a name alone one in that format.

    Raises ModelNotFound, NotAllowed for a licence that forbids derivatives or a withdrawn one,
    BadRequest for files of another kind.
    """
    row = _newest(connection, text, revisions.resolve(connection, text), wanted)
    if row.withdrawn_us is not None:
        why = row.reason or "no reason given"
        raise NotAllowed(f"{revisions.named(row)} was withdrawn: {why}.")
    manifest = read(row.manifest)
    if manifest.format != wanted:
        held = {"gguf": "a GGUF", "safetensors": "safetensors", "adapter": "an adapter"}
        raise BadRequest(
            f"{revisions.named(row)} is {held[manifest.format]}; {held[wanted]} is needed here."
        )
    inherited = licences.inherited(licences.licence(row.licence))
    return Parent(
        row=row,
        manifest=manifest,
        licence=None if inherited.id == "unknown" else inherited.id,
    )


def weights(parent: Parent, blobs: Blobs) -> list[Path]:
    """The files of its tensors. Raises ModelNotFound where one is gone."""
    paths = [blobs.path(file.sha256) for file in parent.manifest.weights]
    if not all(path.is_file() for path in paths):
        raise ModelNotFound(f"The files of {revisions.named(parent.row)} are not here any more.")
    return paths


def runnable(parent: Parent, blobs: Blobs) -> Path:
    """The file that an engine opens; of a split model the first, beside the others."""
    paths = weights(parent, blobs)
    if len(paths) == 1:
        return paths[0]
    return blobs.lay_out(parent.manifest) / parent.manifest.weights[0].path


def _newest(
    connection: Connection, text: str, resolved: RevisionRow, wanted: Format
) -> RevisionRow:
    """The resolved one, or where the name alone was said the newest of the wanted format."""
    if text != resolved.model or read(resolved.manifest).format == wanted:
        return resolved
    for row in queries.of_model(connection, text):
        if row.withdrawn_us is None and read(row.manifest).format == wanted:
            return row
    return resolved
