"""What feedback changes, what it forgets; when traffic counts as turned."""

from __future__ import annotations

import numpy as np
import pytest

from haneul.auto.familiar import CAUTION, CAUTION_SHIFTED, Watch
from haneul.auto.feedback import Feedback

GOOD = np.array([0.6, 0.7, 0.8])


def test_without_feedback_a_known_kind_keeps_its_estimate():
    assert Feedback(tasks=2, arms=3, best=2).corrected(0, GOOD) == pytest.approx(GOOD)


def test_feedback_moves_one_arm_of_one_kind():
    feedback = Feedback(tasks=2, arms=3, best=2)
    for _ in range(50):
        feedback.learn(0, 0, expected=0.6, value=1.0)
    corrected = feedback.corrected(0, GOOD)
    assert corrected[0] > corrected[2]
    assert corrected[1:] == pytest.approx(GOOD[1:])
    assert feedback.corrected(1, GOOD) == pytest.approx(GOOD)


def test_what_was_true_long_ago_is_forgotten():
    feedback = Feedback(tasks=1, arms=3, best=2)
    for value in [1.0] * 500 + [0.0] * 2500:
        feedback.learn(0, 0, expected=0.6, value=value)
    assert feedback.corrected(0, GOOD)[0] < 0.1


def test_foreign_prompts_start_with_the_best_fixed_model_and_learn_away_from_it():
    feedback = Feedback(tasks=1, arms=3, best=2)
    assert int(np.argmax(feedback.corrected(None, GOOD))) == 2
    for _ in range(60):
        feedback.learn(None, 2, expected=0.8, value=0.0)
        feedback.learn(None, 1, expected=0.7, value=1.0)
    assert int(np.argmax(feedback.corrected(None, GOOD))) == 1


def test_draws_narrow_with_feedback():
    feedback = Feedback(tasks=1, arms=3, best=2)
    before = feedback.spread(0, GOOD)[0]
    for _ in range(100):
        feedback.learn(0, 0, expected=0.6, value=0.6)
    assert feedback.spread(0, GOOD)[0] < 0.6 * before
    drawn = feedback.drawn(0, GOOD, np.random.default_rng(0))
    assert drawn.shape == GOOD.shape


def test_like_traffic_leaves_the_watch_calm_and_other_traffic_does_not():
    calm, turned = Watch(), Watch()
    rng = np.random.default_rng(1)
    assert {calm.caution(float(one)) for one in rng.random(300)} == {CAUTION}
    said = [turned.caution(float(one)) for one in 0.15 * rng.random(300)]
    assert said[0] == CAUTION
    assert said[-1] == CAUTION_SHIFTED
    back = [turned.caution(0.8) for _ in range(200)]
    assert back[-1] == CAUTION
