"""What a request has to keep within, and what a shared book says of it."""

from __future__ import annotations

from typing import NamedTuple

TOTAL, AT_ONCE = -1, -2  # as the first day of a hold: all time; the requests that run
REQUESTS, TOKEN_RATE = 0, 1  # the rates of an owner


class Hold(NamedTuple):
    """One limit to keep: the owner's place in the request's list, the period's days, the amount."""

    at: int
    first_day: int  # or TOTAL, or AT_ONCE
    last_day: int
    amount: int


class Pace(NamedTuple):
    """One rate to keep, of the owner at a place in the request's list."""

    at: int
    what: int  # REQUESTS or TOKEN_RATE
    per_minute: int


class Refused(NamedTuple):
    """The limit that does not allow it, and what it has left."""

    hold: Hold
    left: int


class TooFast(NamedTuple):
    """The rate that does not allow it, and when it will."""

    pace: Pace
    wait_s: float


class Sums(NamedTuple):
    """What an owner has used by now."""

    spent_nano: int
    reserved_nano: int
    running: int


class Left(NamedTuple):
    """An entry of a process that died."""

    entry: int
    holder: int
    nano: int
    mark: int = 0  # of whose request it is
