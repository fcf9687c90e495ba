"""Time-ordered identifiers with a prefix: `req_01jd…`.

48 bits of milliseconds and 80 random bits in Crockford's base 32 (the ULID layout, lower case),
so that identifiers sort by time and never repeat in practice. They are names, not secrets: each
process draws them from a generator that the system seeded once, because asking the system for each
costs more than anything else about a small request.
"""

from __future__ import annotations

import random
import time
from functools import lru_cache

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [a + b for a in ALPHABET for b in ALPHABET]
_random_bits = random.Random().getrandbits  # noqa: S311 - names, not secrets


def new_id(prefix: str) -> str:
    """A fresh identifier: the prefix, an underscore, 26 characters."""
    pairs, high, low = _PAIRS, _random_bits(40), _random_bits(40)  # small enough to be quick
    return (
        f"{prefix}_{_moment(time.time_ns() // 1_000_000)}"
        f"{pairs[high >> 30]}{pairs[high >> 20 & 1023]}{pairs[high >> 10 & 1023]}"
        f"{pairs[high & 1023]}{pairs[low >> 30]}{pairs[low >> 20 & 1023]}"
        f"{pairs[low >> 10 & 1023]}{pairs[low & 1023]}"
    )


@lru_cache(maxsize=2)
def _moment(milliseconds: int) -> str:
    """The ten characters that a millisecond's identifiers have in common."""
    return "".join([_PAIRS[milliseconds >> shift & 1023] for shift in (40, 30, 20, 10, 0)])


def is_id(prefix: str, text: str) -> bool:
    """Whether the text has the form that new_id(prefix) gives."""
    head, _, body = text.partition("_")
    return head == prefix and len(body) == 26 and all(letter in ALPHABET for letter in body)
