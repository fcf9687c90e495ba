"""Models for tests of the hub, put straight into a cloud's store."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Mapping
from typing import Any

from haneul.base import places
from haneul.base.units import now_us
from haneul.models.folder.blobs import Blobs
from haneul.models.manifest import File, Manifest, dump, manifest
from haneul.store import revisions
from haneul.store.revisions import RevisionRow

NUMBERS = itertools.count(1)


def a_name() -> str:
    """A name that no other test uses."""
    return f"model-{next(NUMBERS)}"


def put_blob(home: Any, content: bytes) -> File:
    """A file's content in the store of a home."""
    blobs = Blobs(places.blobs(home))
    blobs.open()
    sha256 = hashlib.sha256(content).hexdigest()
    blobs.path(sha256).write_bytes(content)
    return File(path="", sha256=sha256, bytes=len(content))


def row_of(
    home: Any, model: str, files: Mapping[str, bytes], format: Any, **more: Any
) -> tuple[Manifest, RevisionRow]:
    """A revision's files in the store, and its row."""
    entries = []
    for path, content in files.items():
        blob = put_blob(home, content)
        entries.append(File(path=path, sha256=blob.sha256, bytes=blob.bytes))
    made = manifest(format, entries)
    row = RevisionRow(
        model=model,
        id=made.revision,
        manifest=dump(made),
        digest=made.revision,
        bytes=made.bytes,
        source="test",
        created_us=now_us(),
        **more,
    )
    return made, row


async def put_model(
    cloud: Any, model: str, files: Mapping[str, bytes], *, format: str = "gguf", **more: Any
) -> Manifest:
    """A revision of a model in a running cloud."""
    home = cloud.cloud.config.home
    made, row = await asyncio.to_thread(row_of, home, model, files, format, **more)
    await cloud.cloud.database.call(revisions.add, row)
    return made
