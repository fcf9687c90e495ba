"""The fleet file: what machines cost to buy, rent and run, each figure with its source in words.

The packaged file holds dated assumptions; a file of the owner replaces the lines it names. Reading
is strict: an unknown name, a missing source or a value out of range is refused.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from haneul.base.errors import CommandError

Text = Annotated[str, Meta(min_length=1, max_length=500)]


class Amount(Struct, frozen=True, forbid_unknown_fields=True):
    """Money as decimal text, and where it was read."""

    amount: Annotated[str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$")]
    source: Text


class Positive(Struct, frozen=True, forbid_unknown_fields=True):
    """A number above zero and its source."""

    value: Annotated[float, Meta(gt=0, le=1e6)]
    source: Text


class NotNegative(Struct, frozen=True, forbid_unknown_fields=True):
    """A number that may be zero, and its source."""

    value: Annotated[float, Meta(ge=0, le=1e6)]
    source: Text


class Share(Struct, frozen=True, forbid_unknown_fields=True):
    """A share from 0 to 1 and its source."""

    value: Annotated[float, Meta(ge=0, le=1)]
    source: Text


class Sold(Struct, frozen=True, forbid_unknown_fields=True):
    """A share above 0, up to 1, and its source: dividing by it must give a price."""

    value: Annotated[float, Meta(ge=0.001, le=1)]
    source: Text


class Factor(Struct, frozen=True, forbid_unknown_fields=True):
    """A factor of at least 1 and its source."""

    value: Annotated[float, Meta(ge=1, le=100)]
    source: Text


class Figures(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What holds for every machine; amounts per kWh in the currency."""

    life_years: Positive
    residual_share: Share
    electricity_per_kwh: NotNegative
    pue: Factor
    utilisation_share: Sold
    cached_input_share: Share
    other_share_per_year: Share
    price_spread: Factor


class CpuFigures(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A CPU machine by its cores and memory."""

    price_per_core: NotNegative
    price_per_gb: NotNegative
    idle_w_per_core: NotNegative
    load_w_per_core: NotNegative


class AcceleratorFigures(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Power of an accelerator as shares of its limit."""

    idle_share: Share
    host_share: Share


class Machine(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the owner knows of one chip: a purchase or a rent, and watts at full load."""

    purchase: Amount | None = None
    rent_per_hour: Amount | None = None
    power_w: NotNegative | None = None


class Fleet(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file."""

    dated: Text
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    figures: Figures
    cpu: CpuFigures
    accelerator: AcceleratorFigures
    chips: dict[str, Machine]


def load(path: Path | None = None) -> Fleet:
    """The packaged defaults with the file's lines over them. Raises CommandError."""
    packaged = tomllib.loads(files("haneul.chips").joinpath("fleet.toml").read_text("utf-8"))
    own = _read(path) if path else {}
    try:
        fleet = msgspec.convert(_merge(packaged, own), Fleet)
    except msgspec.ValidationError as cause:
        raise CommandError(f"fleet file {path}: {cause}") from cause
    for name, machine in fleet.chips.items():
        if machine.purchase and machine.rent_per_hour:
            raise CommandError(f"fleet file {path}: '{name}' has both a purchase and a rent")
    if fleet.currency != packaged["currency"] and not _is_whole(own, packaged):
        raise CommandError(
            f"fleet file {path}: the defaults are in {packaged['currency']}; a file in "
            f"{fleet.currency} must give electricity_per_kwh, price_per_core and price_per_gb"
        )
    return fleet


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as cause:
        raise CommandError(f"fleet file {path} cannot be read: {cause}") from cause


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Tables merge, figures replace: a figure is a table that has a source."""
    merged = dict(below)
    for key, value in above.items():
        under = below.get(key)
        tables = isinstance(value, dict) and isinstance(under, dict) and "source" not in under
        merged[key] = _merge(under, value) if tables and isinstance(under, dict) else value
    return merged


def _is_whole(own: dict[str, Any], packaged: dict[str, Any]) -> bool:
    """Whether no amount of the defaults, in their own currency, is left in the result."""
    places = (
        ("figures", "electricity_per_kwh"),
        ("cpu", "price_per_core"),
        ("cpu", "price_per_gb"),
    )
    return all(key in own.get(table, {}) for table, key in places)
