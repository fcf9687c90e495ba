"""One row of the matrix: a model file on a chip with an engine in one setup, and what it did."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from haneul.base.units import show_bytes, show_money
from haneul.base.visible import COMMANDS

Source = Literal["probe", "tuning", "requests"]
PLAIN = rf"^[^{COMMANDS}]*\Z"  # what a row says is shown in terminals
Text = Annotated[str, Meta(max_length=200, pattern=PLAIN)]
Digest = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]
Positive = Annotated[float, Meta(gt=0, le=1e12)]
Count = Annotated[int, Meta(ge=1, le=10**9)]
Size = Annotated[int, Meta(ge=1, le=2**62)]
Nano = Annotated[int, Meta(ge=0, le=2**62)]
Moment = Annotated[int, Meta(ge=0, le=2**62)]


class MatrixRow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Figures are medians of `count` readings; None is unknown, never zero.

    source: a probe is a short run at a quiet moment, a tuning a search for the best setup, requests
    are those that people sent.
    """

    model: Text
    digest: Digest  # SHA-256 of the file; "" unknown
    parameters: Size | None = None
    chip: Text  # the identifier that `haneul chips` shows
    chips: Count = 1
    engine: Text
    engine_version: Text
    quantisation: Text
    setup: Annotated[str, Meta(max_length=500, pattern=PLAIN)] = ""  # "" the engine's default
    fits: bool = True
    decode: Positive | None = None  # tok/s of one stream
    capacity: Positive | None = None  # tok/s of `streams` together
    streams: Count | None = None
    prefill: Positive | None = None  # tok/s
    ttft_s: Positive | None = None
    memory_bytes: Size | None = None
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")] | None = None
    input_nano: Nano | None = None  # what a million tokens cost to make
    output_nano: Nano | None = None
    watts: Positive | None = None  # of the machine at full load, where its owner says so
    source: Source
    count: Count
    first_us: Moment
    last_us: Moment


class Entry(Struct, frozen=True, kw_only=True):
    """A row with whose it is: signer is None for what was measured here."""

    row: MatrixRow
    signer: str | None = None
    signer_name: str | None = None


def named(row: MatrixRow) -> str:
    """How a row is called: 'smollm2:135m (Q4_1) on cpu-intel-xeon-2c'."""
    return f"{row.model} ({row.quantisation}) on {row.chip}"


def price(row: MatrixRow) -> str:
    """Input and output for a million tokens, or unknown."""
    if row.currency is None or row.input_nano is None or row.output_nano is None:
        return "unknown"
    kinds = (show_money(nano, row.currency, digits=4) for nano in (row.input_nano, row.output_nano))
    return " / ".join(kinds)


def memory(row: MatrixRow) -> str:
    return "unknown" if row.memory_bytes is None else show_bytes(row.memory_bytes)
