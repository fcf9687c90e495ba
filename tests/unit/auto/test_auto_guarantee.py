"""A promise about quality: seldom given where it would be broken, given where it holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.auto.guarantee import certify, evidence_against, last_shown
from haneul.base.errors import BadRequest
from tests.unit.auto.made_up import outcomes


@given(st.lists(st.floats(-1, 1), max_size=60), st.floats(0.001, 0.2))
def test_evidence_is_a_probability(losses, alpha):
    assert 0 < evidence_against(np.array(losses), alpha) <= 1


def test_a_loss_just_beyond_the_bound_is_seldom_taken_to_be_within():
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(400):
        losses = rng.choice([-1.0, 0.0, 1.0], 500, p=[0.08, 0.8, 0.12])  # mean 0.04
        wrong += evidence_against(losses, 0.04) <= 0.05
    assert wrong <= 32  # of 20 expected at most, three standard errors above


def test_no_loss_at_all_is_shown_by_enough_prompts():
    assert evidence_against(np.zeros(1500), 0.02) < 0.05
    assert evidence_against(np.zeros(20), 0.02) > 0.05


def test_testing_stops_at_the_first_that_is_not_shown():
    fine, bad = np.zeros(2000), np.ones(2000)
    assert last_shown([fine, fine, bad, fine], alpha=0.02, delta=0.05) == 1
    assert last_shown([bad, fine], alpha=0.02, delta=0.05) is None


def test_a_policy_carries_what_was_shown_and_when(policy):
    sure = certify(policy, outcomes(1000, seed=6), alpha=0.08, date="2026-11-22").guarantee
    assert sure is not None
    assert (sure.prompts, sure.alpha, sure.delta, sure.date) == (1000, 0.08, 0.05, "2026-11-22")
    assert sure.price > 0


def test_too_small_a_log_shows_nothing(policy):
    assert certify(policy, outcomes(40, seed=7), alpha=0.001).guarantee is None


@pytest.mark.parametrize("alpha", [0.02, 0.1])
def test_a_looser_promise_allows_at_least_as_cheap_a_policy(policy, alpha):
    log = outcomes(1500, seed=8)
    strict, loose = (certify(policy, log, alpha=one).guarantee for one in (alpha / 2, alpha))
    assert loose is not None
    assert strict is None or strict.price <= loose.price


def test_a_log_of_other_models_shows_nothing_of_this_policy(policy):
    log = outcomes(100, seed=9)
    for names in (["dear", "other", "cheap"], ["cheap", "dear"]):
        with pytest.raises(BadRequest, match="other models"):
            certify(policy, log.pool(names), alpha=0.08)
