"""Which of several equal targets a prompt belongs to, so that their prefix caches are hit.

Rendezvous hashing: each target scores the prompt's beginning, the best score is its home; a target
that comes or goes moves only its own prompts. With a bound on the load: no target takes more than
a quarter over the mean, what is beyond goes to the next score (Mirrokni, Thorup and Zadimoghaddam,
"Consistent Hashing with Bounded Loads", 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from haneul.services.ask import Ask

BEGINNING_BYTES = 2048  # of the messages, or of a plain prompt
OVER_MEAN = 1.25
ANSWERED = b'"assistant"'
MASK = (1 << 64) - 1
MIX = 0x9E3779B97F4A7C15  # odd: 2^64 over the golden ratio


def beginning(ask: Ask) -> bytes:
    """The bytes that two prompts share when they begin alike.

    Of a chat, what stands before the first answer: so every turn of a conversation begins alike.
    """
    parts = []
    for name in ask.route.prompt_fields:
        if (raw := ask.body.fields.get(name)) is not None:
            part = memoryview(raw)[:BEGINNING_BYTES].tobytes()
            if name == "messages":
                part = part.partition(ANSWERED)[0].rpartition(b"}")[0] or part
            parts.append(part)
    return b"\0".join(parts)


def mark(data: bytes) -> int:
    """64 bits that stand for a beginning or a name."""
    return int.from_bytes(blake2b(data, digest_size=8).digest())


def score(one: int, other: int) -> int:
    """How much a beginning likes a target; even over all beginnings."""
    mixed = ((one ^ other) * MIX) & MASK
    mixed ^= mixed >> 29
    mixed = (mixed * MIX) & MASK
    return mixed ^ (mixed >> 32)


def load_bound(loads: Sequence[int]) -> int:
    """The most that one target may have with the request to come among them."""
    return int(-(-OVER_MEAN * (sum(loads) + 1) // len(loads)))


def spread(beginning_mark: int, ids: Sequence[int], loads: Sequence[int]) -> tuple[list[int], bool]:
    """The targets in the order in which they should be asked, and whether the first is the home.

    Their numbers in the sequences: by score, those that have room under the bound before the rest.
    """
    bound = load_bound(loads)
    scores = [score(beginning_mark, each) for each in ids]
    ranked = sorted((loads[each] >= bound, -points, each) for each, points in enumerate(scores))
    return [each for _, _, each in ranked], -ranked[0][1] == max(scores)
