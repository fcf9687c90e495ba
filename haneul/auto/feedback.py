"""What feedback teaches a policy while it serves: a correction for each arm in each kind of prompt.

A kind is a task of the fit, or "foreign": unlike all of them. The correction is the mean difference
between what came back and what was expected, shrunk as if `PRIOR_LABELS` answers had come out as
expected, and the past counts less with every answer of its kind, so that it follows a change.
Foreign prompts have no expectation worth the name: there the arms start from how the best fixed
model does, and an arm that has shown nothing is taken to be worse by `DOUBT`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

PRIOR_LABELS = 20.0
FOREIGN_PRIOR_LABELS = 4.0
DOUBT = 0.05  # of a share of good answers
FORGETTING = 0.998  # of the past, kept at each answer of the kind: about 500 answers count

Doubles = NDArray[np.float64]


class Feedback:
    """Running corrections of K arms in T tasks and in foreign prompts."""

    def __init__(self, *, tasks: int, arms: int, best: int, forgetting: float = FORGETTING) -> None:
        self._weight = np.zeros((tasks + 1, arms))
        self._surprise = np.zeros((tasks + 1, arms))
        self._best = best
        self._forgetting = forgetting

    def learn(self, kind: int | None, arm: int, *, expected: float, value: float) -> None:
        """Takes in how good (0..1) one answer was; `kind` None is foreign."""
        at = -1 if kind is None else kind
        self._weight[at] *= self._forgetting
        self._surprise[at] *= self._forgetting
        self._weight[at, arm] += 1.0
        self._surprise[at, arm] += value if kind is None else value - expected

    def corrected(self, kind: int | None, good: Doubles) -> Doubles:
        """The chances of a good answer (K arms), as corrected by what came back."""
        if kind is not None:
            found = good + self._surprise[kind] / (self._weight[kind] + PRIOR_LABELS)
            return _bounded(found)
        start = np.full(len(good), self._start(good) - DOUBT)
        start[self._best] += DOUBT
        prior = FOREIGN_PRIOR_LABELS
        found = (self._surprise[-1] + prior * start) / (self._weight[-1] + prior)
        return _bounded(found)

    def spread(self, kind: int | None, good: Doubles) -> Doubles:
        """The standard deviation of each corrected chance."""
        weight = self._weight[-1] + FOREIGN_PRIOR_LABELS
        if kind is not None:
            weight = self._weight[kind] + PRIOR_LABELS
        chance = self.corrected(kind, good)
        variance: Doubles = np.maximum(chance * (1 - chance), 0.01) / (weight + 1)
        return variance**0.5

    def drawn(self, kind: int | None, good: Doubles, rng: np.random.Generator) -> Doubles:
        """One draw from the posterior: the arm that looks best in it is worth a try."""
        return self.corrected(kind, good) + rng.standard_normal(len(good)) * self.spread(kind, good)

    def _start(self, good: Doubles) -> float:
        weight, value = self._weight[-1, self._best], self._surprise[-1, self._best]
        prior = FOREIGN_PRIOR_LABELS
        mean = float((value + prior * float(good[self._best])) / (weight + prior))
        assert math.isfinite(mean)
        return mean


def _bounded(chances: Doubles) -> Doubles:
    found: Doubles = np.clip(chances, 0.0, 1.0)
    return found
