"""JSON of a stranger: UTF-8, every name once, and no more values than were allowed.

The standard reader takes a name twice and keeps the last, where another keeps the first; two
programs would see two files. And 64 MiB of brackets would become gigabytes of objects: so the marks
that begin a value are counted before anything is built.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from haneul.base.errors import BrokenFile
from haneul.base.first_bytes import shown

NUMBER_MAX_DIGITS = 20  # of 64 bits


def read(data: bytes, what: str, *, values_max: int) -> Any:
    """What the JSON says. Raises BrokenFile with the reason, which begins with `what`."""
    check_values(data, what, values_max=values_max)
    try:
        return _decoder(what).decode(data.decode())
    except UnicodeDecodeError as cause:
        raise BrokenFile(f"{what} is not UTF-8.") from cause
    except RecursionError as cause:
        raise BrokenFile(f"{what} is nested too deep.") from cause
    except ValueError as cause:
        raise BrokenFile(f"{what} is not JSON: {_reason(cause)}.") from cause


def check_values(data: bytes, what: str, *, values_max: int) -> None:
    """Raises BrokenFile where the JSON may hold more values; counts marks, also those in texts."""
    if sum(data.count(mark) for mark in (b",", b"[", b"{")) > values_max:
        raise BrokenFile(f"{what} holds more than {values_max} values.")


def _decoder(what: str) -> json.JSONDecoder:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise BrokenFile(f"{what} has the name {shown(_first_twice(pairs))} twice.")
        for name, value in pairs:
            _check_text(name, what)
            if isinstance(value, str):
                _check_text(value, what)
        return found

    def whole(digits: str) -> int:
        if len(digits) > NUMBER_MAX_DIGITS:
            raise BrokenFile(f"{what} has a number of {len(digits)} digits.")
        return int(digits)

    def none(name: str) -> NoReturn:
        raise BrokenFile(f"{what} has {name} where a number stands.")

    return json.JSONDecoder(object_pairs_hook=once, parse_int=whole, parse_constant=none)


def _first_twice(pairs: list[tuple[str, Any]]) -> str:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            break
        seen.add(name)
    return name


def _check_text(text: str, what: str) -> None:
    """Half of a surrogate pair can be written as an escape and never be encoded again."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as cause:
            raise BrokenFile(f"{what} has a text that is not Unicode.") from cause


def _reason(cause: ValueError) -> str:
    return f"{cause.msg} at {cause.pos}" if isinstance(cause, json.JSONDecodeError) else "no number"
