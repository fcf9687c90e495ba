"""What a pull would bring, before a byte of weights: files, sizes, licence, shape, template."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import aclosing

from haneul.base.errors import BadRequest, BrokenFile, FetchFailed, HaneulError
from haneul.chips.estimate import exactly
from haneul.models.catalogue import Entry
from haneul.models.licences import licence
from haneul.models.previewed import Preview, Variant
from haneul.models.pulling.fetch import Fetcher
from haneul.models.pulling.race import offers
from haneul.models.reference import Reference, show
from haneul.models.sources import choice
from haneul.models.sources.ask import Sources
from haneul.models.sources.header_first import Described, describe
from haneul.models.sources.offer import Listed, Offer, Wanted


async def preview(
    target: Entry | Reference, *, fetcher: Fetcher, environ: Mapping[str, str] = os.environ
) -> Preview:
    """Asks the sources for the files and reads their first bytes.

    What the catalogue says of an entry stands where no source answers or a header cannot be read
    from afar. Raises FetchFailed with every source's reason, BadRequest, BrokenFile.
    """
    if isinstance(target, Entry):
        return await _of_entry(target, fetcher, environ)
    if target.kind == "catalogue":
        raise BadRequest(f"'{target.name}' is a name to be looked up in the catalogue.")
    failures: list[HaneulError] = []
    offer = await _first((Wanted(parts=(target,)),), fetcher, environ, failures)
    if offer is None:
        raise _failed(show(target), failures)
    described = await describe(offer, fetcher)
    return _made(show(target), offer, described, _variants(target, offer))


async def before_pull(
    target: Entry | Reference, *, fetcher: Fetcher, environ: Mapping[str, str] = os.environ
) -> Preview | None:
    """What can be judged before a pull; what the catalogue knows is not asked for.

    None for a file or a package, which is here or small, and where no source answers: the pull
    itself says then what is wrong.
    """
    if isinstance(target, Entry):
        return of_catalogue(target)
    if target.kind in ("file", "wheel"):
        return None
    try:
        return await preview(target, fetcher=fetcher, environ=environ)
    except HaneulError:
        return None


async def _of_entry(entry: Entry, fetcher: Fetcher, environ: Mapping[str, str]) -> Preview:
    known = of_catalogue(entry)
    failures: list[HaneulError] = []
    offer = None
    if entry.sources:
        offer = await _first(entry.sources, fetcher, environ, failures, name=entry.name)
    if offer is None:
        return known
    try:
        described = await describe(offer, fetcher)
    except (FetchFailed, BrokenFile):
        described = Described(shape=None)
    found = _made(entry.name, offer, described, ())
    return Preview(
        name=entry.name,
        source=found.source,
        revision=found.revision,
        format=found.format,
        files=found.files,
        size=found.size or known.size,
        licence=known.licence,
        shape=found.shape or known.shape,
        template=found.template,
        left_out=found.left_out,
        variants=(),
        read_bytes=found.read_bytes,
        reason="",
    )


def of_catalogue(entry: Entry) -> Preview:
    """What the catalogue alone says of a model; asks nobody."""
    return Preview(
        name=entry.name,
        source="",
        revision="",
        format="gguf",
        files=(),
        size=entry.size,
        licence=entry.terms,
        shape=entry.shape,
        template="",
        left_out=(),
        variants=(),
        read_bytes=0,
        reason="",
    )


async def _first(
    ways: tuple[Wanted, ...],
    fetcher: Fetcher,
    environ: Mapping[str, str],
    failures: list[HaneulError],
    *,
    name: str = "",
) -> Offer | None:
    """The offer that a pull would begin with."""
    asks = await Sources(fetcher, environ).asks(ways, name=name)
    async with aclosing(offers(asks, failures)) as found:
        async for offer in found:
            return offer
    return None


def _made(name: str, offer: Offer, described: Described, variants: tuple[Variant, ...]) -> Preview:
    size, said = offer.bytes, f"{offer.source}'s listing"
    if size is None:
        size, said = described.file_bytes, "the file's header"
    return Preview(
        name=name,
        source=offer.source,
        revision=offer.revision,
        format=offer.format,
        files=tuple(Listed(file.path, file.bytes, file.sha256) for file in offer.files),
        size=None if size is None else exactly(size, "B", source=said),
        licence=licence(offer.licence),
        shape=described.shape,
        template=described.template,
        left_out=offer.left_out,
        variants=variants,
        read_bytes=described.read_bytes,
        reason=described.reason,
    )


def _variants(reference: Reference, offer: Offer) -> tuple[Variant, ...]:
    """The repository's other GGUF files, each whole, with what to type for them."""
    sizes = {file.path: file.bytes for file in offer.others if file.path.lower().endswith(".gguf")}
    found = []
    for path in sizes:
        parts = choice.parts_of(path)
        if parts[0] != path or not choice.is_model(path):
            continue
        known = [size for size in (sizes.get(part) for part in parts) if size is not None]
        if len(known) == len(parts):
            tag = choice.quantisation(path)
            there = Reference(
                kind=reference.kind, name=reference.name, revision=reference.revision, file=path
            )
            found.append(Variant(show(there), tag, sum(known)))
    return tuple(sorted(found, key=lambda variant: -variant.bytes))


def _failed(name: str, failures: list[HaneulError]) -> HaneulError:
    if len(failures) == 1:
        return failures[0]
    reasons = " ".join(dict.fromkeys(failure.message for failure in failures))
    return FetchFailed(f"{name} could not be asked for. {reasons}")
