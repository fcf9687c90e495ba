"""What a step costs in time, learned from the steps before: a fixed part, and parts per token.

A step of n tokens takes about a + b·n + c·(places they look back at). The fixed part is the reading
of all weights, the third grows with the length of a context. Learned by recursive least squares
that forget, in relative errors, so that small steps count as much as large ones.

A step that took longer than foreseen teaches little: something else had the processor or the
memory, and pieces that shrink because of it would only make everything slower. So this is nearly
the undisturbed cost.
"""

from __future__ import annotations

FORGETTING = 0.97  # weight of the past at each step: about the last 33 count
LEAST_TOKENS = 16  # of a prompt in one step: fewer would never come to an end
SLOWER_WEIGHT = 0.05  # of a step that took longer than foreseen, against one that took less
_TRUST = 4.0  # how many times dearer or cheaper than foreseen one step may be said to be
_SHARE_LEAST = 1e-3  # of the prior that each part keeps: no part is ever free
_COVARIANCE_MOST = 10.0  # its trace; else long calm would make the next surprise a catastrophe


class Pace:
    """The cost of steps on this machine, as it is just now. Seconds."""

    def __init__(self, *, fixed_s: float, token_s: float) -> None:
        self._prior = (fixed_s, token_s, token_s / 1000)
        self._parts = [fixed_s, token_s, token_s / 2000]
        self._covariance = [[1.0 * (row == column) for column in range(3)] for row in range(3)]

    def slowed(self, times: float) -> Pace:
        """The cost where each step takes so many times as long, to be learned from there on."""
        slow = Pace(fixed_s=self._prior[0] * times, token_s=self._prior[1] * times)
        slow._parts = [part * times for part in self._parts]
        return slow

    @property
    def fixed_s(self) -> float:
        return self._parts[0]

    @property
    def token_s(self) -> float:
        return self._parts[1]

    def cost_s(self, tokens: int, seen: int) -> float:
        """Of a step of so many tokens, which look back at so many places in all."""
        return self._parts[0] + self._parts[1] * tokens + self._parts[2] * seen

    def tokens_in(self, seconds: float, *, position: int, most: int) -> int:
        """How many tokens of a prompt, from that position on, can be read in the time left."""
        each = self._parts[1] + self._parts[2] * position
        half = self._parts[2] / 2  # they look back at each other too
        count = seconds / (each + half * min(most, seconds / each))
        return max(LEAST_TOKENS, min(most, int(count)))

    def learn(self, tokens: int, seen: int, took_s: float) -> None:
        """Takes in what one step took."""
        foreseen = self.cost_s(tokens, seen)
        took_s = min(max(took_s, foreseen / _TRUST), foreseen * _TRUST)
        # in units of the prior, and relative to what was foreseen
        x = [
            self._prior[0] / foreseen,
            self._prior[1] * tokens / foreseen,
            self._prior[2] * seen / foreseen,
        ]
        error = took_s / foreseen - 1.0
        spread = [sum(row[place] * x[place] for place in range(3)) for row in self._covariance]
        weight = SLOWER_WEIGHT if error > 0 else 1.0
        scale = FORGETTING / weight + sum(x[place] * spread[place] for place in range(3))
        for place in range(3):
            gained = spread[place] / scale * error
            least = _SHARE_LEAST * self._prior[place]
            self._parts[place] = max(least, self._parts[place] + gained * self._prior[place])
        grown = [
            [(old - spread[row] * spread[column] / scale) / FORGETTING for column, old in each]
            for row, each in enumerate(map(enumerate, self._covariance))
        ]
        shrink = min(1.0, _COVARIANCE_MOST / (grown[0][0] + grown[1][1] + grown[2][2]))
        self._covariance = [[value * shrink for value in row] for row in grown]
