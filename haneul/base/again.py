"""Heads that come again: known by their bytes, with nothing but the length of the body changed.

Who keeps a connection sends the same head over it each time, but for one number. What a parser
made of the first is true of all of them, and comparing bytes costs a tenth of parsing them. A head
is only learnt where that is certain: each of its lines ends in CRLF and is one header, its body has
a length that it says once, and nothing in it asks for an answer before the body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]{1,9})(?=\r\n)", re.IGNORECASE)
DIGITS = 9
OTHERS = (b"transfer-encoding", b"expect", b"upgrade", b"trailer")


class Known(NamedTuple):
    """A head around the digits of its length, and what they were."""

    before: bytes
    after: bytes
    length: int


def learn(data: bytes, headers: Mapping[bytes, bytes], count: int) -> Known | None:
    """The head that the data begin with, which was parsed into so many headers.

    None where its like might be read otherwise, or where the data are not just it and its body.
    """
    end = data.find(b"\r\n\r\n") + 4
    lines = count + 2  # the first, and the empty one
    if end < 4 or data.count(b"\n", 0, end) != lines or data.count(b"\r\n", 0, end) != lines:
        return None
    found = LENGTH.findall(data, 0, end)
    if len(found) != 1 or headers.get(b"content-length") != found[0]:
        return None
    if len(data) != end + int(found[0]) or any(name in headers for name in OTHERS):
        return None
    match = LENGTH.search(data, 0, end)
    assert match is not None
    return Known(data[: match.start(1)], data[match.end(1) : end], int(found[0]))


def body_at(known: Known, data: bytes) -> int:
    """Where the body begins that is all the rest of the data; 0 where it is not such a message."""
    before, after, _ = known
    if not data.startswith(before):
        return 0
    at = len(before)
    end = data.find(b"\r", at, at + DIGITS + 1)
    digits = data[at:end]
    if end < 0 or not digits.isdigit() or not data.startswith(after, end):
        return 0
    start = end + len(after)
    return start if len(data) - start == int(digits) else 0
