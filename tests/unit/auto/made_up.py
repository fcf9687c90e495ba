"""A log of outcomes made up by a known rule."""

from __future__ import annotations

import numpy as np

from haneul.auto.outcomes import Outcomes

SUMS = "Question {}: what is {} + {} * {}?\nGive the number alone."
STORIES = "Tell a short story about {} and {} who meet near {}."
PLACES = ["a harbour", "the old mill", "a quiet library", "the night train", "a glacier"]
PEOPLE = ["a painter", "the baker", "two sisters", "a lost robot", "the clockmaker", "a diver"]


def outcomes(count: int, *, seed: int) -> Outcomes:
    """Sums and stories by turns; "cheap" is as good as "dear" at stories alone.

    "other" is cheap too and errs apart from it, so that where both agree they are mostly right.
    """
    rng = np.random.default_rng(seed)
    prompts, tasks = [], []
    for at in range(count):
        if at % 2:
            people = rng.choice(PEOPLE, 2)
            prompts.append(STORIES.format(*people, rng.choice(PLACES)))
        else:
            prompts.append(SUMS.format(*rng.integers(2, 999, 4)))
        tasks.append("story" if at % 2 else "sum")
    is_story = np.arange(count) % 2 == 1
    chances = np.stack(
        (np.where(is_story, 0.9, 0.3), np.where(is_story, 0.8, 0.3), np.full(count, 0.9)), axis=1
    )
    good = (rng.random((count, 3)) < chances).astype(float)
    answers = np.where(good > 0, 0, rng.integers(1, 1000, (count, 3)))
    return Outcomes(
        models=["cheap", "other", "dear"],
        prompts=prompts,
        tasks=tasks,
        good=good,
        tokens_in=np.full(count, 20.0),
        tokens_out=np.where(is_story, 200.0, 10.0)[:, None] + rng.integers(0, 9, (count, 3)),
        usd_per_token_in=np.array([1e-7, 1e-7, 1e-5]),
        usd_per_token_out=np.array([1e-7, 1e-7, 1e-5]),
        answers=answers,
    )
