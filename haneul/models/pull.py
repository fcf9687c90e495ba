"""Brings a model onto this machine: asks all its sources at once, takes the first that answers,
goes on where a transfer was cut, and lets no byte into the store that was not hashed and checked.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

from msgspec import Struct

from haneul.base.errors import BadRequest, BrokenFile, FetchFailed, HaneulError
from haneul.base.gguf import check_file
from haneul.base.log import logger
from haneul.models.adopt import adopt
from haneul.models.assemble import assemble, forget
from haneul.models.blobs import Blobs, Kept
from haneul.models.catalogue import Entry
from haneul.models.fetch import Fetcher
from haneul.models.lock import hold
from haneul.models.offer import Offer, Wanted
from haneul.models.progress import Meter, OnProgress
from haneul.models.race import offers
from haneul.models.reference import Reference, show
from haneul.models.sources import Sources
from haneul.models.transfer import Arrived, WrongBytes, discard, to_end

log = logger("pull")


class Pulled(Struct, frozen=True, kw_only=True):
    """A model file that is here: whole, hashed, checked."""

    name: str  # of the catalogue, or the reference as show() writes it
    path: Path
    sha256: str
    bytes: int
    source: str  # such as "huggingface"; "file" for one of this machine; "store": it was here
    revision: str
    licence: str  # "": unknown


async def pull(
    target: Entry | Reference,
    *,
    blobs: Blobs,
    fetcher: Fetcher,
    environ: Mapping[str, str] = os.environ,
    on_progress: OnProgress | None = None,
) -> Pulled:
    """The model of a catalogue entry or a reference, fetched unless it is here already.

    Raises FetchFailed with every source's reason, BadRequest for a file that a repository does not
    have, BrokenFile for one no engine may be given, CommandError for a disk that is full.
    """
    meter = Meter(on_progress)
    await asyncio.to_thread(blobs.open)
    if isinstance(target, Reference) and target.kind == "file":
        meter.stage("checking", "file")
        name = show(target)
        kept = await to_end(adopt, target.name, blobs)
    else:
        order = _Order(target)
        name = order.name
        present = await asyncio.to_thread(_present, order, blobs)
        kept = present or await _fetch(order, blobs, fetcher, environ, meter)
    meter.stage("ready", kept.source)
    return Pulled(
        name=name,
        path=blobs.path(kept.sha256),
        sha256=kept.sha256,
        bytes=kept.bytes,
        source=kept.source,
        revision=kept.revision,
        licence=kept.licence,
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
        if not self.ways:
            raise BadRequest(
                f"{self.name} can be planned for but not pulled: no source of one file is known.",
                param="model",
            )


async def _fetch(
    order: _Order, blobs: Blobs, fetcher: Fetcher, environ: Mapping[str, str], meter: Meter
) -> Kept:
    """Tries one offer after the other until one gives the right bytes."""
    meter.stage("asking")
    sources = Sources(fetcher, environ)
    failures: list[HaneulError] = []
    tried: list[Offer] = []
    asks = await sources.asks(order.ways)
    async with aclosing(offers(asks, failures)) as found:
        async for offer in found:
            tried.append(offer)
            try:
                kept = await _take(order, offer, blobs, fetcher, meter)
            except (FetchFailed, BrokenFile) as failure:
                log.warning("source_failed", model=order.name, source=offer.source)
                failures.append(failure)
                continue
            await asyncio.to_thread(_tidy, tried, blobs)
            return kept
    if len(failures) == 1:
        raise failures[0]
    reasons = " ".join(dict.fromkeys(failure.message for failure in failures))
    raise FetchFailed(f"{order.name} could not be pulled. {reasons}")


async def _take(order: _Order, offer: Offer, blobs: Blobs, fetcher: Fetcher, meter: Meter) -> Kept:
    """Fetches one offer under its lock, unless somebody else has done so meanwhile."""
    lock = blobs.locks / f"{_lock_name(offer)}.lock"
    async with hold(lock, on_wait=lambda: meter.stage("waiting", offer.source)):
        present = await asyncio.to_thread(_present, order, blobs)
        if present is None and offer.sha256 and blobs.size(offer.sha256) is not None:
            present = _kept(order, offer, offer.sha256, blobs.size(offer.sha256) or 0)
            await asyncio.to_thread(blobs.remember, present)
        if present is not None:
            return present
        log.info("pull_started", model=order.name, source=offer.source, bytes=offer.bytes)
        arrived = await assemble(fetcher, offer, blobs.partial, meter=meter)
        meter.stage("checking", offer.source)
        return await to_end(_accept, order, offer, arrived, blobs)


def _accept(order: _Order, offer: Offer, arrived: Arrived, blobs: Blobs) -> Kept:
    """Lets the file into the store if it is what was promised and what an engine may be given."""
    try:
        if offer.bytes is not None and arrived.bytes != offer.bytes:
            raise WrongBytes(f"{offer.source} gave {arrived.bytes} bytes, not {offer.bytes}.")
        if offer.sha256 and arrived.sha256 != offer.sha256:
            raise WrongBytes(f"{offer.source} gave bytes of another SHA-256 than was promised.")
        check_file(arrived.path)
    except (WrongBytes, BrokenFile):
        _drop(offer, blobs)
        raise
    blobs.take(arrived.path, arrived.sha256)
    _drop(offer, blobs)
    kept = _kept(order, offer, arrived.sha256, arrived.bytes)
    blobs.remember(kept)
    log.info("pulled", model=order.name, source=offer.source, sha256=arrived.sha256)
    return kept


def _tidy(tried: Sequence[Offer], blobs: Blobs) -> None:
    """Removes what the sources that failed left half-done: the model is here now."""
    for offer in tried:
        _drop(offer, blobs)


def _drop(offer: Offer, blobs: Blobs) -> None:
    forget(offer, blobs.partial)
    for part in offer.parts:
        if part.piece is not None:
            discard(part.piece, blobs.partial)


def _present(order: _Order, blobs: Blobs) -> Kept | None:
    """The model if it is here: by its name, or by a hash that is pinned."""
    known = blobs.recall(order.name)
    pinned = {way.sha256 for way in order.ways if way.sha256}
    is_all_pinned = all(way.sha256 for way in order.ways)
    if known is not None and (known.sha256 in pinned or not is_all_pinned):
        return known
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


def _kept(order: _Order, offer: Offer, sha256: str, size: int) -> Kept:
    return Kept(
        name=order.name,
        sha256=sha256,
        bytes=size,
        source=offer.source,
        revision=offer.revision,
        licence=order.licence or offer.licence,
    )


def _lock_name(offer: Offer) -> str:
    if offer.sha256:
        return offer.sha256
    places = [part.piece.url if part.piece else str(part.path) for part in offer.parts]
    return hashlib.sha256("\n".join(places).encode()).hexdigest()
