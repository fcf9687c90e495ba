"""Time-ordered identifiers with a prefix: `req_01jd…`.

48 bits of milliseconds and 80 random bits in Crockford's base 32 (the ULID layout, lower case),
so that identifiers sort by time and never repeat in practice. They are names, not secrets: each
process draws them from a generator that the system seeded once, because asking the system for each
costs more than anything else about a small request.
"""

from __future__ import annotations

import random
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [a + b for a in ALPHABET for b in ALPHABET]
_SHIFTS = range(60, -1, -10)
_random_bits = random.Random().getrandbits  # noqa: S311 - names, not secrets


def new_id(prefix: str) -> str:
    """A fresh identifier: the prefix, an underscore, 26 characters."""
    number = (time.time_ns() // 1_000_000 << 80) | _random_bits(80)
    pairs, high, low = _PAIRS, number >> 70, number & ((1 << 70) - 1)  # small enough to be quick
    return f"{prefix}_" + "".join(
        [pairs[high >> shift & 1023] for shift in _SHIFTS[1:]]
        + [pairs[low >> shift & 1023] for shift in _SHIFTS]
    )


def is_id(prefix: str, text: str) -> bool:
    """Whether the text has the form that new_id(prefix) gives."""
    head, _, body = text.partition("_")
    return head == prefix and len(body) == 26 and all(letter in ALPHABET for letter in body)
