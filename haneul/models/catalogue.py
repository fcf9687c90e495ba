"""Models by name: what a plan must know of each, and where its file comes from."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from importlib import resources
from typing import Any, Literal

import msgspec
from msgspec import Struct

from haneul.base.errors import ModelNotFound
from haneul.chips.estimate import Estimate, around, exactly
from haneul.chips.shape import Shape
from haneul.models.offer import Wanted
from haneul.models.reference import Reference, parse

Openness = Literal["open-data", "open-weights", "restricted-weights"]

# Bits per weight of whole files. Source: llama.cpp, tools/quantize/README.md, Llama-3.1-8B.
# Small models keep a larger share in finer types, so a file may be a tenth larger.
BITS = {"Q4_K_M": 4.8944, "Q8_0": 8.5008, "F16": 16.0005}
BITS_FACTOR = 1.1
BITS_SOURCE = "parameters × {bits} bits ({quantisation}; llama.cpp, tools/quantize/README.md)"


class _Measures(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The shape as the file states it: Shape without what follows from the size."""

    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    key_size: int
    value_size: int
    feed_forward: int
    vocabulary: int
    context_tokens: int
    parameters: int
    active_parameters: int
    is_tied: bool
    experts: int = 0
    experts_used: int = 0


class _Source(Struct, frozen=True, forbid_unknown_fields=True):
    parts: list[str]
    sha256: str = ""
    bytes: int | None = None


class _Stated(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One entry as the file states it."""

    name: str
    family: str
    upstream: str
    licence: str
    openness: Openness
    evidence: str
    quantisation: str
    shape: _Measures
    aliases: list[str] = []
    licence_note: str = ""
    note: str = ""
    bytes: int | None = None
    bytes_estimate: int | None = None
    bytes_factor: float = BITS_FACTOR
    bytes_evidence: str = ""
    weight_bytes: int | None = None  # of the tensors, and of those that one token reads
    active_bytes: int | None = None
    sources: list[_Source] = []


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    model: list[_Stated]


class Entry(Struct, frozen=True, kw_only=True):
    """A model of the catalogue."""

    name: str
    aliases: tuple[str, ...]
    family: str
    upstream: str  # the makers' own repository of the weights
    licence: str  # SPDX, or the licence's name
    licence_note: str
    note: str
    openness: Openness
    evidence: str  # where the figures come from
    shape: Shape
    size: Estimate  # of the file in bytes; exact where it is known
    sources: tuple[Wanted, ...]  # the preferred one first; none: to be planned for only


class Catalogue:
    """Entries by name and alias, upper and lower case alike."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)
        self._by_name: dict[str, Entry] = {}
        for entry in entries:
            for name in (entry.name, *entry.aliases):
                if self._by_name.setdefault(name, entry) is not entry:
                    raise ValueError(f"the catalogue has two models called {name}")

    def get(self, name: str) -> Entry | None:
        """The entry of that name or alias; None when there is none."""
        return self._by_name.get(_plain(name))

    def find(self, name: str) -> Entry:
        """The entry of that name or alias. Raises ModelNotFound with names that look alike."""
        entry = self.get(name)
        if entry is not None:
            return entry
        alike = difflib.get_close_matches(_plain(name), self._by_name, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(alike)}?" if alike else ""
        raise ModelNotFound(f"The catalogue has no model called '{name[:100]}'.{hint}")

    def resolve(self, text: str) -> Entry | Reference:
        """What the text means: an entry, or a reference to elsewhere.

        Raises BadRequest for nonsense, ModelNotFound for a name that is not in the catalogue.
        """
        reference = parse(text)
        return self.find(reference.name) if reference.kind == "catalogue" else reference


def find(name: str) -> Entry | None:
    """The entry of that name or alias in haneul's own catalogue; None when there is none."""
    return load().get(name)


def load() -> Catalogue:
    """The catalogue that comes with haneul; reads a file of this package."""
    text = resources.files("haneul.models").joinpath("catalogue.toml").read_text("utf-8")
    return read(tomllib.loads(text))


def read(document: dict[str, Any]) -> Catalogue:
    """A catalogue from its document. Raises msgspec.ValidationError, ValueError, BadRequest."""
    stated = msgspec.convert(document, _File).model
    return Catalogue([_entry(model) for model in stated])


def _plain(name: str) -> str:
    return name.strip().lower().removesuffix(":latest")


def _entry(stated: _Stated) -> Entry:
    size = _size(stated)
    return Entry(
        name=stated.name,
        aliases=tuple(stated.aliases),
        family=stated.family,
        upstream=stated.upstream,
        licence=stated.licence,
        licence_note=stated.licence_note,
        note=stated.note,
        openness=stated.openness,
        evidence=stated.evidence,
        shape=_shape(stated, stated.weight_bytes or round(size.mid)),
        size=size,
        sources=tuple(
            Wanted(
                parts=tuple(parse(part) for part in source.parts),
                sha256=source.sha256,
                bytes=source.bytes,
            )
            for source in stated.sources
        ),
    )


def _size(stated: _Stated) -> Estimate:
    """Bytes of the file: as measured, as stated with its factor, or from the bits per weight."""
    if stated.bytes is not None:
        return exactly(stated.bytes, "B", source=stated.evidence)
    if stated.bytes_estimate is not None:
        return around(
            stated.bytes_estimate,
            "B",
            factor=stated.bytes_factor,
            source=stated.bytes_evidence,
        )
    bits = BITS[stated.quantisation]
    source = BITS_SOURCE.format(bits=bits, quantisation=stated.quantisation)
    return around(stated.shape.parameters * bits / 8, "B", factor=BITS_FACTOR, source=source)


def _shape(stated: _Stated, weight_bytes: int) -> Shape:
    """The shape; bytes per token are the share of the weights that decoding one token reads."""
    measures = msgspec.structs.asdict(stated.shape)
    table = 0 if measures.pop("is_tied") else stated.shape.vocabulary * stated.shape.hidden
    share = (stated.shape.active_parameters - table) / stated.shape.parameters
    return Shape(
        **measures,
        weight_bytes=weight_bytes,
        active_bytes=stated.active_bytes or round(weight_bytes * share),
        quantisation=stated.quantisation,
    )
