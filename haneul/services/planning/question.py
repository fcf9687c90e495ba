"""One question of serving, as a command or a page asks it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from haneul.base.errors import BadRequest

USUAL = ("H100", "H200", "B200", "MI300X")  # chips, where nobody named any
TEXT_MAX = 200  # characters of a name, a chip or a price
LIST_MAX = 40
Text = Annotated[str, Meta(max_length=TEXT_MAX)]
Texts = Annotated[tuple[Text, ...], Meta(max_length=LIST_MAX)]
Tokens = Annotated[int, Meta(ge=1, le=100_000_000)]
Share = Annotated[float, Meta(ge=0, le=1)]
# Above zero, and so far that no quotient of it leaves the numbers a computer has.
Above = Annotated[float, Meta(ge=1e-6, le=1e9)]


class Question(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be served, on which chips, at which prices; limits are milliseconds."""

    model: Annotated[str, Meta(min_length=1, max_length=TEXT_MAX)]
    isl: Tokens
    osl: Tokens
    rate: Above | None = None  # requests per second
    users: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    ttft: Above | None = None
    tpot: Above | None = None
    chips: Texts = USUAL
    prices: Texts = ()  # such as H100=2.95
    cache_hit: Share = 0.0
    acceptance: Annotated[float, Meta(ge=0, le=8)] = 0.0
    precision: Text = ""
    engine: Text = "vllm"
    kv_bits: Literal[8, 16] | None = None  # of a number of the cache; None: the engine's usual
    utilisation: Annotated[float, Meta(ge=0.001, le=1)] = 1.0
    assume_like: bool = False


def asked(**facts: Any) -> Question:
    """The question of a command. Raises BadRequest with the field that is out of range."""
    try:
        return msgspec.convert(facts, Question)
    except msgspec.ValidationError as cause:
        reason, _, where = str(cause).partition(" - at ")
        name = where.strip("`$.")
        told = re.sub(r"Expected `(int|float)` ", "it is a number ", reason).replace("`", "")
        raise BadRequest(f"{name or 'The question'}: {told}.", param=name or None) from cause
