"""What was measured of like models, here and by others who signed it: shown beside a plan."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from msgspec import Struct

from haneul.chips.plan.options import Option
from haneul.chips.plan.terms import PlanModel

NEAREST = 3
DOUBLINGS_MOST = 2.0  # of size; what is further apart says nothing
ANOTHER_CHIP, ANOTHER_FORMAT = 3.0, 1.0  # doublings


class Seen(Struct, frozen=True, kw_only=True):
    """A row of the matrix; speeds in tok/s of one stream, of several together, of prompts."""

    model: str
    parameters: int
    chip: str  # as `haneul chips` calls it
    engine: str
    quantisation: str
    decode: float | None
    capacity: float | None
    streams: int | None
    prefill: float | None
    count: int
    measured_by: str  # "here", or the name of its signer
    last_us: int


def nearest_seen(
    rows: Iterable[Seen],
    model: PlanModel,
    options: Sequence[Option],
    chips: Iterable[str],
    *,
    most: int = NEAREST,
) -> list[Seen]:
    """The rows most like the plan, nearest first; those of chips in question before others."""
    asked = set(chips)
    formats = {option.precision.lower() for option in options}

    def distance(row: Seen) -> float:
        apart = abs(math.log2(row.parameters / max(model.parameters, 1)))
        apart += ANOTHER_CHIP * (row.chip not in asked)
        return apart + ANOTHER_FORMAT * (row.quantisation.lower() not in formats)

    like = [row for row in rows if _doublings(row, model) <= DOUBLINGS_MOST]
    return sorted(like, key=distance)[:most]


def _doublings(row: Seen, model: PlanModel) -> float:
    return abs(math.log2(row.parameters / max(model.parameters, 1)))
