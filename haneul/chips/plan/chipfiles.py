"""Chips and models as data: a new chip is one file here and no code."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from haneul.base.errors import NotFound
from haneul.chips.plan.models import plan_model
from haneul.chips.plan.terms import PlanChip, PlanModel
from haneul.chips.shape import Shape


class _Entry(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    aliases: tuple[str, ...]
    source: str
    tied: bool
    attended_most: int
    shape: Shape


class _Models(Struct, frozen=True, forbid_unknown_fields=True):
    model: tuple[_Entry, ...]


def load_chips() -> dict[str, PlanChip]:
    """Every chip file, by the id that its file name is."""
    chips = {}
    folder = files("haneul.chips.plan") / "data" / "chips"
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if file.name.endswith(".toml"):
            ident = file.name.removesuffix(".toml")
            facts: dict[str, Any] = msgspec.toml.decode(file.read_bytes())
            chips[ident] = msgspec.convert({"id": ident, **facts}, PlanChip)
    return chips


def find_chip(chips: Mapping[str, PlanChip], name: str) -> PlanChip:
    """The chip of an id, a name or an alias, in any case. Raises NotFound."""
    wanted = name.strip().lower()
    for chip in chips.values():
        if wanted in (chip.id, chip.name.lower(), *chip.aliases):
            return chip
    raise NotFound(f"No chip is called {name!r}; known are: {', '.join(chips)}.")


def assume_like(chip: PlanChip, chips: Mapping[str, PlanChip]) -> PlanChip:
    """The chip with its unknown speeds taken from the one it is said to be like, if any."""
    if chip.like is None:
        return chip
    other = chips[chip.like]
    named = ("bandwidth_tb_s", "bf16_tflops", "fp8_tflops", "int8_tops", "fp4_tflops")
    filled = {name: getattr(chip, name) or getattr(other, name) for name in named}
    return replace(chip, **filled, notes=f"speed assumed like {other.name}; {chip.notes}")


def load_models() -> dict[str, PlanModel]:
    """Models of the published measurements by name and by alias."""
    text = (files("haneul.chips.plan") / "data" / "models.toml").read_bytes()
    found = {}
    for each in msgspec.toml.decode(text, type=_Models).model:
        model = plan_model(
            each.name, each.shape, is_tied=each.tied, attended_most=each.attended_most
        )
        found.update(dict.fromkeys((each.name, *each.aliases), model))
    return found
