"""Brings a model onto this machine: asks all its sources at once, takes the first that answers,
goes on where a transfer was cut, and lets no byte into the store that was not hashed and checked.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from haneul.base.errors import BadRequest, BrokenFile, FetchFailed, HaneulError
from haneul.base.log import logger
from haneul.models.catalogue import Entry
from haneul.models.folder.adopt import adopt
from haneul.models.folder.blobs import Blobs, Kept
from haneul.models.folder.pins import Pins
from haneul.models.manifest import PATH, File, Manifest, manifest
from haneul.models.pulling.assemble import forget
from haneul.models.pulling.bring import Bringing
from haneul.models.pulling.fetch import Fetcher
from haneul.models.pulling.progress import Meter, OnProgress
from haneul.models.pulling.supply import Supply
from haneul.models.pulling.threads import to_end
from haneul.models.reference import Reference, show
from haneul.models.sources.ask import Sources
from haneul.models.sources.offer import Offer, Wanted

log = logger("pull")


class Pulled(Struct, frozen=True, kw_only=True):
    """A model that is here: whole, hashed, checked."""

    name: str  # of the catalogue, or the reference as show() writes it
    path: Path  # its only file, or the first of its weights, the others beside it
    sha256: str  # of the only file; of several the manifest's own name
    bytes: int  # of all files together
    source: str  # such as "huggingface"; "file" for one of this machine; "store": it was here
    revision: str
    licence: str  # "": unknown
    manifest: Manifest
    left_out: tuple[str, ...] = ()  # of the repository, and why


async def pull(
    target: Entry | Reference,
    *,
    blobs: Blobs,
    fetcher: Fetcher,
    environ: Mapping[str, str] = os.environ,
    on_progress: OnProgress | None = None,
    is_update: bool = False,
) -> Pulled:
    """The model of a catalogue entry or a reference, fetched unless it is here already.

    An update asks the sources also for what is here under that name, unless its hash is pinned.
    Raises FetchFailed with every source's reason, BadRequest for a file that a repository does not
    have, BrokenFile for one no engine may be given, CommandError for a disk that is full.
    """
    meter = Meter(on_progress)
    await asyncio.to_thread(blobs.open)
    if isinstance(target, Reference) and target.kind == "file":
        meter.stage("checking", "file")
        kept = await to_end(adopt, target.name, blobs)
        made = _manifest(kept, Path(target.name).name)
        return await _pulled(show(target), kept, made, blobs, meter)
    order = _Order(target)
    async with Pins(blobs.locks) as pins:
        is_kept = order.is_pinned or not (is_update or order.is_folder)
        present = await to_end(_present, order, blobs, pins) if is_kept else None
        kept = present or await _fetch(order, blobs, fetcher, pins, environ=environ, meter=meter)
        made = _manifest(kept, order.file)
        return await _pulled(order.name, kept, made, blobs, meter)


async def _pulled(name: str, kept: Kept, made: Manifest, blobs: Blobs, meter: Meter) -> Pulled:
    path = blobs.path(made.files[0].sha256)
    if len(made.files) > 1:
        folder = await to_end(blobs.lay_out, made)
        path = folder / made.weights[0].path
    meter.stage("ready", kept.source)
    return Pulled(
        name=name,
        path=path,
        sha256=kept.sha256,
        bytes=kept.bytes,
        source=kept.source,
        revision=kept.revision,
        licence=kept.licence,
        manifest=made,
        left_out=kept.left_out,
    )


class _Order:
    """What is to be pulled: a name, its licence if known, and the ways to it."""

    def __init__(self, target: Entry | Reference) -> None:
        if isinstance(target, Entry):
            self.name, self.licence = target.name, target.licence
            self.ways: Sequence[Wanted] = target.sources
        elif target.kind == "catalogue":
            raise BadRequest(f"'{target.name}' is a name to be looked up in the catalogue.")
        else:
            self.name, self.licence = show(target), ""
            self.ways = (Wanted(parts=(target,)),)
        self.catalogued = self.name if isinstance(target, Entry) else ""
        self.is_folder = isinstance(target, Reference) and target.kind == "folder"
        self.is_pinned = all(way.sha256 for way in self.ways)
        if not self.ways:
            raise BadRequest(
                f"{self.name} can be planned for but not pulled: no source of one file is known.",
                param="model",
            )

    @property
    def file(self) -> str:
        """What a file is called whose name nobody told."""
        first = self.ways[0].parts[0]
        return (first.file or first.name).rpartition("/")[2]


async def _fetch(
    order: _Order,
    blobs: Blobs,
    fetcher: Fetcher,
    pins: Pins,
    *,
    environ: Mapping[str, str],
    meter: Meter,
) -> Kept:
    """Tries one offer after the other until one gives the right bytes."""
    meter.stage("asking")
    failures: list[HaneulError] = []
    tried: list[Offer] = []
    asks = await Sources(fetcher, environ).asks(order.ways, name=order.catalogued)
    async with Supply(asks, failures) as supply:
        async for offer in supply:
            tried.append(offer)
            log.info("pull_started", model=order.name, source=offer.source, bytes=offer.bytes)
            bringing = Bringing(
                offer, blobs=blobs, fetcher=fetcher, supply=supply, pins=pins, meter=meter
            )
            try:
                made = await bringing.bring()
            except (FetchFailed, BrokenFile) as failure:
                log.warning("source_failed", model=order.name, source=offer.source)
                failures.append(failure)
                supply.leave_out(offer)
                continue
            kept = _kept(order, offer, made, bringing.source)
            await to_end(_conclude, kept, tried, blobs)
            return kept
    if len(failures) == 1:
        raise failures[0]
    reasons = " ".join(dict.fromkeys(failure.message for failure in failures))
    raise FetchFailed(f"{order.name} could not be pulled. {reasons}")


def _conclude(kept: Kept, tried: Sequence[Offer], blobs: Blobs) -> None:
    """Notes what was pulled, and removes what the sources that failed left half-done."""
    blobs.remember(kept)
    log.info("pulled", model=kept.name, source=kept.source, sha256=kept.sha256)
    for offer in tried:
        for file in offer.files:
            forget(file, blobs.partial)


def _present(order: _Order, blobs: Blobs, pins: Pins) -> Kept | None:
    """The model if it is here and stays: by its name, or by a hash that is pinned."""
    pinned = {way.sha256 for way in order.ways if way.sha256}
    known = blobs.recall(order.name)
    pins.add([*pinned, *(() if known is None else known.digests)])
    known = blobs.recall(order.name)  # what was pinned too late is gone by now
    is_all_pinned = all(way.sha256 for way in order.ways)
    if known is None or not (known.sha256 in pinned or not is_all_pinned):
        known = _by_hash(order, blobs)
    if known is not None:
        blobs.remember(known)
    return known


def _by_hash(order: _Order, blobs: Blobs) -> Kept | None:
    for way in order.ways:
        size = blobs.size(way.sha256) if way.sha256 else None
        if size is not None and size == (way.bytes or size):
            return Kept(
                name=order.name,
                sha256=way.sha256,
                bytes=size,
                source="store",
                revision="",
                licence=order.licence,
            )
    return None


def _kept(order: _Order, offer: Offer, made: Manifest, source: str) -> Kept:
    return Kept(
        name=order.name,
        sha256=made.revision if len(made.files) > 1 else made.files[0].sha256,
        bytes=made.bytes,
        source=source,
        revision=offer.revision,
        licence=order.licence or offer.licence,
        format=made.format,
        files=made.files,
        left_out=tuple(f"{entry.path}: {entry.reason}" for entry in offer.left_out),
    )


def _manifest(kept: Kept, name: str) -> Manifest:
    """The files, also of what was remembered before the names of single files were."""
    path = name if PATH.fullmatch(name) and name.strip(". ") else "model.gguf"
    return manifest(kept.format, kept.files or (File(path, kept.sha256, kept.bytes),))
