"""Another file of a model than the one its name means: qwen3:8b-q8_0, as ollama has it."""

from __future__ import annotations

import re

from msgspec.structs import replace

from haneul.models.families.entry import BITS, Entry, size_of
from haneul.models.reference import Reference
from haneul.models.sources.offer import Wanted

TAG = re.compile(r"(.+)-([a-z0-9_]+)")
TALKS = re.compile(r"-(instruct|chat|it)$")  # what others add to a name; every entry here talks


def split(name: str) -> tuple[str, str]:
    """A plain name and the quantisation after it, in capitals; "" where there is none."""
    found = TAG.fullmatch(name)
    if found is None or found[2].upper() not in {*BITS, "MXFP4"}:
        return TALKS.sub("", name), ""
    return TALKS.sub("", found[1]), found[2].upper()


def variant(entry: Entry, quantisation: str) -> Entry | None:
    """The entry with its file in that quantisation; None where no repository is known to have it.

    The measures stay; bytes follow from the bits per weight, with their interval.
    """
    if quantisation in ("", entry.shape.quantisation):
        return entry
    size = size_of(entry, quantisation)
    if size is None or not entry.gguf or quantisation not in entry.quantisations:
        return None
    share = size.mid / entry.size.mid
    shape = replace(
        entry.shape,
        quantisation=quantisation,
        weight_bytes=round(entry.shape.weight_bytes * share),
        active_bytes=round(entry.shape.active_bytes * share),
    )
    reference = Reference(kind="huggingface", name=entry.gguf, quant=quantisation)
    return replace(
        entry,
        name=f"{entry.name}-{quantisation.lower()}",
        aliases=(),
        shape=shape,
        size=size,
        sources=(Wanted(parts=(reference,)),),
    )
