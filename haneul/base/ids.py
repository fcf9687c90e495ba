"""Time-ordered identifiers with a prefix: `req_01jd…`.

48 bits of milliseconds and 80 random bits in Crockford's base 32 (the ULID layout, lower case),
so that identifiers sort by time and never repeat in practice.
"""

from __future__ import annotations

import secrets
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [a + b for a in ALPHABET for b in ALPHABET]


def new_id(prefix: str) -> str:
    """A fresh identifier: the prefix, an underscore, 26 characters."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    return f"{prefix}_" + "".join(_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10))


def is_id(prefix: str, text: str) -> bool:
    """Whether the text has the form that new_id(prefix) gives."""
    head, _, body = text.partition("_")
    return head == prefix and len(body) == 26 and all(letter in ALPHABET for letter in body)
