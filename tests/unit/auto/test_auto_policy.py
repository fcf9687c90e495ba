"""Which arm a policy chooses, and what it does when it does not know."""

from __future__ import annotations

import numpy as np
import pytest

from haneul.auto.policy import arms_played, choose, decide, estimates, falling, fit, price_for
from haneul.base.errors import BadRequest
from tests.unit.auto.made_up import STORIES, SUMS, outcomes

STORY = STORIES.format("the baker", "a diver", "a glacier")
SUM = SUMS.format(512, 171, 333, 888)


def asked(policy, prompt, *, price, **options):
    return decide(policy, prompt, tokens_in=20.0, price=price, **options)


def test_the_cheap_model_answers_what_it_is_good_at(policy):
    price = price_for(policy, 0.95)
    assert asked(policy, STORY, price=price).model == "cheap"
    chosen = asked(policy, SUM, price=price)
    assert "dear" in (chosen.model, chosen.dear)


def test_where_money_is_no_matter_the_best_chance_is_taken(policy):
    good, _, _ = estimates(policy, [SUM], np.array([20.0]))
    assert asked(policy, SUM, price=0.0).good == pytest.approx(good[0].max(), abs=1e-5)


def test_at_any_price_the_cheapest_arm_answers(policy):
    chosen = asked(policy, SUM, price=1e12)
    assert chosen.model in ("cheap", "other")
    assert chosen.dear is None
    assert chosen.saved_usd > 0


def test_a_target_is_kept_on_other_prompts_of_the_kind_and_saves(policy):
    other = outcomes(400, seed=2)
    truth, paid = arms_played(other, policy.pairs)
    good, costs, _ = estimates(policy, other.prompts, other.tokens_in)
    nowhere = np.zeros(400, bool)
    arms = choose(policy, good, costs, price=price_for(policy, 0.95), is_foreign=nowhere)
    rows = np.arange(400)
    best = truth[:, policy.best].mean()
    assert truth[rows, arms].mean() > 0.9 * best
    assert paid[rows, arms].mean() < 0.6 * paid[:, policy.best].mean()


def test_pairs_are_worth_more_than_their_parts_where_errors_are_apart(policy):
    assert policy.pairs
    assert {policy.models[one.dear] for one in policy.pairs} == {"dear"}


def test_what_only_an_allowed_model_may_answer_it_answers(policy):
    arms = len(policy.models) + len(policy.pairs)
    allowed = np.arange(arms) == policy.models.index("other")
    assert asked(policy, SUM, price=0.0, allowed=allowed).model == "other"
    with pytest.raises(BadRequest):
        asked(policy, SUM, price=0.0, allowed=np.zeros(arms, bool))


def test_a_prompt_unlike_the_log_goes_to_the_best_fixed_model(policy):
    foreign = "ПЕРЕВЕДИ ≈≈ ЭТОТ ТЕКСТ \\frac{∂}{∂x} ⟨ψ|H|ψ⟩ " * 20
    chosen = asked(policy, foreign, price=price_for(policy, 0.95))
    assert not chosen.is_familiar
    assert chosen.model == policy.models[policy.best]


def test_few_labels_without_signal_leave_the_means_in_charge():
    log = outcomes(60, seed=3)
    rng = np.random.default_rng(4)
    shuffled = type(log)(
        models=log.models,
        prompts=log.prompts,
        tasks=["all"] * 60,
        good=rng.permutation(log.good),
        tokens_in=log.tokens_in,
        tokens_out=log.tokens_out,
        usd_per_token_in=log.usd_per_token_in,
        usd_per_token_out=log.usd_per_token_out,
    )
    policy = fit(shuffled)
    good, _, _ = estimates(policy, log.prompts, log.tokens_in)
    assert np.abs(good - shuffled.good.mean(0)).mean() < 0.2


def test_too_few_prompts_are_refused():
    with pytest.raises(BadRequest, match="40 prompts"):
        fit(outcomes(20, seed=1))


@pytest.mark.parametrize("target", [0.0, -1.0, 2.0, float("nan")])
def test_a_target_that_is_no_share_is_refused(policy, target):
    with pytest.raises(BadRequest, match="share"):
        price_for(policy, target)


def test_a_sequence_is_levelled_so_that_it_never_rises():
    levelled = falling(np.array([1.0, 0.5, 0.9, 0.2, 0.4]))
    assert levelled == pytest.approx([1.0, 0.7, 0.7, 0.3, 0.3])
