"""What `--chips this` stands for: the chips of this machine, what they cost and what they did."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from haneul.base.config import Config
from haneul.base.errors import NotFound
from haneul.chips.busy import busy_share
from haneul.chips.calibrate import Correction
from haneul.chips.chip import Chip
from haneul.chips.detect import survey
from haneul.chips.plan.asked import Group
from haneul.chips.plan.here import Here, planned
from haneul.chips.plan.terms import PlanChip
from haneul.chips.shape import Shape
from haneul.services.appraisal import corrections
from haneul.services.planning.house import house_fleet
from haneul.store.database import open_database

QUIET_SHARE = 0.2  # of the processors in use by others; beyond it the bandwidth is not all there


def this_machine(config: Config, *, shape: Shape | None = None) -> Here:
    """This machine as it is found now; measures its memory for half a second and asks the tools.

    shape is of the model's file, where it is here. Raises CommandError for a fleet file that
    cannot be read.
    """
    fleet = house_fleet(config)
    busy = busy_share()
    found = survey()
    processor = found.chips[0]
    known: dict[str, Correction] = {}
    if config.home.exists():
        store = open_database(config.database_url, config.home)
        try:
            known = store.run(corrections, processor, config)
        finally:
            store.close()
    return Here(
        chips=[beside(processor, busy), *found.chips[1:]],
        fleet=fleet,
        corrections=known,
        shape=shape,
        not_asked=tuple(f"{each.tool}: {each.why}" for each in found.troubles),
    )


def cards_of_this(files: Mapping[str, PlanChip]) -> list[Group]:
    """The cards of this machine that a chip file knows, by kind. Raises NotFound where none is."""
    found = survey(measure=False).chips
    groups = [Group(known, chip.count) for chip in found if (known := planned(files, chip))]
    if not groups:
        raise NotFound("No card that a chip file knows is found here: see haneul chips.")
    return groups


def beside(chip: Chip, busy: float | None) -> Chip:
    """The chip with what it may do when others rest: as much more as they used when measured."""
    measured = chip.bandwidth
    if measured is None or busy is None or busy < QUIET_SHARE:
        return chip
    source = f"{measured.source}, while others used {busy:.0%} of the processors"
    high = measured.high / max(1 - busy, 0.1)
    return replace(chip, bandwidth=replace(measured, high=high, source=source))
