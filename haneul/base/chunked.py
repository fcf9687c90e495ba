"""Whole chunks of a body, read without a parser: engines write one for each event of a stream."""

from __future__ import annotations

import re

SIZE = re.compile(rb"([1-9a-fA-F][0-9a-fA-F]{0,6})\r\n")
END = b"\r\n"


def whole_chunks(data: bytes) -> tuple[bytes, int]:
    """What the whole chunks hold that the data begin with, and where the first byte after them is.

    Only the plainest form is read: a size without extensions, all of the chunk there. What is left,
    cut, wrong or the last chunk of a body, is for a parser.
    """
    found, at = [], 0
    while (size := SIZE.match(data, at)) is not None:
        begin = size.end()
        end = begin + int(size[1], 16)
        if data[end : end + 2] != END:
            break
        found.append(data[begin:end])
        at = end + 2
    return found[0] if len(found) == 1 else b"".join(found), at


def head_of_one(data_bytes: int) -> bytes:
    """The head that makes so many bytes one whole chunk; b"" where none does."""
    for digits in range(1, 8):
        head = b"%x" % max(0, data_bytes - digits - 2 * len(END))
        if len(head) == digits and head != b"0":
            return head + END
    return b""
