"""What a plan is asked, in words: '2048xH800', '14.8T', 'H100=2.95'."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from haneul.base.errors import BadRequest
from haneul.base.units import parse_money
from haneul.chips.plan.chipfiles import find_chip
from haneul.chips.plan.terms import PlanChip

CHIPS_MOST = 1_000_000  # of one kind
SIZES = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
GROUP = re.compile(r"\s*(\d{1,7})\s*[xX×*]\s*(.+)")
COUNT = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([KMBT]?)\s*", re.IGNORECASE)


class Group(Struct, frozen=True):
    """So many chips of one kind."""

    chip: PlanChip
    count: int

    @property
    def text(self) -> str:
        """How it is written: '384 x Ascend 910C'."""
        return f"{self.count} x {self.chip.name}"


def parse_group(text: str, chips: Mapping[str, PlanChip]) -> Group:
    """The chips of '2048xH800'; a bare name is one chip. Raises BadRequest and NotFound."""
    found = GROUP.fullmatch(text)
    count, name = (int(found[1]), found[2]) if found else (1, text)
    if not 1 <= count <= CHIPS_MOST:
        raise BadRequest(f"'{text}' is not between 1 and {CHIPS_MOST:,} chips.")
    return Group(find_chip(chips, name), count)


def parse_count(text: str, *, what: str) -> float:
    """A number such as '14.8T', '70B' or '5000'. Raises BadRequest."""
    found = COUNT.fullmatch(text)
    value = float(found[1]) * SIZES[found[2].upper()] if found else 0.0
    if value <= 0:
        raise BadRequest(f"'{text}' is no number of {what} above zero: write it as 14.8T or 5000.")
    return value


def parse_prices(texts: Iterable[str], chips: Mapping[str, PlanChip]) -> dict[str, str]:
    """Amounts by a chip's id, of 'H100=2.95'. Raises BadRequest and NotFound."""
    found = {}
    for text in texts:
        name, amount = named_price(text)
        found[find_chip(chips, name).id] = amount
    return found


def named_price(text: str) -> tuple[str, str]:
    """Name and amount of 'H100=2.95'. Raises BadRequest."""
    name, sign, amount = text.partition("=")
    if not sign or parse_money(amount.strip()) <= 0:
        raise BadRequest(f"'{text}' is no price: write it as H100=2.95.")
    return name.strip(), amount.strip()
