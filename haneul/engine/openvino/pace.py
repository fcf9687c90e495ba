"""How many prompt tokens fit a step, learned from what steps took.

A step has a fixed part (the sequences that write one token each) and a part per prompt token, which
grows with the depth at which the token stands. Medians, because other work on the machine makes
single steps long, and a pace that believed them would crawl.
"""

from __future__ import annotations

from collections import deque
from statistics import median

SEEN = 7  # steps that a median looks back at
LEAST_TOKENS = 64  # so that a prompt gets on, whatever the clock says
FIRST_STEP_S = 0.02
FIRST_TOKEN_S = 0.0005


class Pace:
    """What steps cost on this machine now. Seconds."""

    def __init__(self, *, even_depth_tokens: float) -> None:
        self._even_depth = even_depth_tokens  # there a token costs twice what the first one does
        self._writing: dict[int, deque[float]] = {}
        self._reading: deque[float] = deque(maxlen=SEEN)

    def saw(self, *, writers: int, tokens: int, depth: float, seconds: float) -> None:
        """One step took that long: so many sequences wrote, so many prompt tokens were read.

        `depth`: the mean number of tokens before those that were read.
        """
        if not tokens:
            self._writing.setdefault(writers, deque(maxlen=SEEN)).append(seconds)
        elif tokens >= LEAST_TOKENS // 2:  # of fewer the fixed part tells nothing
            left = max(seconds - self.writing_s(writers), seconds / 4)
            self._reading.append(left / (tokens * self._weight(depth)))

    def room(self, *, depth: int, seconds: float) -> int:
        """How many tokens can be read from that depth on in the time; a few at least."""
        # the tokens themselves stand deeper and deeper: a second look finds their mean depth
        tokens = seconds / (self._token_s() * self._weight(depth))
        tokens = seconds / (self._token_s() * self._weight(depth + max(tokens, 0) / 2))
        return max(int(tokens), LEAST_TOKENS) if seconds > 0 else LEAST_TOKENS

    def reading_s(self, *, depth: int, tokens: int) -> float:
        """What reading so many tokens from that depth on takes."""
        return tokens * self._token_s() * self._weight(depth + tokens / 2)

    def writing_s(self, writers: int) -> float:
        """What a step takes in which so many sequences write; from the nearest number seen."""
        if not writers:
            return 0.0
        if not self._writing:
            return FIRST_STEP_S
        nearest = min(self._writing, key=lambda seen: (abs(seen - writers), -seen))
        return median(self._writing[nearest])

    def _token_s(self) -> float:
        return median(self._reading) if self._reading else FIRST_TOKEN_S

    def _weight(self, depth: float) -> float:
        return 1 + depth / self._even_depth
