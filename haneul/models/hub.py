"""The models that are here: pulled, registered as a revision, served from then on.

Whatever comes is a revision of its files first. GGUF files become a row that the cloud serves;
safetensors are kept, shared and converted, but no engine here reads them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from haneul.base import gguf_parts
from haneul.base.errors import BadRequest, BrokenFile, CommandError
from haneul.base.gguf import read_header
from haneul.base.gguf_header import Header
from haneul.chips.shape import Shape
from haneul.models import revisions, serving, templates
from haneul.models.catalogue import Entry, load
from haneul.models.folder.blobs import Blobs
from haneul.models.manifest import Manifest
from haneul.models.previewed import Preview
from haneul.models.pulling.progress import OnProgress
from haneul.models.reference import Reference, is_remote, parse, show
from haneul.models.revisions import Facts
from haneul.models.shapes.gguf_shape import shape_of
from haneul.store import audit, engines
from haneul.store import models as queries
from haneul.store.audit import Who
from haneul.store.database import Database
from haneul.store.models import ModelRow
from haneul.store.revisions import RevisionRow

if TYPE_CHECKING:
    from haneul.models.pulling.pull import Pulled

CONFIGURATION_MAX_BYTES = 16 << 20
Judge = Callable[[Preview], None]  # raises what keeps a model from being pulled


class Brought(Struct, frozen=True, kw_only=True):
    """What a pull came to."""

    revision: RevisionRow
    row: ModelRow | None  # what the cloud serves; None: no engine here reads these files
    template_change: tuple[str, ...] = ()  # against the revision that served before


def name_of(text: str) -> str:
    """The public name of what somebody typed: the catalogue's, a file's stem, or the reference."""
    reference = parse(text)
    if reference.kind == "file":
        return Path(reference.name).stem
    if reference.kind == "folder":
        return Path(os.path.abspath(os.path.expanduser(reference.name))).name
    if reference.kind == "catalogue":
        return load().find(reference.name).name
    return show(reference)


async def ensure(
    text: str,
    *,
    database: Database,
    folder: Path,
    on_progress: OnProgress | None = None,
    judge: Judge | None = None,
    actor: Who = "cloud",
) -> ModelRow:
    """The model to be served, pulled unless it is here.

    Raises what `bring` raises, CommandError for files that no engine here reads.
    """
    here = await database.call(queries.get, text)  # its name need not be one of the catalogue's
    if here is not None and await asyncio.to_thread(_is_here, here):
        return here
    name = name_of(text)
    row = await database.call(queries.get, name)
    reference = parse(text)
    if row is not None and reference.kind != "file" and await asyncio.to_thread(_is_here, row):
        return row
    brought = await bring(
        text,
        database=database,
        folder=folder,
        on_progress=on_progress,
        judge=judge,
        actor=actor,
    )
    if brought.row is None:
        raise CommandError(
            f"{name} is here as safetensors, which no engine here reads: "
            f"haneul models convert {name}"
        )
    return brought.row


async def bring(
    text: str,
    *,
    database: Database,
    folder: Path,
    on_progress: OnProgress | None = None,
    judge: Judge | None = None,
    actor: Who = "cloud",
    is_update: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Brought:
    """The model's revision, pulled unless it is here; an update asks for a newer one.

    `judge` sees first what is known of it. Raises what it and `pull` raise, ModelNotFound, Conflict
    for a revision that was withdrawn.
    """
    # Loaded with the first pull: what speaks https takes 12 MB, which serving does not need.
    from haneul.models.preview import before_pull
    from haneul.models.pulling.fetch import Fetcher
    from haneul.models.pulling.pull import pull

    await database.call(_refuse_remote, text)
    name, target, blobs = name_of(text), load().resolve(text), Blobs(folder)
    async with Fetcher() as fetcher:
        if judge and (found := await before_pull(target, fetcher=fetcher, environ=environ)):
            await asyncio.to_thread(judge, found)
        pulled = await pull(
            target,
            blobs=blobs,
            fetcher=fetcher,
            environ=environ,
            on_progress=on_progress,
            is_update=is_update,
        )
    header = await asyncio.to_thread(_header, pulled, blobs)
    template = await asyncio.to_thread(_template, pulled.manifest, header, blobs)
    facts = Facts(
        shape=shape_of(header) if header else await asyncio.to_thread(_shape, pulled, blobs),
        template_sha256=templates.sha256(template),
        upstream=_upstream(target),
        left_out=pulled.left_out,
    )
    before = await database.call(queries.get, name)
    old_template = await asyncio.to_thread(_served_template, before) if before else None
    brought = await database.call(_register, name, pulled, facts, blobs, actor)
    changes = templates.difference(old_template, template) if old_template is not None else ()
    return msgspec.structs.replace(brought, template_change=changes)


def _refuse_remote(connection: Connection, text: str) -> None:
    """Raises BadRequest for a model of a remote engine, which is asked and cannot be pulled."""
    if is_remote(text, {row.name for row in engines.every(connection)}):
        raise BadRequest(
            f"{text} is a model of a remote engine: ask for it by that name, it cannot be pulled. "
            f"Hugging Face's repository of these words is hf:{text}.",
            param="model",
        )


def _register(
    connection: Connection, name: str, pulled: Pulled, facts: Facts, blobs: Blobs, actor: Who
) -> Brought:
    """Notes the files as a revision, and serves it where an engine reads it."""
    before = queries.get(connection, name)
    revision = revisions.register(
        connection,
        name,
        pulled.manifest,
        digest=pulled.sha256,
        source=pulled.source,
        source_revision=pulled.revision,
        licence=pulled.licence or None,
        facts=facts,
        actor=actor,
    )
    if pulled.manifest.format != "gguf":
        return Brought(revision=revision, row=None)
    serving.serve(connection, revision, blobs)
    row = queries.get(connection, name)
    if row is not None and row != before:
        was, now = (None if each is None else audited(each) for each in (before, row))
        audit.note(connection, actor, "model.pull", row.name, row.digest, before=was, after=now)
    return Brought(revision=revision, row=row)


def _header(pulled: Pulled, blobs: Blobs) -> Header | None:
    """Of the GGUF file, or of all parts of a split one; None for safetensors."""
    if pulled.manifest.format != "gguf":
        return None
    headers = [read_header(blobs.path(file.sha256)) for file in pulled.manifest.weights]
    return headers[0] if len(headers) == 1 else gguf_parts.joined(headers)


def _template(files: Manifest, header: Header | None, blobs: Blobs) -> str:
    if header is not None:
        return templates.of_header(header)
    return templates.of_files(lambda path: _content(files, path, blobs))


def _served_template(row: ModelRow) -> str | None:
    """The template of what was served until now; None where its file is gone."""
    try:
        return templates.of_header(read_header(row.path))
    except BrokenFile:
        return None


def _shape(pulled: Pulled, blobs: Blobs) -> Shape | None:
    """What a configuration says of safetensors, if it is one that a plan can be made of."""
    from haneul.models.shapes.config_shape import shape_of_config  # as the above: with a pull only

    raw = _content(pulled.manifest, "config.json", blobs)
    try:
        config = msgspec.json.decode(raw or b"{}")
        weight_bytes = sum(file.bytes for file in pulled.manifest.weights)
        return shape_of_config(config, weight_bytes=weight_bytes)
    except (msgspec.DecodeError, BrokenFile):
        return None


def _content(files: Manifest, path: str, blobs: Blobs) -> bytes | None:
    for file in files.files:
        if file.path == path and file.bytes <= CONFIGURATION_MAX_BYTES:
            return blobs.path(file.sha256).read_bytes()
    return None


def _upstream(target: Entry | Reference) -> str:
    """The makers' repository as far as it is known; a reference is its own."""
    if isinstance(target, Entry):
        return target.upstream
    return target.name if target.kind in ("huggingface", "modelscope") else ""


def audited(row: ModelRow) -> dict[str, Any]:
    """What of a model an audit keeps."""
    return {name: getattr(row, name) for name in ("digest", "bytes", "source", "licence", "path")}


def shape(row: ModelRow) -> Shape:
    """The shape that was read when the model came."""
    return msgspec.json.decode(row.shape, type=Shape)


def _is_here(row: ModelRow) -> bool:
    """Whether the file is here in its size, or every part of a split one."""
    path = Path(row.path)
    try:
        sizes = [path.with_name(name).stat().st_size for name in gguf_parts.names(path.name)]
    except OSError:
        return False
    return sum(sizes) == row.bytes
