"""The calendar of budgets and invoices: UTC days, weeks from Monday, months.

A request belongs to the period in which it was received, however long it runs.
"""

from __future__ import annotations

import datetime

from haneul.store.spending import DAY_US

PERIODS = ("total", "day", "week", "month")  # of a budget
EPOCH = datetime.date(1970, 1, 1).toordinal()
MONDAY = 3  # 1970 began on a Thursday


def day_of(at_us: int) -> int:
    """The UTC day, counted from 1970."""
    return at_us // DAY_US


def starts(day: int) -> tuple[int, int, int, int]:
    """The first day of each of PERIODS that the day lies in; 0 for the one that never ends."""
    date = datetime.date.fromordinal(day + EPOCH)
    return (0, day, day - (day + MONDAY) % 7, day - date.day + 1)


def renews_us(period: str, at_us: int) -> int | None:
    """When the next period begins; None for one that never ends."""
    day = day_of(at_us)
    if period == "day":
        return (day + 1) * DAY_US
    if period == "week":
        return (starts(day)[2] + 7) * DAY_US
    if period == "month":
        return (starts(starts(day)[3] + 31)[3]) * DAY_US
    return None


def month_bounds_us(month: str) -> tuple[int, int]:
    """The first moment of a month such as '2026-11' and of the next. Raises ValueError."""
    first = datetime.datetime.strptime(month, "%Y-%m").replace(tzinfo=datetime.UTC)
    if first.strftime("%Y-%m") != month:
        raise ValueError(month)
    start_us = (first.date().toordinal() - EPOCH) * DAY_US
    end_us = renews_us("month", start_us)
    assert end_us is not None
    return start_us, end_us


def month_of(at_us: int) -> str:
    """The month of a moment, as '2026-11'."""
    return datetime.date.fromordinal(day_of(at_us) + EPOCH).strftime("%Y-%m")
