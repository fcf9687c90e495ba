"""Makes a model of a model that is here: `quantize`, `merge`, `convert`; all with `measure`.

The child is a revision like any other: named by its content, with its parent, the recipe and the
tools' versions beside it, under the licence it inherits. It is served when its loss was measured.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from haneul.base import places
from haneul.base.deriving import Convert, Importance, Job, Loss, Made, Measure, Merge, Quantise
from haneul.base.errors import BadRequest
from haneul.base.gguf import check_file, read_header
from haneul.models import licences, revisions, serving, templates
from haneul.models.derive import child, losses, parents
from haneul.models.derive.child import OnStep
from haneul.models.derive.parents import Parent
from haneul.models.folder import lock
from haneul.models.folder.blobs import Blobs, file_sha256
from haneul.models.manifest import File, manifest, read
from haneul.models.quality import Measures
from haneul.models.revisions import Facts
from haneul.models.shapes.gguf_shape import shape_of
from haneul.store import revisions as queries
from haneul.store.audit import Who
from haneul.store.database import Database
from haneul.store.models import ModelRow
from haneul.store.revisions import RevisionRow

SUITE = "haneul-texts-1"
TOOLS = ("haneul", "xllamacpp", "numpy", "gguf", "tokenizers")
FOUR_BITS = re.compile(r"(Q4|IQ4|Q3|IQ3|Q2|IQ2|IQ1).*")


class Kitchen(Struct, frozen=True, kw_only=True):
    """Where and for whom models are made; `on_step` hears how far it is."""

    database: Database
    home: Path
    actor: Who
    threads: int = 0  # 0: as many as there are
    library: str = ""  # a build of libllama to measure with; "": the wheel's
    on_step: OnStep | None = None

    @property
    def blobs(self) -> Blobs:
        return Blobs(places.blobs(self.home))


class Child(Struct, frozen=True, kw_only=True):
    """What was made. `row`: what the cloud serves from now on; None: it was not measured."""

    revision: RevisionRow
    made: Made
    measures: Measures | None
    row: ModelRow | None
    warnings: tuple[str, ...] = ()


async def quantize(
    kitchen: Kitchen,
    text: str,
    file_type: str,
    *,
    name: str = "",
    importance: Path | Literal["", "measure"] = "",
    is_lossy_allowed: bool = False,
    is_measured: bool = True,
) -> Child:
    """A model in a type such as "Q4_K_M".

    `importance`: a file of an importance matrix, or "measure" for one of this model. Raises
    ModelNotFound, NotAllowed for a licence that forbids it, CommandError with the reason.
    """
    parent = await kitchen.database.call(_find, text, "gguf")
    sources = await asyncio.to_thread(parents.weights, parent, kitchen.blobs)
    matrix = await _matrix(kitchen, parent, importance)
    recipe: dict[str, Any] = {"type": file_type.upper(), "lossy_parent_allowed": is_lossy_allowed}
    if matrix is not None:
        recipe["importance_sha256"] = await asyncio.to_thread(file_sha256, matrix)
    target = _target(kitchen, parent, "quantize", recipe)
    job = Quantise(
        sources=[str(path) for path in sources],
        target=str(target),
        type=file_type,
        made_from=parent.row.digest,
        importance=str(matrix or ""),
        is_lossy_allowed=is_lossy_allowed,
        threads=kitchen.threads,
    )
    made = await _make(kitchen, job, target)
    warnings: tuple[str, ...] = ()
    if made.lossy_parent:
        recipe["lossy_parent"] = made.lossy_parent
        warnings = (
            f"The parent was rounded to {made.lossy_parent} before: what that lost stays lost.",
        )
    named = name or f"{parent.row.model}-{file_type.lower()}"
    row = await _keep(kitchen, named, target, [parent], "quantized", recipe, parent.licence)
    return await _finish(kitchen, row, parent, made, warnings, is_measured=is_measured)


async def merge(
    kitchen: Kitchen,
    text: str,
    adapter: str,
    file_type: str = "Q8_0",
    *,
    name: str = "",
    is_measured: bool = True,
) -> Child:
    """A model with a LoRA adapter in its weights. `adapter`: a file, or the name of one here.

    Raises what `quantize` raises.
    """
    parent = await kitchen.database.call(_find, text, "gguf")
    sources = await asyncio.to_thread(parents.weights, parent, kitchen.blobs)
    lora = await _adapter(kitchen, adapter, parent)
    recipe = {"type": file_type.upper(), "adapter": lora.row.id}
    target = _target(kitchen, parent, "merge", recipe)
    paths = await asyncio.to_thread(parents.weights, lora, kitchen.blobs)
    job = Merge(
        sources=[str(path) for path in sources],
        adapter=str(paths[0]),
        target=str(target),
        type=file_type,
        made_from=parent.row.digest,
        threads=kitchen.threads,
    )
    made = await _make(kitchen, job, target)
    warnings = [f"The parent was rounded to {made.lossy_parent}."] if made.lossy_parent else []
    if FOUR_BITS.match(file_type.upper()):
        warnings.append(
            f"In {file_type.upper()} an adapter may vanish: rounding can be larger than what it "
            "adds (measured here: 72 % of answers right before, 0 % after, 72 % in Q8_0). "
            "Test the child on the adapter's own task."
        )
    held = licences.inherited(*(licences.licence(each.row.licence) for each in (parent, lora)))
    licence = parent.licence if lora.licence is None else held.id
    named = name or f"{parent.row.model}-{lora.row.model}"
    row = await _keep(kitchen, named, target, [parent, lora], "merged", recipe, licence)
    return await _finish(kitchen, row, parent, made, tuple(warnings), is_measured=is_measured)


async def convert(
    kitchen: Kitchen, text: str, *, name: str = "", is_measured: bool = True
) -> Child:
    """A safetensors model as GGUF, nothing rounded; under its own name unless one is given.

    Raises what `quantize` raises.
    """
    parent = await kitchen.database.call(_find, text, "safetensors")
    blobs = kitchen.blobs
    folder = await asyncio.to_thread(blobs.lay_out, parent.manifest)
    target = _target(kitchen, parent, "convert", {})
    named = name or parent.row.model
    job = Convert(
        folder=str(folder),
        target=str(target),
        name=named,
        made_from=parent.row.id,
        scratch=str(target.parent),
    )
    made = await _make(kitchen, job, target)
    recipe = {"type": made.file_type, "cut": made.cut, "proven_tokens": made.proven_tokens}
    warnings = [f"{each} is read otherwise than by the makers' tokenizer." for each in made.unlike]
    row = await _keep(kitchen, named, target, [parent], "converted", recipe, parent.licence)
    return await _finish(kitchen, row, parent, made, tuple(warnings), is_measured=is_measured)


async def measure(kitchen: Kitchen, child_row: RevisionRow, parent_row: RevisionRow) -> Measures:
    """Measures a child against its parent and notes it. Raises CommandError with the reason.

    A parent in safetensors runs on no kernel here: of its conversion it is noted that nothing was
    changed, which the converter proves, and that the child runs.
    """
    blobs = kitchen.blobs
    one, other = (
        Parent(row=row, manifest=read(row.manifest), licence=row.licence)
        for row in (parent_row, child_row)
    )
    path = await asyncio.to_thread(parents.runnable, other, blobs)
    is_converted = one.manifest.format == "safetensors"
    against = path if is_converted else await asyncio.to_thread(parents.runnable, one, blobs)
    loss = await compare(kitchen, against, path)
    found = losses.measures(loss)
    if is_converted:
        proven = await kitchen.database.call(_proven_tokens, child_row, parent_row)
        found = losses.kept(loss, proven_tokens=proven)
    await kitchen.database.call(revisions.measured, child_row.id, parent_row.id, loss.suite, found)
    return found


def _proven_tokens(connection: Connection, row: RevisionRow, parent: RevisionRow) -> int:
    """Of how many tokens a conversion proved that they are cut alike. Raises BadRequest."""
    for edge in queries.parents(connection, row.id):
        if edge.parent == parent.id and edge.relation == "converted":
            return int(msgspec.json.decode(edge.recipe).get("proven_tokens", 0))
    raise BadRequest(
        f"{revisions.named(parent)} is safetensors, which no kernel here runs: compare with a GGUF."
    )


async def compare(kitchen: Kitchen, parent: Path, child_path: Path, *, adapter: str = "") -> Loss:
    """What one file lost against another, on the text here. Raises CommandError."""
    job = Measure(
        parent=str(parent),
        child=str(child_path),
        adapter=adapter,
        library=kitchen.library,
        threads=kitchen.threads,
    )
    said = await child.run(job, on_step=kitchen.on_step)
    assert isinstance(said, Loss)
    return said


async def _make(kitchen: Kitchen, job: Job, target: Path) -> Made:
    """Writes the target, one process at a time for each."""
    await asyncio.to_thread(lambda: target.parent.mkdir(parents=True, exist_ok=True))
    async with lock.hold(target.with_suffix(".lock"), is_kept=False):
        said = await child.run(job, on_step=kitchen.on_step)
    assert isinstance(said, Made)
    return said


def _target(kitchen: Kitchen, parent: Parent, work: str, recipe: dict[str, Any]) -> Path:
    """The same for the same work, so that it goes on where it was cut off."""
    text = msgspec.json.encode([work, recipe])
    mark = hashlib.sha256(text).hexdigest()[:16]
    return places.derived(kitchen.home) / f"{parent.row.digest}.{work}-{mark}.gguf"


async def _matrix(
    kitchen: Kitchen, parent: Parent, importance: Path | Literal["", "measure"]
) -> Path | None:
    if importance == "":
        return None
    if isinstance(importance, Path):
        return importance
    target = places.derived(kitchen.home) / f"{parent.row.digest}.importance-{SUITE}.gguf"
    if not await asyncio.to_thread(target.is_file):
        path = await asyncio.to_thread(parents.runnable, parent, kitchen.blobs)
        job = Importance(model=str(path), target=str(target), threads=kitchen.threads)
        await _make(kitchen, job, target)
    return target


async def _adapter(kitchen: Kitchen, text: str, base: Parent) -> Parent:
    """An adapter that is here, or a file, which is kept from now on."""
    path = Path(text)
    if not await asyncio.to_thread(path.is_file):
        return await kitchen.database.call(_find, text, "adapter")
    header = await asyncio.to_thread(read_header, path)
    if header.metadata.get("general.type") != "adapter":
        raise BadRequest(f"{path.name} is no adapter in GGUF.")

    def keep() -> File:
        fresh = kitchen.blobs.partial / f"adapter-{base.row.digest[:16]}-{path.stem[:64]}"
        kitchen.blobs.open()
        fresh.write_bytes(path.read_bytes())
        digest = file_sha256(fresh)
        kitchen.blobs.take(fresh, digest)
        return File(_file_name(path.stem), digest, header.file_bytes)

    file = await asyncio.to_thread(keep)
    row = await kitchen.database.call(
        _register, path.stem, file, "adapter", "a file", None, None, kitchen.actor
    )
    await kitchen.database.call(
        lambda connection: revisions.derived(
            connection,
            row,
            [base.row.id],
            relation="adapted",
            recipe={"adapter": "lora"},
            tools={},
            actor=kitchen.actor,
        )
    )
    return await kitchen.database.call(_find, revisions.named(row), "adapter")


async def _keep(
    kitchen: Kitchen,
    name: str,
    target: Path,
    of: list[Parent],
    relation: str,
    recipe: dict[str, Any],
    licence: str | None,
) -> RevisionRow:
    """Takes the finished file into the store, and notes what it is and comes from."""

    def take() -> tuple[File, Facts]:
        header = check_file(target)
        template = templates.of_header(header)
        facts = Facts(shape=shape_of(header), template_sha256=templates.sha256(template))
        digest = file_sha256(target)
        kitchen.blobs.open()
        kitchen.blobs.take(target, digest)
        return File(_file_name(name), digest, header.file_bytes), facts

    file, facts = await asyncio.to_thread(take)

    def note(connection: Connection) -> RevisionRow:
        source = f"{relation} from {revisions.named(of[0].row)}"
        row = _register(connection, name, file, "gguf", source, licence, facts, kitchen.actor)
        revisions.derived(
            connection,
            row,
            [each.row.id for each in of],
            relation=relation,
            recipe=recipe,
            tools=_tools(),
            actor=kitchen.actor,
        )
        return row

    return await kitchen.database.call(note)


async def _finish(
    kitchen: Kitchen,
    row: RevisionRow,
    parent: Parent,
    made: Made,
    warnings: tuple[str, ...],
    *,
    is_measured: bool,
) -> Child:
    if not is_measured:
        return Child(revision=row, made=made, measures=None, row=None, warnings=warnings)
    found = await measure(kitchen, row, parent.row)
    served = await kitchen.database.call(serving.serve, row, kitchen.blobs)
    return Child(revision=row, made=made, measures=found, row=served, warnings=warnings)


def _register(
    connection: Connection,
    name: str,
    file: File,
    format: Literal["gguf", "adapter"],
    source: str,
    licence: str | None,
    facts: Facts | None,
    actor: Who,
) -> RevisionRow:
    return revisions.register(
        connection,
        name,
        manifest(format, [file]),
        digest=file.sha256,
        source=source,
        licence=licence,
        facts=facts,
        actor=actor,
    )


def _find(connection: Connection, text: str, wanted: Any) -> Parent:
    return parents.find(connection, text, wanted=wanted)


def _file_name(name: str) -> str:
    plain = re.sub(r"[^\w.+=@-]+", "-", name).strip("-.") or "model"
    return f"{plain[:200]}.gguf"


def _tools() -> dict[str, str]:
    found = {}
    for name in TOOLS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # of an extra that is not installed
    return found
