"""Who is measured on: what is clearly worse for one stream and for several leaves the race early.

Racing, as Hoeffding races and irace do it: all run the same requests in turns, and after each round
only those go on that are near the best of some purpose. A first round is left in its middle, once
it has taken so long that its setup can win nothing any more ("capping").
"""

from __future__ import annotations

from collections.abc import Sequence

from haneul.services.tune.chooser import Purpose, Sample, Trial, score
from haneul.services.tune.load import Load

ROUNDS = 3
NEAR = (0.8, 0.9)  # of the best score, to stay after one round, after two
HOPELESS = 0.75  # of the best score for several streams, below which a first round is given up
HOPELESS_PART = HOPELESS**2  # the same of one of a purpose's two parts: the other may make up


def contenders(trials: Sequence[Trial], purposes: Sequence[Purpose]) -> list[Trial]:
    """Those that could be the best for a purpose by what is known of them.

    Coarser numbers are faster and may be forbidden later: they race beside the others, not instead.
    """
    measured = [trial for trial in trials if trial.is_measured]
    found: dict[str, Trial] = {}
    for purpose in purposes:
        exact = [trial for trial in measured if not trial.setup.is_lossy]
        for field in (exact, measured):
            found |= {trial.setup.key: trial for trial in _near(field, purpose)}
    return list(found.values())


def is_decided(trials: Sequence[Trial], purposes: Sequence[Purpose]) -> bool:
    """Whether nobody is near the best one of each purpose, which had a second round."""
    for purpose in purposes:
        racing = contenders(trials, [purpose])
        if len(racing) > 1 or any(len(trial.samples) < 2 for trial in racing):
            return False
    return True


def is_hopeless_alone(single: float, known: Sequence[Sample]) -> bool:
    """Whether one stream was so slow that only several can still speak for the setup."""
    return single < HOPELESS_PART * max((sample.single for sample in known), default=0.0)


def together_limit_s(load: Load, known: Sequence[Sample]) -> float | None:
    """Seconds after which several streams with prompts of their own are hopelessly slow."""
    best = max((sample.together for sample in known), default=0.0)
    return load.streams * load.answer_tokens / (HOPELESS_PART * best) if best else None


def shared_limit_s(load: Load, together: float, known: Sequence[Sample]) -> float | None:
    """Seconds after which several streams behind a shared beginning can make up no more."""
    best = max((sample.together * sample.shared for sample in known), default=0.0)
    if not best:
        return None
    least = HOPELESS**2 * best / together  # so that the geometric mean is HOPELESS of the best
    return load.streams * load.shared_answer_tokens / least


def _near(trials: Sequence[Trial], purpose: Purpose) -> list[Trial]:
    if not trials:
        return []
    best = max(trials, key=lambda trial: score(trial, purpose))
    return [
        trial
        for trial in trials
        if score(trial, purpose)
        >= NEAR[min(len(NEAR), len(trial.samples), len(best.samples)) - 1] * score(best, purpose)
    ]
