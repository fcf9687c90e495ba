"""What a model would do on this machine before it is here: does it fit, how fast, at what price;
and where it does not fit, which others would do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from haneul.base.config import Config
from haneul.base.errors import NotEnoughMemory
from haneul.base.units import show_bytes
from haneul.chips.calibrate import Correction
from haneul.chips.chip import Chip
from haneul.chips.cost import TokenPrice, hour_cost
from haneul.chips.detect import detect
from haneul.chips.estimate import Estimate, exactly
from haneul.chips.fleet import Fleet
from haneul.chips.fleet import load as load_fleet
from haneul.chips.footprint import Fit, fits, footprint
from haneul.chips.shape import Shape
from haneul.models.catalogue import Entry
from haneul.models.previewed import Preview, Variant
from haneul.services import tariff
from haneul.services.specs import CONTEXT_TOKENS, slots_of
from haneul.services.tariff import Forecast

ALTERNATIVES = 3
LEAST_BITS = 2.5  # per weight: below, a file of the same model is no better than a smaller model
WRITING = {"chat", "reasoning", "code"}  # what a model of no catalogue is taken to be for


class Machine(Struct, frozen=True, kw_only=True):
    """What a model would run on, and what is known of it."""

    chip: Chip
    config: Config
    fleet: Fleet
    corrections: Mapping[str, Correction] = {}


class Outlook(Struct, frozen=True, kw_only=True):
    """One model on one chip; the price is of a million tokens, None while something is unknown."""

    chip: str
    context_tokens: int
    slots: int
    fit: Fit
    speed: Forecast
    price: TokenPrice | None


class Alternative(Struct, frozen=True, kw_only=True):
    """Something that fits: what to type, how large it is, how fast it would be."""

    name: str
    size: Estimate
    needed: Estimate
    decode: Estimate | None  # tokens a second, one stream
    why: str


def this_machine(config: Config, corrections: Mapping[str, Correction] | None = None) -> Machine:
    """The machine as a cloud started here would find it; measures its memory for half a second.

    Raises CommandError for a fleet file that cannot be read.
    """
    own = config.home / "fleet.toml"
    named = Path(config.fleet).expanduser() if config.fleet else own if own.exists() else None
    return Machine(
        chip=detect()[0],  # the CPU: what embedded engines run on
        config=config,
        fleet=load_fleet(named),
        corrections=corrections or {},
    )


def outlook(shape: Shape, machine: Machine) -> Outlook:
    """The forecast for a model of this shape, as the cloud would set it up."""
    config, chip = machine.config, machine.chip
    slots, context, fit = _fit(shape, machine)
    speed = tariff.forecast(shape, chip, slots=slots).refined(machine.corrections)
    hour = hour_cost(machine.fleet, chip)
    in_currency = machine.fleet.currency == config.currency
    price = tariff.token_cost(machine.fleet, hour, speed) if hour and in_currency else None
    return Outlook(
        chip=chip.name, context_tokens=context, slots=slots, fit=fit, speed=speed, price=price
    )


def alternatives(
    preview: Preview, machine: Machine, entries: Sequence[Entry]
) -> tuple[Alternative, ...]:
    """Up to three that fit: the model in fewer bits, relatives, its maker's, the nearest.

    Only what can be pulled, and of each family one; () where nothing fits.
    """
    wanted = preview.shape
    if wanted is None:
        return ()
    entry = next((entry for entry in entries if preview.name in (entry.name, *entry.aliases)), None)
    chosen = [*_smaller_files(wanted, preview.variants, machine)][:1]
    families: set[str] = set()
    for other in _by_nearness(wanted, entry, entries):
        if len(chosen) == ALTERNATIVES:
            break
        if other.family in families or other.name == preview.name:
            continue
        _, _, fit = _fit(other.shape, machine)
        if fit.fits:
            families.add(other.family)
            chosen.append(_alternative(other, fit, machine, why=_why(other, entry)))
    return tuple(chosen)


def refuse_misfit(found: Preview, machine: Machine, entries: Sequence[Entry]) -> None:
    """Raises NotEnoughMemory, naming what would fit, for what is known not to fit; else nothing.

    What no engine here reads, and what is unknown, may come: it may be meant for another machine.
    """
    if found.format != "gguf" or found.shape is None:
        return
    fit = outlook(found.shape, machine).fit
    if fit.fits is False:
        others = alternatives(found, machine, entries)
        raise NotEnoughMemory(
            f"{found.name} was not pulled. {fit.reason} {_instead(others)} "
            f"For another machine, or to try: haneul pull {found.name} --anyway",
            alternatives=[other.name for other in others],
        )


def _instead(others: tuple[Alternative, ...]) -> str:
    if not others:
        return "Nothing in the catalogue fits instead."
    names = ", ".join(f"{other.name} ({show_bytes(other.size.mid)})" for other in others)
    return f"What fits instead: {names}."


def _fit(shape: Shape, machine: Machine) -> tuple[int, int, Fit]:
    config, chip = machine.config, machine.chip
    slots = slots_of(config, shape, chip.memory_bytes)
    context = min(config.context_tokens or CONTEXT_TOKENS, shape.context_tokens or CONTEXT_TOKENS)
    return slots, context, fits(footprint(shape, context_tokens=context, slots=slots), chip)


def _smaller_files(
    shape: Shape, variants: Iterable[Variant], machine: Machine
) -> Iterable[Alternative]:
    """The repository's other files that fit, the largest first."""
    for variant in sorted(variants, key=lambda each: -each.bytes):
        share = variant.bytes / max(1, shape.weight_bytes)
        if share >= 1 or variant.bytes * 8 < LEAST_BITS * shape.parameters:
            continue
        smaller = replace(
            shape,
            weight_bytes=variant.bytes,
            active_bytes=round(shape.active_bytes * share),
            quantisation=variant.quantisation or "unknown",
        )
        slots, _, fit = _fit(smaller, machine)
        if fit.fits:
            speed = tariff.forecast(smaller, machine.chip, slots=slots)
            yield Alternative(
                name=variant.reference,
                size=exactly(variant.bytes, "B", source="the repository's listing"),
                needed=fit.needed,
                decode=speed.refined(machine.corrections).decode,
                why="the same model in fewer bits",
            )


def _by_nearness(wanted: Shape, entry: Entry | None, entries: Sequence[Entry]) -> list[Entry]:
    """What can be pulled and does the same task: relatives first, then the nearest in size."""
    tasks = set(entry.tasks) if entry else WRITING
    able = [other for other in entries if other.sources and tasks & set(other.tasks)]
    family, maker = (entry.family, entry.maker) if entry else ("", "")

    def rank(other: Entry) -> tuple[bool, bool, float]:
        ratio = other.shape.parameters / max(1, wanted.parameters)
        return (other.family != family, other.maker != maker, abs(math.log(ratio)))

    return sorted(able, key=rank)


def _why(other: Entry, entry: Entry | None) -> str:
    if entry is not None and other.family == entry.family:
        return "of the same family"
    if entry is not None and other.maker == entry.maker:
        return "of the same maker"
    return "of its family the nearest in size"


def _alternative(other: Entry, fit: Fit, machine: Machine, *, why: str) -> Alternative:
    slots, _, _ = _fit(other.shape, machine)
    speed = tariff.forecast(other.shape, machine.chip, slots=slots).refined(machine.corrections)
    return Alternative(
        name=other.name,
        size=other.size,
        needed=fit.needed,
        decode=speed.decode,
        why=why,
    )
