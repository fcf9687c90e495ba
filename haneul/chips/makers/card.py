"""One accelerator as its tool reports it, and the numbers that tools write in many ways."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec import Struct

MIB = 1 << 20
# AMD's tools say MB and GB and mean binary ones: 196592 MB are what an MI300X has of 192 GiB.
SIZES = {"": 1, "B": 1, "KB": 1 << 10, "MB": MIB, "GB": 1 << 30, "MIB": MIB, "GIB": 1 << 30}
QUANTITY = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([A-Za-z]*)\s*")


class Card(Struct, frozen=True):
    """One device; None where the tool does not tell.

    Of a part of a card, which serves alone, `whole` is the card's name and the shares are what the
    part has of the card's units and of its memory's channels.
    """

    name: str
    memory_bytes: int | None
    memory_free_bytes: int | None
    power_w: float | None
    cores: int | None = None
    is_unified: bool = False  # its memory is the processor's
    whole: str = ""
    compute_share: float = 1.0
    bandwidth_share: float = 1.0


def size_of(written: object) -> int | None:
    """Bytes of 196592, "68702699520", "1536 MB" or {"value": 192, "unit": "GB"}; None for N/A."""
    if isinstance(written, dict):
        written = f"{_word(written.get('value'))} {_word(written.get('unit'))}"
    found = QUANTITY.fullmatch(_word(written))
    unit = SIZES.get(found[2].upper()) if found else None
    return round(float(found[1]) * unit) if found and unit else None


def number_of(written: object) -> float | None:
    """The number of 750, "750.0", "750 W" or {"value": 750, "unit": "W"}; None for N/A."""
    if isinstance(written, dict):
        written = written.get("value", "")
    found = QUANTITY.fullmatch(_word(written))
    return float(found[1]) if found else None


def _word(written: object) -> str:
    """What is a word or a number, "" for lists and the like, however deep."""
    return str(written) if isinstance(written, str | int | float) else ""


def left(total: int | None, used: int | None) -> int | None:
    """What is free; None where one of the two is unknown."""
    return None if total is None or used is None else max(0, total - used)


def text_of(path: Path) -> str:
    """What a file of the system says, "" where it is missing or not for us."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
