"""Known accelerators: figures from catalogue.toml, each with its source, looked up by name."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from haneul.chips.chip import Chip, Kind
from haneul.chips.estimate import Estimate, around, scale

Positive = Annotated[float, Meta(gt=0)]
Spread = Annotated[float, Meta(ge=1, le=10)]


class Rent(Struct, frozen=True, forbid_unknown_fields=True):
    """What an hour of one chip was seen to cost, USD as decimal text."""

    low: str
    mid: str
    high: str
    source: str


class Known(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One accelerator; what nobody published is None."""

    name: str
    kind: Kind
    vendor: str
    pattern: str
    source: str
    memory_gb: Positive | None = None
    bandwidth_tb_s: Positive | None = None
    compute_tflop_s: Positive | None = None
    power_w: Positive | None = None
    bandwidth_spread: Spread = 1.05  # how far published figures of this chip lie apart
    compute_spread: Spread = 1.05
    rent: Rent | None = None


class Catalogue(Struct, frozen=True, forbid_unknown_fields=True):
    """Every known accelerator, and the day the figures were read."""

    dated: str
    chip: list[Known]


def load_catalogue() -> Catalogue:
    """The catalogue that ships with haneul."""
    text = files("haneul.chips").joinpath("catalogue.toml").read_bytes()
    return msgspec.toml.decode(text, type=Catalogue)


def look_up(catalogue: Catalogue, name: str) -> Known | None:
    """The entry for a name as a driver reports it, or None: near misses are not guessed."""
    plain = " ".join(re.findall(r"[a-z0-9]+", name.lower()))
    matching = (known for known in catalogue.chip if re.fullmatch(known.pattern, plain))
    return next(matching, None)


def complete(catalogue: Catalogue, chip: Chip) -> Chip:
    """The chip with the figures its own driver does not tell; what is known already stays."""
    known = look_up(catalogue, chip.whole or chip.name)
    if known is None:
        return chip
    published = _part(as_chip(catalogue, known), chip) if chip.whole else as_chip(catalogue, known)
    missing = {
        name: getattr(published, name)
        for name in ("memory_bytes", "bandwidth", "compute", "power_w")
        if getattr(chip, name) is None and getattr(published, name) is not None
    }
    sources = {name: published.sources[name] for name in missing}
    return replace(chip, **missing, sources=chip.sources | sources)


def _part(card: Chip, chip: Chip) -> Chip:
    """The card's speeds as far as the part has them; its memory and power are not the part's."""
    share = f"{chip.compute_share:.0%} of the units, {chip.bandwidth_share:.0%} of the channels: "
    kept = ("bandwidth", "compute")
    return replace(
        card,
        memory_bytes=None,
        power_w=None,
        bandwidth=scale(card.bandwidth, chip.bandwidth_share) if card.bandwidth else None,
        compute=scale(card.compute, chip.compute_share) if card.compute else None,
        sources={name: share + text for name, text in card.sources.items() if name in kept},
    )


def as_chip(catalogue: Catalogue, known: Known) -> Chip:
    """A catalogue entry as a chip that is not installed here: its free memory is unknown."""
    source = f"{known.source} (catalogue of {catalogue.dated})"
    figures = {
        "memory_bytes": None if known.memory_gb is None else round(known.memory_gb * 1e9),
        "bandwidth": _figure(known.bandwidth_tb_s, "B/s", known.bandwidth_spread, source),
        "compute": _figure(known.compute_tflop_s, "FLOP/s", known.compute_spread, source),
        "power_w": known.power_w,
    }
    slug = "-".join(re.findall(r"[a-z0-9]+", known.name.lower()))
    return Chip(
        id=f"{known.kind}-{known.vendor.lower()}-{slug}",
        name=known.name,
        kind=known.kind,
        vendor=known.vendor,
        **figures,  # type: ignore[arg-type]
        sources={name: source for name, value in figures.items() if value is not None},
    )


def _figure(tera: float | None, unit: str, spread: float, source: str) -> Estimate | None:
    return None if tera is None else around(tera * 1e12, unit, factor=spread, source=source)
