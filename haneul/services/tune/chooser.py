"""Which of the measured setups to take: the default unless another one is better beyond doubt.

A setup is better when its gain exceeds both MARGIN and the noise that was seen, and never when any
figure of the purpose is below the default's. Other weights count only within the loss of quality
that is allowed, at the cautious end of its interval; so do coarser keys and values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Literal

from msgspec import Struct

from haneul.services.tune.setup import Setup, show

MARGIN = 0.05  # of the default's speed: less is not worth a change
LOSS_MAX = 0.01  # of perplexity, for weights in another format

Purpose = Literal["single", "many", "both"]
PURPOSES: tuple[Purpose, ...] = ("single", "many", "both")
PURPOSE_WORDS: dict[Purpose, str] = {
    "single": "one stream",
    "many": "several streams",
    "both": "one and several streams",
}


class Sample(Struct, frozen=True, kw_only=True):
    """One round: tokens per second and seconds to the first token."""

    single: float  # one stream
    long: float  # one stream behind a long text that is in memory
    together: float  # several, with prompts of their own
    shared: float  # several, whose prompts begin alike
    ttft_s: float
    together_ttft_s: float  # median of the several


class Loss(Struct, frozen=True):
    """How much higher the perplexity is than the unchanged file's, as a share; 80 % interval."""

    low: float
    mid: float
    high: float
    tokens: int  # it was measured on


class Trial(Struct, frozen=True, kw_only=True):
    """What is known of one setup."""

    setup: Setup
    began_us: int
    kernel: str = ""
    samples: tuple[Sample, ...] = ()
    memory_bytes: int | None = None
    loss: Loss | None = None  # None: the weights are the file's own, or it was not measured
    lost: str = ""  # why it cannot be used

    @property
    def is_measured(self) -> bool:
        return bool(self.samples) and not self.lost


class Choice(Struct, frozen=True):
    """The setup to take and why, in words."""

    trial: Trial
    gain: float  # over the default, as a share; 0 for the default itself
    why: str


def score(trial: Trial, purpose: Purpose) -> float:
    """One number to compare setups by, tokens per second: the median of the rounds.

    One stream is judged by the geometric mean of a short prompt and a long text, several by that of
    prompts of their own and prompts that begin alike; both purposes by that of the two.
    """
    return median(_score(sample, purpose) for sample in trial.samples)


def noise(trial: Trial, purpose: Purpose) -> float:
    """Half the range of the rounds over their median; 0 for a single round."""
    values = [_score(sample, purpose) for sample in trial.samples]
    return (max(values) - min(values)) / 2 / median(values)


def is_allowed(trial: Trial, loss_max: float) -> bool:
    """Whether the setup may be chosen at all."""
    if not trial.is_measured:
        return False
    return not trial.setup.is_lossy or (trial.loss is not None and trial.loss.high <= loss_max)


def choose(
    default: Trial, others: Sequence[Trial], purpose: Purpose, *, loss_max: float = LOSS_MAX
) -> Choice:
    """The best setup for a purpose; the default unless another is better beyond doubt."""
    best = Choice(default, 0.0, _kept(default, others, purpose, loss_max))
    if not default.is_measured:
        return best
    for trial in others:
        if not is_allowed(trial, loss_max) or _loses_somewhere(default, trial, purpose):
            continue
        gain = score(trial, purpose) / score(default, purpose) - 1
        doubt = max(MARGIN, noise(default, purpose), noise(trial, purpose))
        if gain > max(doubt, best.gain):
            best = Choice(trial, gain, _taken(trial, gain, doubt, purpose))
    return best


def _loses_somewhere(default: Trial, trial: Trial, purpose: Purpose) -> bool:
    parts: tuple[Purpose, ...] = ("single", "many") if purpose == "both" else (purpose,)
    return any(score(trial, part) < score(default, part) for part in parts)


def _score(sample: Sample, purpose: Purpose) -> float:
    single = math.sqrt(sample.single * sample.long)
    many = math.sqrt(sample.together * sample.shared)
    if purpose == "single":
        return single
    return many if purpose == "many" else math.sqrt(single * many)


def _taken(trial: Trial, gain: float, doubt: float, purpose: Purpose) -> str:
    loss = f"; perplexity {trial.loss.mid:+.2%}" if trial.loss else ""
    words = f"{gain:+.0%} for {PURPOSE_WORDS[purpose]}, beyond a doubt of {doubt:.0%}{loss}"
    return f"{show(trial.setup)}: {words}"


def _kept(default: Trial, others: Sequence[Trial], purpose: Purpose, loss_max: float) -> str:
    words = f"the default is kept for {PURPOSE_WORDS[purpose]}"
    if not default.is_measured:
        return f"{words}: it could not be measured ({default.lost or 'no round'})"
    measured = [trial for trial in others if trial.is_measured]
    if not measured:
        return f"{words}: nothing else could be measured"
    best = max(measured, key=lambda trial: score(trial, purpose))
    gain = score(best, purpose) / score(default, purpose) - 1
    nearest = f"the fastest other, {show(best.setup)}, had {gain:+.0%}"
    if not is_allowed(best, loss_max):
        loss = f"{best.loss.mid:+.2%} of perplexity" if best.loss else "an unknown loss of quality"
        return f"{words}: {nearest}, at {loss}"
    doubt = max(MARGIN, noise(default, purpose), noise(best, purpose))
    return f"{words}: {nearest}, within the doubt of {doubt:.0%} or slower in a part of it"
