"""What models made of prompts: the table that a policy is fitted on and judged by."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


class Outcomes(msgspec.Struct, frozen=True):
    """n prompts, each answered by each of M models."""

    models: list[str]
    prompts: list[str]
    tasks: list[str]
    good: Doubles  # n x M, 0..1
    tokens_in: Doubles  # n
    tokens_out: Doubles  # n x M; 0 where it was not recorded
    usd_per_token_in: Doubles  # M
    usd_per_token_out: Doubles  # M
    answers: NDArray[np.int64] | None = None  # n x M: equal numbers are equal answers, -1 is none

    @property
    def cost_usd(self) -> Doubles:
        """What each answer cost, n x M."""
        return self.priced(self.tokens_out)

    def priced(self, tokens_out: Doubles) -> Doubles:
        """What answers of that many tokens cost, n x M, USD."""
        read = self.tokens_in[:, None] * self.usd_per_token_in
        return read + tokens_out * self.usd_per_token_out

    @property
    def best(self) -> int:
        """The number of the best fixed model: the most accurate, of equals the cheapest."""
        quality, cost = self.good.mean(0), self.cost_usd.mean(0)
        return int(np.lexsort((cost, -quality))[0])

    def rows(self, chosen: NDArray[np.int64]) -> Outcomes:
        """Some of the prompts."""
        return msgspec.structs.replace(
            self,
            prompts=[self.prompts[at] for at in chosen],
            tasks=[self.tasks[at] for at in chosen],
            good=self.good[chosen],
            tokens_in=self.tokens_in[chosen],
            tokens_out=self.tokens_out[chosen],
            answers=None if self.answers is None else self.answers[chosen],
        )

    def pool(self, names: list[str]) -> Outcomes:
        """Some of the models."""
        at = [self.models.index(name) for name in names]
        return msgspec.structs.replace(
            self,
            models=names,
            good=self.good[:, at],
            tokens_out=self.tokens_out[:, at],
            usd_per_token_in=self.usd_per_token_in[at],
            usd_per_token_out=self.usd_per_token_out[at],
            answers=None if self.answers is None else self.answers[:, at],
        )
