"""Which files the cloud serves under which names: the current revision of each model, and those
that an alias points at.

The cloud follows the table `model`, a row for each file it may start an engine for. A model's own
name is its current revision. A revision that an alias points at, and that is not the current one,
is served as NAME@ID; the alias itself is a route to whichever row has its revision, so that moving
it loses no request and keeps two engines of the same file from running side by side.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from sqlalchemy import Connection

from haneul.base.errors import NotAllowed
from haneul.base.units import now_us
from haneul.models import revisions
from haneul.models.folder.blobs import Blobs
from haneul.models.manifest import Manifest, read
from haneul.store import models as model_queries
from haneul.store import revisions as queries
from haneul.store.models import ModelRow
from haneul.store.revisions import RevisionRow


def serve(connection: Connection, revision: RevisionRow, blobs: Blobs) -> ModelRow:
    """Makes a revision its model's current one; the row that the cloud follows.

    Raises NotAllowed for a derivative that was not measured, or files that no engine here reads.
    """
    revisions.check_served(connection, revision)
    row = _row(revision, revision.model, blobs)
    present = model_queries.get(connection, row.name)
    if present is None or (present.revision, present.path) != (row.revision, row.path):
        model_queries.put(connection, row)
    settle(connection, revision.model, blobs)
    return row


def settle(connection: Connection, model: str, blobs: Blobs) -> None:
    """Makes the rows of a model's pinned revisions what its aliases want."""
    current = model_queries.get(connection, model)
    held = current.revision if current else None
    wanted = set(queries.aliases(connection, model).values()) - {held}
    prefix = f"{model}@"
    there = {
        row.revision: row
        for row in model_queries.every(connection)
        if row.revision and row.name == f"{prefix}{row.revision[: revisions.SHORT]}"
    }
    for revision, row in there.items():
        if revision not in wanted:
            model_queries.remove(connection, row.name, now_us())
    for revision in sorted(wanted - there.keys()):
        found = queries.get(connection, model, revision)
        if found is not None and found.withdrawn_us is None:
            model_queries.put(connection, _row(found, revisions.named(found), blobs))


def routes(connection: Connection) -> dict[str, str]:
    """Where each alias of each model leads: NAME@ALIAS to the row that has its revision."""
    rows = model_queries.every(connection)
    by_revision: dict[tuple[str, str], str] = {}
    for row in rows:
        if row.revision:
            model = row.name.removesuffix(f"@{row.revision[: revisions.SHORT]}")
            by_revision.setdefault((model, row.revision), row.name)
    found = {}
    for (model, alias), revision in queries.every_alias(connection).items():
        name = by_revision.get((model, revision))
        if name is not None:
            found[f"{model}@{alias}"] = name
    return found


def withdraw(connection: Connection, revision: RevisionRow, reason: str) -> list[str]:
    """Withdraws a revision: it is not served any more; the names that it was served under.

    What was made of it stays: `lineage` says that its base is gone.
    """
    queries.withdraw(connection, revision.model, revision.id, now_us(), reason)
    gone = [row.name for row in model_queries.every(connection) if _is_of(row, revision)]
    for name in gone:
        model_queries.remove(connection, name, now_us())
    return gone


def _is_of(row: ModelRow, revision: RevisionRow) -> bool:
    names = (revision.model, revisions.named(revision))
    return row.revision == revision.id and row.name in names


def _row(revision: RevisionRow, name: str, blobs: Blobs) -> ModelRow:
    shape = revisions.facts(revision).shape
    files = read(revision.manifest)
    if files.format != "gguf" or shape is None:
        raise NotAllowed(
            f"{revisions.named(revision)} is {files.format}, which no engine here reads: "
            f"haneul models convert {revision.model}"
        )
    return ModelRow(
        name=name,
        digest=revision.digest,
        path=str(_weights(files, blobs)),
        bytes=revision.bytes,
        source=revision.source,
        licence=revision.licence,
        shape=msgspec.json.encode(shape).decode(),
        pulled_us=now_us(),
        revision=revision.id,
    )


def _weights(files: Manifest, blobs: Blobs) -> Path:
    """The file that an engine opens; it finds the others of a split model beside it."""
    first = files.weights[0]
    return blobs.lay_out(files) / first.path if len(files.weights) > 1 else blobs.path(first.sha256)
