"""Numbers with their units: money, bytes, times, and how a person reads them.

Money is an integer count of nano-units (10⁻⁹) of a currency. Prices are nano-units per million
tokens, so that a price list of "0.15 per million" is exact and the cost of one request is one
integer division, rounded once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from haneul.base.errors import BadRequest

NANO = 1_000_000_000
MILLION = 1_000_000
HOUR_US = 3_600_000_000
_UNIT = MILLION * MILLION  # of prices per million, times a share in millionths
_HALF_UNIT = _UNIT // 2


def now_us() -> int:
    """UTC time in microseconds since 1970."""
    return time.time_ns() // 1000


class Moment:
    """A moment, and the time since: its clock goes on evenly when the system's is set anew."""

    __slots__ = ("_began_ns", "_clock", "at_us")

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._began_ns = clock()
        self.at_us = now_us()

    def now_us(self) -> int:
        """UTC time in microseconds, as it would be had nobody set the clock since."""
        return self.at_us + (self._clock() - self._began_ns) // 1000


def parse_money(text: str) -> int:
    """Nano-units of a decimal amount such as "5" or "0.15". Raises BadRequest."""
    try:
        amount = Decimal(text)
    except InvalidOperation as cause:
        raise BadRequest(f"'{text}' is not an amount of money") from cause
    if not amount.is_finite() or amount < 0 or amount > MILLION * 1000:
        raise BadRequest(f"'{text}' is not an amount between 0 and 10⁹")
    return int((amount * NANO).to_integral_value(ROUND_HALF_UP))


def show_money(nano: int, currency: str, *, digits: int = 9) -> str:
    """An amount a person reads: 'USD 0.000012340', trailing zeros beyond cents removed."""
    sign = "-" if nano < 0 else ""
    whole, rest = divmod(abs(nano), NANO)
    fraction = f"{rest:09d}"[:digits].rstrip("0").ljust(2, "0")
    return f"{currency} {sign}{whole}.{fraction}"


def token_cost(tokens_and_prices: list[tuple[int, int]], share_millionths: int = MILLION) -> int:
    """Nano-units for tokens at nano-units per million, or at a share of that price.

    Rounded half up once for the sum.
    """
    total = 0
    for tokens, price in tokens_and_prices:
        total += tokens * price
    return rounded(total, share_millionths)


def rounded(total: int, share_millionths: int = MILLION) -> int:
    """Nano-units of a sum of tokens times prices per million, half up."""
    return (total * share_millionths + _HALF_UNIT) // _UNIT


def show_bytes(count: float) -> str:
    """Bytes in decimal units: '98.4 MB'."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def show_parameters(count: int) -> str:
    """Parameters as they are spoken of: '135 M', '8.19 B', '1.03 T'."""
    power, unit = next(
        (pair for pair in ((1e12, "T"), (1e9, "B"), (1e6, "M")) if count >= pair[0]), (1.0, "")
    )
    return f"{count / power:.3g} {unit}".strip()


def show_duration(seconds: float) -> str:
    """Seconds as a person says them: '420 ms', '3.2 s', '4 min 10 s', '2 h 05 min'."""
    if seconds < 0.9995:  # beyond it rounds to 1000 ms
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:  # beyond it rounds to 60.0 s
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def show_time(us: int) -> str:
    """A UTC time in microseconds as '2026-11-21 23:44:50Z'."""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(us / MILLION))
