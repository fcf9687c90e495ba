"""Taking a model away again: its name, and the files that nobody else needs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection

from haneul.base import places
from haneul.base.errors import NotFound
from haneul.base.units import now_us
from haneul.models.folder.blobs import Blobs
from haneul.models.folder.pins import collecting
from haneul.models.hub import audited
from haneul.models.manifest import File, read
from haneul.store import audit
from haneul.store import models as queries
from haneul.store import revisions as revision_queries
from haneul.store.audit import Who
from haneul.store.models import ModelRow
from haneul.store.revisions import RevisionRow


def unserved(connection: Connection, blobs: Blobs) -> list[RevisionRow]:
    """The newest revision of each model that is here and that no engine reads."""
    found: dict[str, RevisionRow] = {}
    for revision in revision_queries.every(connection):
        files = read(revision.manifest)
        is_here = all(blobs.size(file.sha256) is not None for file in files.weights)
        if files.format != "gguf" and is_here and revision.withdrawn_us is None:
            found.setdefault(revision.model, revision)
    return sorted(found.values(), key=lambda revision: revision.model)


def forget(connection: Connection, row: ModelRow, actor: Who) -> tuple[str, ...]:
    """Removes a name; the digests of its files, of older revisions too, that none else needs."""
    queries.remove(connection, row.name, now_us())
    was = audited(row)
    audit.note(connection, actor, "model.remove", row.name, row.digest, before=was)
    own = [read(each.manifest) for each in revision_queries.of_model(connection, row.name)]
    mine = [file for files in own if files.format == "gguf" for file in files.files]
    return _needless(connection, row.name, mine or [File("", row.digest, row.bytes)])


def forget_unserved(connection: Connection, row: RevisionRow, actor: Who) -> tuple[str, ...]:
    """The same of a model that no engine reads: its revision stays known, without its files."""
    was = {"digest": row.digest, "bytes": row.bytes, "source": row.source, "licence": row.licence}
    audit.note(connection, actor, "model.remove", row.model, row.digest, before=was)
    return _needless(connection, row.model, read(row.manifest).files)


def _needless(connection: Connection, name: str, mine: Sequence[File]) -> tuple[str, ...]:
    """The files' digests without those that another model needs.

    Needed are the files of every revision of a model that is served under some name, and those of
    safetensors, which are kept without being served.
    """
    rows = queries.every(connection)
    known = revision_queries.every(connection)
    served = {other.revision for other in rows}
    live = {revision.model for revision in known if revision.id in served} - {name}
    held = {other.digest for other in rows}
    for revision in known:
        files = read(revision.manifest)
        is_kept = files.format != "gguf" and revision.model != name
        if revision.model in live or revision.id in served or is_kept:
            held |= {file.sha256 for file in files.files}
    return tuple(sorted({file.sha256 for file in mine} - held))


def remove_files(digest: str, unused: Sequence[str], home: Path) -> None:
    """Removes the unused files of a model with that digest, and what was made of it here."""
    blobs = Blobs(places.blobs(home))
    with collecting(blobs.locks) as pinned:  # a pull that is running may be about to need one
        for each in unused:
            if each not in pinned:
                with suppress(NotFound):
                    blobs.remove(each)
    shutil.rmtree(blobs.revisions / digest, ignore_errors=True)
    for path in places.derived(home).glob(f"{digest}.*"):
        path.unlink(missing_ok=True)
