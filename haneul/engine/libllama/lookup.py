"""Guesses the next tokens by looking up what followed the last few before: free when text repeats.

A guess costs as much as its tokens take in a step, and gives as many tokens as come true. So its
length follows from what a step costs now and from how often guesses came true lately.
"""

from __future__ import annotations

import math

from haneul.engine.libllama.pace import Pace

GRAM = 3  # tokens that must have occurred before in this order
LONGEST = 32  # tokens of one guess: those of one step's rows
FIRST = 0.7  # how often a guessed token is thought to come true before any did
SLOWNESS = 0.85  # of the old opinion at each guess
DEARER = 1.3  # a guess must pay that much more than it costs
ALIGNED = 4  # tokens of a guess behind one that was replaced: the text may go on as before
SURE = 8  # tokens alike, from which on a text is thought to be copied
REST = 24  # tokens for which an answer whose guesses fail guesses no more


class Lookup:
    """The places of all n-grams of one sequence, and how well guessing has done for it."""

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], int] = {}  # n-gram: where the token behind it stands
        self._known = 0
        self._share = FIRST  # of guessed tokens that come true
        self._rest_until = 0
        self._place = 0  # where the last guess was copied from
        self._alike = 0  # tokens before it that were the same
        self._aligned = 0  # where the text goes on if just one token was replaced

    def guess(self, tokens: list[int], *, pace: Pace, sharers: int, most: int) -> list[int]:
        """The tokens that may come next; none when they would not pay.

        `sharers`: answers that share the fixed part of a step with this one.
        """
        if most < 1 or len(tokens) < self._rest_until:
            return []
        most = min(most, LONGEST, self._worth(pace, sharers))
        if most < 1:
            return []
        self._learn(tokens)
        self._place = self._after.get(tuple(tokens[-GRAM:]), 0)
        self._alike = _alike(tokens, self._place) if self._place else 0
        most = min(most, 2 * self._alike or ALIGNED)
        self._place = self._place or self._aligned
        if not self._place or not self._pays(pace, sharers, most):
            return []
        return tokens[self._place : self._place + most]

    def learn(self, guessed: int, came_true: int, length: int) -> None:
        """How many tokens of a guess came true; `length`: of the sequence now."""
        tried = min(guessed, came_true + 1)  # behind the first false one nothing is known
        share = came_true / tried
        weight = SLOWNESS ** min(tried, 4)
        self._share = weight * self._share + (1 - weight) * share
        is_edited = came_true < guessed and (came_true or self._alike >= SURE)
        self._aligned = self._place + came_true + 1 if is_edited else 0
        if self._share < 1 - FIRST:
            self._share = FIRST
            self._rest_until = length + REST

    def _worth(self, pace: Pace, sharers: int) -> int:
        """How long a guess may be: its last token must still pay for itself."""
        alone_s = pace.fixed_s / sharers + pace.token_s
        chance = min(self._share, 0.98)
        least = DEARER * pace.token_s / alone_s
        return int(math.log(least) / math.log(chance)) if least < 1 else 0

    def _pays(self, pace: Pace, sharers: int, count: int) -> bool:
        """Whether a guess of that length is worth its cost in all.

        Beside others it is computed apart, behind their common part, for a fixed part of its own.
        """
        if sharers == 1:
            return True
        chance = min(self._share, 0.98)
        true = chance * (1 - chance**count) / (1 - chance)
        saved_s = true * (pace.fixed_s / sharers + pace.token_s)
        return saved_s > DEARER * (pace.fixed_s + count * pace.token_s)

    def _learn(self, tokens: list[int]) -> None:
        """Notes where each n-gram was seen last, but for the one at the end."""
        for end in range(max(self._known, GRAM), len(tokens)):
            self._after[tuple(tokens[end - GRAM : end])] = end
        self._known = len(tokens)


def _alike(tokens: list[int], place: int) -> int:
    """How many tokens before that place are the same as those at the end: trust in the guess."""
    count, end = GRAM, len(tokens)
    while (
        count < LONGEST and count < place and tokens[place - 1 - count] == tokens[end - 1 - count]
    ):
        count += 1
    return count
