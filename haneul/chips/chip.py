"""A chip: the processor or accelerator that models run on. What is unknown stays None."""

from __future__ import annotations

import re
from typing import Literal

from msgspec import Struct, field

from haneul.chips.estimate import Estimate

Kind = Literal["cpu", "gpu", "npu"]


class Chip(Struct, frozen=True, kw_only=True):
    """One kind of chip on this machine; every figure is of one chip, count says how many.

    Of a CPU the figures are those of the share this process may use: cores and memory are the
    smaller of the machine's and the control group's. sources names, for each figure that is
    known, where it came from. A part of a card that serves alone (MIG) names the whole card, and
    what it has of its units and of its memory's channels.
    """

    id: str  # a stable slug of what it is, such as "cpu-intel-xeon-2c"
    name: str
    kind: Kind
    vendor: str
    count: int = 1
    cores: int | None = None
    memory_bytes: int | None = None
    memory_free_bytes: int | None = None
    instruction_sets: tuple[str, ...] = ()
    bandwidth: Estimate | None = None  # of memory, B/s
    compute: Estimate | None = None  # dense 16-bit, FLOP/s
    power_w: float | None = None
    whole: str = ""
    compute_share: float = 1.0
    bandwidth_share: float = 1.0
    sources: dict[str, str] = field(default_factory=dict)


def chip_id(kind: Kind, vendor: str, name: str, *, cores: int | None = None) -> str:
    """The slug of what a chip is: the same chip gets the same one on every machine."""
    text = re.sub(
        r"\((r|tm|c)\)|@.*|\bcpu\b|\bprocessor\b|\bwith\b.*|\b\d+-core\b", " ", name.lower()
    )
    words = re.findall(r"[a-z0-9]+", text)
    maker = re.findall(r"[a-z0-9]+", vendor.lower())
    core_words = [f"{cores}c"] if cores else []
    kept = [word for word in words if word not in maker]
    return "-".join([kind, *maker, *kept, *core_words])[:80]
