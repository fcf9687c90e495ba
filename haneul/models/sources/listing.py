"""What a hub, a cache or a folder has of a repository, and the offer that this makes.

Every kind of source comes down to a listing: the files with their sizes and hashes, and for each
where its bytes are. What is chosen of it and how it is cleaned is the same for all of them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from haneul.base.errors import FetchFailed
from haneul.models.pulling.fetch import Fetcher, WrongBytes
from haneul.models.reference import Reference
from haneul.models.sources.choice import Choice, choose
from haneul.models.sources.code_hooks import without_code
from haneul.models.sources.offer import LeftOut, Listed, Offer, Offered, Part

# Of these a loader may take the name of a class to import from the repository.
CONFIGURATIONS = ("config.json", "_config.json")
CONFIGURATION_MAX_BYTES = 16 << 20
CONFIGURATIONS_MAX = 64  # a model has ten at most


class Listing(Struct, frozen=True, kw_only=True):
    """A repository at one commit. parts says for every file where its bytes are."""

    source: str
    revision: str  # as the source calls it; "" for none
    files: tuple[Listed, ...]
    parts: Mapping[str, Part]
    licence: str = ""


async def offer_of(listing: Listing, reference: Reference, fetcher: Fetcher) -> Offer:
    """What of the listing the reference means; small configurations are read and cleaned already.

    Raises BadRequest naming what there is, FetchFailed.
    """
    choice = choose(listing.files, reference)
    offered = {
        file.path: Offered(
            path=file.path,
            parts=(listing.parts[file.path],),
            sha256=file.sha256,
            bytes=file.bytes,
        )
        for file in choice.files
    }
    paths = [path for path in offered if path.endswith(CONFIGURATIONS)]
    if len(paths) > CONFIGURATIONS_MAX:
        raise FetchFailed(f"{reference.name} has {len(paths)} configurations, which is no model.")
    notes = []
    cleaned = await asyncio.gather(*(_cleaned(offered[path], fetcher) for path in paths))
    for path, (file, dropped) in zip(paths, cleaned, strict=True):
        offered[path] = file
        notes += [LeftOut(f"{path}: {name}", "it would load code") for name in dropped]
    return Offer(
        source=listing.source,
        revision=listing.revision,
        files=tuple(offered.values()),
        format=choice.format,
        licence=listing.licence,
        left_out=(*choice.left_out, *notes),
        others=_others(listing, choice),
    )


def _others(listing: Listing, choice: Choice) -> tuple[Listed, ...]:
    chosen = {file.path for file in choice.files}
    return tuple(
        file
        for file in listing.files
        if file.path not in chosen and file.path.lower().endswith((".gguf", ".safetensors"))
    )


async def _cleaned(file: Offered, fetcher: Fetcher) -> tuple[Offered, list[str]]:
    """A configuration with its bytes, those that a hub promised, and what was dropped of it."""
    raw = await _read(file, fetcher)
    if file.sha256 and hashlib.sha256(raw).hexdigest() != file.sha256:
        raise WrongBytes(f"{file.path} does not have the promised SHA-256.")
    clean, dropped = without_code(raw, file.path)
    done = Offered(
        path=file.path,
        parts=(Part(content=clean, bytes=0),),
        sha256=hashlib.sha256(clean).hexdigest(),
        bytes=len(clean),
    )
    return done, dropped


async def _read(file: Offered, fetcher: Fetcher) -> bytes:
    part = file.parts[0]
    if part.content is not None:
        return part.content
    if part.path is not None:
        return await asyncio.to_thread(_head, part.path)
    assert part.piece is not None
    text = await fetcher.get_text(
        part.piece.url,
        credentials=part.piece.credentials,
        limit_bytes=CONFIGURATION_MAX_BYTES,
    )
    return text.body


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as opened:
            raw = opened.read(CONFIGURATION_MAX_BYTES + 1)
    except OSError as cause:
        raise FetchFailed(f"{path.name} cannot be read: {cause.strerror}.") from cause
    if len(raw) > CONFIGURATION_MAX_BYTES:
        raise FetchFailed(f"{path.name} has more than {CONFIGURATION_MAX_BYTES} bytes.")
    return raw
