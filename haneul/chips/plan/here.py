"""Chips that are found here as a plan counts them: what `--chips this` stands for.

An accelerator is planned by its chip file; one that no file knows is said to be unknown, and near
misses are not guessed. The processor has no chip file: its own measured bandwidth speaks for it,
and haneul's own engine runs there (see local.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from haneul.base.units import NANO
from haneul.chips.calibrate import Correction
from haneul.chips.chip import Chip
from haneul.chips.cost import hour_cost
from haneul.chips.estimate import Estimate
from haneul.chips.fleet import Fleet
from haneul.chips.plan.options import Terms
from haneul.chips.plan.owning import rent_of
from haneul.chips.plan.terms import PlanChip
from haneul.chips.shape import Shape

THIS = "this"
GIB = 1 << 30  # what data sheets of accelerators call GB
SAME_MEMORY = 0.15  # what a driver keeps for itself; beyond it, another card of that name


class Here(Struct, frozen=True, kw_only=True):
    """This machine: its chips, what they cost, what was learned of its speed, the model's file."""

    chips: list[Chip]  # the processor first
    fleet: Fleet
    corrections: dict[str, Correction] = {}
    shape: Shape | None = None  # exactly as in a file that is here
    not_asked: tuple[str, ...] = ()  # tools of makers that did not answer, and why


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
    told = chip.memory_bytes / GIB
    if known.generation != "apple":
        return known if abs(told / known.memory_gb - 1) <= SAME_MEMORY else None
    source = f"{known.source}; memory as {chip.sources.get('memory_bytes', 'its driver')} tells it"
    return replace(known, memory_gb=told, source=source)


def accelerators(
    here: Here, files: Mapping[str, PlanChip], rents: Mapping[str, str], terms: Terms
) -> tuple[list[tuple[PlanChip, Terms]], list[str]]:
    """Accelerators that a chip file knows, each with how many there are and what an hour of one
    costs; and a sentence for each that none knows. terms are those of all chips.
    """
    found: list[tuple[PlanChip, Terms]] = []
    said = [f"chips of this machine may be missing: {each}" for each in here.not_asked]
    for chip in here.chips[1:]:
        known = planned(files, chip)
        if known is None:
            said.append(f"{chip.count} x {chip.name}, found here: no chip file knows it")
            continue
        own = replace(terms, rent=_hour(here.fleet, chip), chips_most=chip.count)
        if known.id in rents or own.rent is None:
            own = replace(own, rent=rent_of(known, rents))
        found.append((replace(known, name=f"{known.name} here"), own))
    return found, said


def processor_hour(here: Here, told: str | None) -> Estimate | None:
    """USD for an hour of this machine's processor and memory: as told, as owned, as assumed."""
    if told is not None:
        value = float(told)
        return Estimate(low=value, mid=value, high=value, unit="USD", source="as told")
    return _hour(here.fleet, here.chips[0])


def _hour(fleet: Fleet, chip: Chip) -> Estimate | None:
    """USD for an hour of one chip; None where none is known, or it is known in another currency."""
    cost = hour_cost(fleet, replace(chip, count=1))
    if cost is None or cost.currency != "USD":
        return None
    low, mid, high = (nano / NANO for nano in (cost.low_nano, cost.total_nano, cost.high_nano))
    return Estimate(low=min(low, mid), mid=mid, high=max(mid, high), unit="USD", source=cost.source)


def _names(chip: PlanChip) -> set[str]:
    return {_plain(each) for each in (chip.name, *chip.aliases)}


def _plain(name: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", name.lower()))
