"""What the catalogue says of a model that can be had, and of a service that can only be asked."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from haneul.chips.estimate import Estimate, around
from haneul.chips.shape import Shape
from haneul.models.licences import Licence
from haneul.models.sources.offer import Wanted

Openness = Literal["open-data", "open-weights", "restricted-weights"]
Task = Literal[
    "chat",
    "reasoning",
    "code",
    "vision",
    "embedding",
    "rerank",
    "image",
    "video",
    "3d",
    "world",
    "speech",
]
# switched: it thinks or does not, as the request says
Thinking = Literal["none", "always", "switched", "unknown"]

# Bits per weight of whole files. Source: llama.cpp, tools/quantize/README.md, Llama-3.1-8B; Q3_K_M,
# Q4_0 and Q5_0 are not listed there and are taken as their neighbours Q3_K_L, Q4_K_S and Q5_K_S.
# Small models keep a larger share in finer types, so a file may be a tenth larger.
BITS = {
    "IQ1_S": 2.0042,
    "IQ1_M": 2.1460,
    "IQ2_XXS": 2.3824,
    "IQ2_XS": 2.5882,
    "IQ2_S": 2.7403,
    "IQ2_M": 2.9294,
    "IQ3_XXS": 3.2548,
    "IQ3_XS": 3.4977,
    "IQ3_S": 3.6606,
    "IQ3_M": 3.7628,
    "IQ4_XS": 4.4597,
    "IQ4_NL": 4.6818,
    "Q2_K": 3.1593,
    "Q3_K_S": 3.6429,
    "Q3_K_M": 4.2979,
    "Q3_K_L": 4.2979,
    "Q4_0": 4.6672,
    "Q4_K_S": 4.6672,
    "Q4_K_M": 4.8944,
    "Q5_0": 5.5704,
    "Q5_K_S": 5.5704,
    "Q5_K_M": 5.7036,
    "Q6_K": 6.5633,
    "Q8_0": 8.5008,
    "F16": 16.0005,
    "BF16": 16.0005,
}
BITS_FACTOR = 1.1
BITS_SOURCE = "parameters × {bits} bits ({quantisation}; llama.cpp, tools/quantize/README.md)"


class Entry(Struct, frozen=True, kw_only=True):
    """A model of the catalogue. Languages are codes of ISO 639-1; none: their makers tell none."""

    name: str
    aliases: tuple[str, ...]
    family: str
    maker: str
    upstream: str  # the makers' own repository of the weights, on Hugging Face
    modelscope: str  # the same on ModelScope; "": not known
    gguf: str  # a repository of GGUF files on Hugging Face; "": not known
    base: str  # what it was trained from, where the name does not tell; "": nothing or not known
    licence: str  # an id of haneul.models.licences, or the licence's own name
    terms: Licence
    licence_note: str
    note: str
    openness: Openness
    tasks: tuple[Task, ...]
    languages: tuple[str, ...]
    languages_told: str  # how many, as its makers put it
    thinking: Thinking
    thinking_form: str
    tools: str  # the form of its tool calls, "none" or "unknown"
    quantisations: tuple[str, ...]  # that the GGUF repository is known to have
    evidence: str  # where the figures come from
    facts: str  # where licence, languages and forms come from
    dated: str  # when the entry was last held against its sources
    shape: Shape
    size: Estimate  # of the file in bytes; exact where it is known
    sources: tuple[Wanted, ...]  # the preferred one first; none: to be planned for only


class Service(Struct, frozen=True, kw_only=True):
    """A model that is only asked, at its maker's or at a server that is no engine of haneul."""

    name: str
    family: str
    maker: str
    task: Task
    weights: Literal["closed", "open"]
    upstream: str  # repository of open weights; "": there is none
    licence: str
    terms: Licence
    ask: str  # how it is reached
    note: str
    evidence: str
    dated: str


def size_of(entry: Entry, quantisation: str) -> Estimate | None:
    """Bytes of its file in that quantisation; None for one whose bits per weight are unknown."""
    if quantisation == entry.shape.quantisation:
        return entry.size
    bits = BITS.get(quantisation)
    return None if bits is None else by_bits(entry.shape.parameters, quantisation, bits)


def by_bits(parameters: int, quantisation: str, bits: float) -> Estimate:
    """Bytes of a file of so many weights, of which each takes so many bits on average."""
    source = BITS_SOURCE.format(bits=bits, quantisation=quantisation)
    return around(parameters * bits / 8, "B", factor=BITS_FACTOR, source=source)
