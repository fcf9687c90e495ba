"""How the next token is chosen from a row of logits, in llama.cpp's order of samplers.

Biases, penalties, grammar, then greedy or: top-k, top-p, min-p, temperature, one draw. Each answer
has a random stream of its own; the same seed gives the same draws wherever the logits are the same.

Order: common/sampling.cpp of llama.cpp, build 11549.
"""

from __future__ import annotations

import math
import secrets
from collections import Counter, deque
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from haneul.engine.kernel import Scored, ScoredToken
from haneul.engine.libllama.vocabulary import Vocabulary
from haneul.engine.worker.job import Job

LEAST_LOGPROB = -9999.0  # OpenAI's word for "impossible"
_NEAR = 12.0  # logits below the best that far are rarely among the top k; if so, all are sorted
Row = NDArray[np.float32]
Allowed = NDArray[np.bool_]


class Grammar(Protocol):
    """What a constraint says of the next token."""

    def allowed(self) -> Allowed | None:
        """Which tokens may come; None: all."""
        ...


class Chooser:
    """One answer's way to choose. It may write into the rows it is given."""

    def __init__(self, job: Job, prompt: list[int], ends: frozenset[int], size: int) -> None:
        self._temperature = job.temperature
        self._top_k = job.top_k if 0 < job.top_k < size else size
        self._top_p = job.top_p
        self._min_p = job.min_p
        biases = {token: bias for token, bias in job.biases if 0 <= token < size}
        if job.ignores_end:
            biases |= dict.fromkeys(ends, -math.inf)
        self._biased = np.array(list(biases), np.int64)
        self._biases = np.array(list(biases.values()), np.float32)
        self._repeat = job.repeat_penalty
        self._presence = job.presence_penalty
        self._frequency = job.frequency_penalty
        self._window: deque[int] | None = None
        if self._repeat != 1.0 or self._presence or self._frequency:
            back = job.penalty_tokens if job.penalty_tokens >= 0 else None
            self._window = deque(prompt, maxlen=back)
            self._counts = Counter(self._window)
        seed = job.seed if job.seed is not None else secrets.randbits(32)
        self._random = np.random.default_rng(seed)

    @property
    def is_plain(self) -> bool:
        """Whether the best logit as it stands is the next token."""
        return self._temperature <= 0 and not len(self._biased) and self._window is None

    def next(self, row: Row, grammar: Grammar | None = None) -> int:
        """The token chosen from a row; `accept` it when it is taken."""
        if len(self._biased):
            row[self._biased] += self._biases
        if self._window:
            self._penalise(row)
        allowed = grammar.allowed() if grammar else None
        if allowed is not None:
            row[~allowed[: len(row)]] = -np.inf
        if self._temperature <= 0:
            return int(row.argmax())
        return self._draw(row)

    def accept(self, token: int) -> None:
        """Takes note of a token that was taken, for the penalties."""
        if self._window is None or self._window.maxlen == 0:
            return
        if len(self._window) == self._window.maxlen:
            gone = self._window[0]
            self._counts[gone] -= 1
            if not self._counts[gone]:
                del self._counts[gone]
        self._window.append(token)
        self._counts[token] += 1

    def _penalise(self, row: Row) -> None:
        tokens = np.fromiter(self._counts.keys(), np.int64, len(self._counts))
        counts = np.fromiter(self._counts.values(), np.float32, len(self._counts))
        logits = row[tokens]
        logits = np.where(logits <= 0, logits * self._repeat, logits / self._repeat)
        row[tokens] = logits - counts * self._frequency - self._presence

    def _draw(self, row: Row) -> int:
        tokens = likeliest(row, self._top_k)
        logits = row[tokens].astype(np.float64)
        if logits[0] == -np.inf:
            return int(tokens[0])
        if self._top_p < 1.0:
            shares = np.exp(logits - logits[0])
            sums = np.cumsum(shares / shares.sum())
            kept = int(np.searchsorted(sums, self._top_p)) + 1
            tokens, logits = tokens[:kept], logits[:kept]
        if self._min_p > 0:
            kept = int(np.count_nonzero(logits >= logits[0] + math.log(self._min_p)))
            tokens, logits = tokens[: max(1, kept)], logits[: max(1, kept)]
        sums = np.cumsum(np.exp((logits - logits[0]) / self._temperature))
        place = int(np.searchsorted(sums, self._random.random() * sums[-1], side="right"))
        return int(tokens[min(place, len(tokens) - 1)])


def likeliest(row: Row, most: int) -> NDArray[np.int64]:
    """The tokens of the largest logits, best first; of equals the lower number first."""
    if not most:
        return np.empty(0, np.int64)
    near = np.flatnonzero(row >= row.max() - _NEAR)
    if len(near) < most:
        if most >= len(row):
            return np.argsort(-row, kind="stable")
        near = np.flatnonzero(row >= np.partition(row, len(row) - most)[len(row) - most])
    return near[np.argsort(-row[near], kind="stable")][:most]


def score(row: Row, token: int, most: int, vocabulary: Vocabulary) -> ScoredToken:
    """The log-probability of a token and of the `most` likeliest, before sampling changes them."""
    best = float(row.max())
    whole = best + math.log(float(np.exp(row - best).sum()))
    top = likeliest(row, most)
    mine = _scored(token, float(row[token]) - whole, vocabulary)
    return ScoredToken(
        token=mine.token,
        bytes=mine.bytes,
        logprob=mine.logprob,
        top_logprobs=[_scored(int(one), float(row[one]) - whole, vocabulary) for one in top],
    )


def _scored(token: int, logprob: float, vocabulary: Vocabulary) -> Scored:
    data = vocabulary.special(token)
    return Scored(
        token=data.decode(errors="replace"),
        bytes=list(data),
        logprob=max(logprob, LEAST_LOGPROB),
    )
