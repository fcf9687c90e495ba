"""The models that are here: a name, its verified file, its shape, where it came from."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Connection

from haneul.base import places
from haneul.base.gguf import read_header
from haneul.base.units import now_us
from haneul.chips.shape import Shape
from haneul.models.blobs import Blobs
from haneul.models.catalogue import load
from haneul.models.progress import OnProgress
from haneul.models.reference import parse, show
from haneul.models.shape import shape_of
from haneul.store import audit
from haneul.store import models as queries
from haneul.store.audit import Who
from haneul.store.database import Database
from haneul.store.models import ModelRow

if TYPE_CHECKING:
    from haneul.models.pull import Pulled


def name_of(text: str) -> str:
    """The public name of what somebody typed: the catalogue's, a file's stem, or the reference."""
    reference = parse(text)
    if reference.kind == "file":
        return Path(reference.name).stem
    if reference.kind == "catalogue":
        return load().find(reference.name).name
    return show(reference)


async def ensure(
    text: str,
    *,
    database: Database,
    folder: Path,
    on_progress: OnProgress | None = None,
    actor: Who = "cloud",
) -> ModelRow:
    """The model, pulled unless it is here. Raises what `pull` raises, and ModelNotFound."""
    name = name_of(text)
    row = await database.call(queries.get, name)
    reference = parse(text)
    if row is not None and reference.kind != "file" and await asyncio.to_thread(_is_here, row):
        return row
    # Loaded with the first pull: what speaks https takes 12 MB, which serving does not need.
    from haneul.models.fetch import Fetcher
    from haneul.models.pull import pull

    async with Fetcher() as fetcher:
        pulled = await pull(
            load().resolve(text), blobs=Blobs(folder), fetcher=fetcher, on_progress=on_progress
        )
    return await register(database, name, pulled, actor=actor)


async def register(database: Database, name: str, pulled: Pulled, *, actor: Who) -> ModelRow:
    """Notes a pulled file under its name."""
    header = await asyncio.to_thread(read_header, pulled.path)
    row = ModelRow(
        name=name,
        digest=pulled.sha256,
        path=str(pulled.path),
        bytes=pulled.bytes,
        source=pulled.source,
        licence=pulled.licence or None,
        shape=msgspec.json.encode(shape_of(header)).decode(),
        pulled_us=now_us(),
    )
    present = await database.call(queries.get, name)
    if present is None or present.digest != row.digest or present.path != row.path:
        await database.call(_put, row, present, actor)
        return row
    return present


def _put(connection: Connection, row: ModelRow, before: ModelRow | None, actor: Who) -> None:
    queries.put(connection, row)
    was, now = (None if each is None else _facts(each) for each in (before, row))
    audit.note(connection, actor, "model.pull", row.name, row.digest, before=was, after=now)


def _facts(row: ModelRow) -> dict[str, Any]:
    """What of a model an audit keeps."""
    return {name: getattr(row, name) for name in ("digest", "bytes", "source", "licence", "path")}


def forget(connection: Connection, row: ModelRow, actor: Who) -> bool:
    """Removes a name; whether its file means nothing any more."""
    queries.remove(connection, row.name, now_us())
    was = _facts(row)
    audit.note(connection, actor, "model.remove", row.name, row.digest, before=was)
    return not any(other.digest == row.digest for other in queries.every(connection))


def remove_file(row: ModelRow, home: Path) -> None:
    """Removes a model's file, and those that were made of it."""
    Blobs(places.blobs(home)).remove(row.digest)
    for path in places.derived(home).glob(f"{row.digest}.*"):
        path.unlink(missing_ok=True)


def shape(row: ModelRow) -> Shape:
    """The shape that was read when the model came."""
    return msgspec.json.decode(row.shape, type=Shape)


def _is_here(row: ModelRow) -> bool:
    path = Path(row.path)
    return path.is_file() and path.stat().st_size == row.bytes
