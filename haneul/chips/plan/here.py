"""Chips that are found here as a plan counts them.

An accelerator is planned by its chip file; one that no file knows is said to be unknown, and near
misses are not guessed. A processor has no chip file: its own measured bandwidth speaks for it, and
haneul's own engine runs there (see local.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec.structs import replace

from haneul.chips.chip import Chip
from haneul.chips.plan.terms import PlanChip

GB = 1e9
SAME_MEMORY = 0.15  # 80 GB that are GiB, less what a driver keeps; beyond it, another card


def planned(chips: Mapping[str, PlanChip], chip: Chip) -> PlanChip | None:
    """The chip file of what was found; None where no file knows it.

    Apple's chips are sold with several memories and get the one that was found; of others another
    amount is another card.
    """
    if chip.kind == "cpu" or chip.whole:
        return None
    wanted = _plain(chip.name)
    known = next((each for each in chips.values() if wanted in _names(each)), None)
    if known is None or chip.memory_bytes is None or known.memory_gb is None:
        return known
    told = chip.memory_bytes / GB
    if known.generation != "apple":
        return known if abs(told / known.memory_gb - 1) <= SAME_MEMORY else None
    source = f"{known.source}; memory as {chip.sources.get('memory_bytes', 'its driver')} tells it"
    return replace(known, memory_gb=told, source=source)


def _names(chip: PlanChip) -> set[str]:
    return {_plain(each) for each in (chip.name, *chip.aliases)}


def _plain(name: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", name.lower()))
