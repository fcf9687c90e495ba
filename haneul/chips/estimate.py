"""An uncertain number: low, middle and high, with its unit and where it came from.

The interval is meant to hold the truth four times in five (80 %), unless its source says more.
Quantities here are speeds, sizes and prices: never negative, and uncertain by a factor rather than
by a sum, so intervals combine on the logarithm.
"""

from __future__ import annotations

import math

from msgspec import Struct

from haneul.base.units import show_bytes

PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))


class Estimate(Struct, frozen=True, kw_only=True):
    """low ≤ mid ≤ high, all finite and not negative; anything else raises ValueError."""

    low: float
    mid: float
    high: float
    unit: str
    source: str

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.mid <= self.high < math.inf:
            raise ValueError(f"not an interval: {self.low}, {self.mid}, {self.high} {self.unit}")


def exactly(value: float, unit: str, *, source: str) -> Estimate:
    """A number that is known, such as a size that was read from a file."""
    return Estimate(low=value, mid=value, high=value, unit=unit, source=source)


def around(mid: float, unit: str, *, factor: float, source: str) -> Estimate:
    """From mid ÷ factor to mid × factor; the factor is 1 or more."""
    return Estimate(low=mid / factor, mid=mid, high=mid * factor, unit=unit, source=source)


def scale(estimate: Estimate, factor: float, *, unit: str = "") -> Estimate:
    """The estimate times a number that is known, in another unit if one is named."""
    return Estimate(
        low=estimate.low * factor,
        mid=estimate.mid * factor,
        high=estimate.high * factor,
        unit=unit or estimate.unit,
        source=estimate.source,
    )


def invert(estimate: Estimate, factor: float = 1.0, *, unit: str) -> Estimate:
    """factor ÷ estimate: a high speed becomes a low duration. Raises ZeroDivisionError."""
    return Estimate(
        low=factor / estimate.high,
        mid=factor / estimate.mid,
        high=factor / estimate.low,
        unit=unit,
        source=estimate.source,
    )


def times(left: Estimate, right: Estimate, *, unit: str, source: str = "") -> Estimate:
    """The product of two estimates that err independently: log widths add as squares.

    A factor that may be zero leaves no logarithm; then the ends are multiplied as they are.
    """
    mid = left.mid * right.mid
    source = source or "; ".join(dict.fromkeys([left.source, right.source]))
    if not (left.low > 0 and right.low > 0):
        low, high = left.low * right.low, left.high * right.high
        return Estimate(low=low, mid=mid, high=high, unit=unit, source=source)
    down = math.hypot(math.log(left.mid / left.low), math.log(right.mid / right.low))
    up = math.hypot(math.log(left.high / left.mid), math.log(right.high / right.mid))
    low, high = min(mid, mid * math.exp(-down)), max(mid, mid * math.exp(up))
    return Estimate(low=low, mid=mid, high=high, unit=unit, source=source)


def plus(left: Estimate, right: Estimate, *, source: str = "") -> Estimate:
    """The sum of two estimates in one unit that err together: the cautious reading."""
    if left.unit != right.unit:
        raise ValueError(f"{left.unit} and {right.unit} do not add up")
    return Estimate(
        low=left.low + right.low,
        mid=left.mid + right.mid,
        high=left.high + right.high,
        unit=left.unit,
        source=source or "; ".join(dict.fromkeys([left.source, right.source])),
    )


def holds(estimate: Estimate, value: float) -> bool:
    """Whether the value lies in the interval, its ends included."""
    return estimate.low <= value <= estimate.high


def show(estimate: Estimate) -> str:
    """How a person reads it: '62 tok/s (41–94)'; the interval is left out where there is none."""
    if estimate.unit in ("B", "B/s"):
        rate = estimate.unit.removeprefix("B")
        low, mid, high = (
            show_bytes(value) + rate for value in (estimate.low, estimate.mid, estimate.high)
        )
    else:
        mid = f"{_number(estimate.mid, estimate.unit)}"
        low, high = (_bare(value, estimate) for value in (estimate.low, estimate.high))
    return mid if estimate.low == estimate.high else f"{mid} ({low}–{high})"


def _number(value: float, unit: str) -> str:
    """A value with three digits that count, its unit with a prefix where millions are plain."""
    size, prefix = _prefix(value, unit)
    return f"{_digits(value / size)} {prefix}{unit}"


def _bare(value: float, estimate: Estimate) -> str:
    """An end of the interval in the same multiple as the middle."""
    size, _ = _prefix(estimate.mid, estimate.unit)
    return _digits(value / size)


def _prefix(value: float, unit: str) -> tuple[float, str]:
    if unit.startswith(("FLOP", "OP")):
        for size, prefix in PREFIXES:
            if value >= size:
                return size, prefix
    return 1.0, ""


def _digits(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.0f}" if value >= 20 else f"{value:.1f}".removesuffix(".0")
    return f"{value:.3g}"
