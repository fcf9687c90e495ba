"""The catalogue's files: a family each, what its models have in common first, then each model."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from haneul.chips.estimate import Estimate, around, exactly
from haneul.chips.shape import Layers, Shape
from haneul.models.families.entry import BITS, Entry, Openness, Service, Task, Thinking, by_bits
from haneul.models.licences import licence
from haneul.models.reference import parse
from haneul.models.sources.offer import Wanted


class Measures(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
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
    memory: tuple[Layers, ...] = ()


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """One way to a file, as the file states it."""

    parts: list[str]
    sha256: str = ""
    bytes: int | None = None


class Stated(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One entry as the file states it, with what its family has in common."""

    name: str
    family: str
    upstream: str
    licence: str
    openness: Openness
    evidence: str
    quantisation: str
    shape: Measures
    maker: str = "unknown"
    aliases: list[str] = []
    modelscope: str = ""
    gguf: str = ""
    base: str = ""
    licence_note: str = ""
    note: str = ""
    tasks: tuple[Task, ...] = ("chat",)
    languages: list[str] = []
    languages_told: str = ""
    thinking: Thinking = "unknown"
    thinking_form: str = ""
    tools: str = "unknown"
    quantisations: list[str] = []
    facts: str = ""
    bytes: int | None = None
    bytes_estimate: int | None = None
    bytes_factor: float = 1.1
    bytes_evidence: str = ""
    weight_bytes: int | None = None  # of the tensors, and of those that one token reads
    active_bytes: int | None = None
    sources: list[Source] = []


class StatedService(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One service as the file states it."""

    name: str
    family: str
    maker: str
    task: Task
    weights: str
    licence: str
    ask: str
    evidence: str
    upstream: str = ""
    note: str = ""


def read_entries(document: dict[str, Any]) -> list[Entry]:
    """The models of one file. Raises msgspec.ValidationError, BadRequest."""
    common, dated = document.get("common", {}), str(document.get("dated", ""))
    stated = [{**common, **model} for model in document.get("model", [])]
    return [_entry(each, dated) for each in msgspec.convert(stated, list[Stated])]


def read_services(document: dict[str, Any]) -> list[Service]:
    """The services of one file. Raises msgspec.ValidationError."""
    stated = msgspec.convert(document.get("service", []), list[StatedService])
    dated = str(document.get("dated", ""))
    rows = [
        {**msgspec.structs.asdict(each), "terms": licence(each.licence), "dated": dated}
        for each in stated
    ]
    return msgspec.convert(rows, list[Service])


def _entry(stated: Stated, dated: str) -> Entry:
    size = _size(stated)
    return Entry(
        name=stated.name,
        aliases=tuple(stated.aliases),
        family=stated.family,
        maker=stated.maker,
        upstream=stated.upstream,
        modelscope=stated.modelscope,
        gguf=stated.gguf,
        base=stated.base,
        licence=stated.licence,
        terms=licence(stated.licence),
        licence_note=stated.licence_note,
        note=stated.note,
        openness=stated.openness,
        tasks=stated.tasks,
        languages=tuple(stated.languages),
        languages_told=stated.languages_told,
        thinking=stated.thinking,
        thinking_form=stated.thinking_form,
        tools=stated.tools,
        quantisations=tuple(stated.quantisations),
        evidence=stated.evidence,
        facts=stated.facts,
        dated=dated,
        shape=_shape(stated, stated.weight_bytes or round(size.mid)),
        size=size,
        sources=tuple(_wanted(source) for source in stated.sources),
    )


def _wanted(source: Source) -> Wanted:
    parts = tuple(parse(part) for part in source.parts)
    return Wanted(parts=parts, sha256=source.sha256, bytes=source.bytes)


def _size(stated: Stated) -> Estimate:
    """Bytes of the file: as measured, as stated with its factor, or from the bits per weight."""
    if stated.bytes is not None:
        return exactly(stated.bytes, "B", source=stated.evidence)
    if stated.bytes_estimate is not None:
        return around(
            stated.bytes_estimate, "B", factor=stated.bytes_factor, source=stated.bytes_evidence
        )
    kind = stated.quantisation
    return by_bits(stated.shape.parameters, kind, BITS[kind])


def _shape(stated: Stated, weight_bytes: int) -> Shape:
    """The shape; bytes per token are the share of the weights that decoding one token reads."""
    told = stated.shape
    table = 0 if told.is_tied else told.vocabulary * told.hidden
    share = (told.active_parameters - table) / told.parameters
    measures = {
        name: getattr(told, name) for name in Measures.__struct_fields__ if name != "is_tied"
    }
    return Shape(
        **measures,
        weight_bytes=weight_bytes,
        active_bytes=stated.active_bytes or round(weight_bytes * share),
        quantisation=stated.quantisation,
    )
