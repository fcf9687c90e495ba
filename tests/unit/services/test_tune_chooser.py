"""The choice among measured setups: never a worse one, never within the noise, never in silence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from haneul.services.tune.chooser import (
    LOSS_MAX,
    MARGIN,
    PURPOSES,
    Loss,
    Sample,
    Trial,
    choose,
    noise,
    score,
)
from haneul.services.tune.setup import Setup

rates = st.floats(0.1, 10_000)
samples = st.builds(
    Sample,
    single=rates,
    long=rates,
    together=rates,
    shared=rates,
    ttft_s=rates,
    together_ttft_s=rates,
)
losses = st.builds(
    lambda mid, width: Loss(mid - width, mid, mid + width, 100),
    st.floats(-0.05, 0.2),
    st.floats(0, 0.05),
)
setups = st.builds(
    Setup,
    kernel=st.sampled_from(["libllama", "openvino", "llama-server"]),
    threads=st.integers(0, 4),
    weights=st.sampled_from(["", "Q4_0", "Q8_0"]),
)
trials = st.builds(
    Trial,
    setup=setups,
    began_us=st.just(1),
    samples=st.lists(samples, max_size=3).map(tuple),
    loss=st.none() | losses,
    lost=st.sampled_from(["", "", "", "killed by SIGILL"]),
)
defaults = st.builds(
    Trial,
    setup=st.just(Setup()),
    began_us=st.just(0),
    samples=st.lists(samples, max_size=3).map(tuple),
)
purposes = st.sampled_from(PURPOSES)


def trial(single, together, *, shared=None, long=None, rounds=3, setup=None, **fields):
    sample = Sample(
        single=single,
        long=single if long is None else long,
        together=together,
        shared=together if shared is None else shared,
        ttft_s=0.1,
        together_ttft_s=0.2,
    )
    return Trial(
        setup=setup or Setup(kernel="libllama"), began_us=1, samples=(sample,) * rounds, **fields
    )


DEFAULT = replace(trial(100, 200), setup=Setup())


@given(defaults, st.lists(trials, max_size=6), purposes)
def test_nothing_measured_worse_than_the_default_is_ever_chosen(default, others, purpose):
    chosen = choose(default, others, purpose).trial
    if chosen is default:
        return
    parts = ("single", "many", "both") if purpose == "both" else (purpose,)
    assert all(score(chosen, part) >= score(default, part) for part in parts)


@given(defaults, st.lists(trials, max_size=6), purposes)
def test_a_gain_within_the_margin_or_the_noise_changes_nothing(default, others, purpose):
    choice = choose(default, others, purpose)
    if choice.trial is not default:
        doubt = max(MARGIN, noise(default, purpose), noise(choice.trial, purpose))
        assert choice.gain > doubt


@given(defaults, st.lists(trials, max_size=6), purposes)
def test_what_was_lost_or_costs_quality_is_never_chosen(default, others, purpose):
    chosen = choose(default, others, purpose).trial
    assert not chosen.lost
    if chosen.setup.weights:
        assert chosen.loss is not None
        assert chosen.loss.high <= LOSS_MAX


@given(defaults, st.lists(trials, max_size=6), purposes)
def test_it_says_what_it_chose_and_why(default, others, purpose):
    choice = choose(default, others, purpose)
    assert ("the default is kept" in choice.why) == (choice.trial is default)


def test_the_faster_setup_is_chosen_for_what_it_is_faster_at():
    alone = trial(130, 150)
    several = trial(70, 600, setup=Setup(kernel="openvino"))
    others = [alone, several]
    assert choose(DEFAULT, others, "single").trial is alone
    assert choose(DEFAULT, others, "many").trial is several
    assert choose(DEFAULT, others, "both").trial is DEFAULT
    better = trial(101, 300, setup=Setup(threads=1))
    assert choose(DEFAULT, [*others, better], "both").trial is better


def test_what_is_slow_behind_a_long_text_is_not_the_best_for_one_stream():
    steady = trial(120, 200, long=110, setup=Setup(options={"flash": False}))
    short_winded = trial(140, 200, long=40, setup=Setup(options={"memory": "hall"}))
    assert choose(DEFAULT, [short_winded, steady], "single").trial is steady


def test_other_weights_count_only_with_a_known_small_loss_at_its_cautious_end():
    fast = trial(300, 900, setup=Setup(weights="Q8_0"))
    assert choose(DEFAULT, [fast], "both").trial is DEFAULT
    assert "unknown loss of quality" in choose(DEFAULT, [fast], "both").why
    lossy = replace(fast, loss=Loss(0.001, 0.008, 0.015, 500))
    kept = choose(DEFAULT, [lossy], "both")
    assert kept.trial is DEFAULT
    assert "+0.80% of perplexity" in kept.why
    assert choose(DEFAULT, [lossy], "both", loss_max=0.02).trial is lossy
    fine = replace(fast, loss=Loss(-0.001, 0.001, 0.003, 500))
    chosen = choose(DEFAULT, [fine], "both")
    assert chosen.trial is fine
    assert "perplexity +0.10%" in chosen.why


def test_a_default_that_could_not_be_measured_is_kept_and_says_so():
    lost = replace(DEFAULT, samples=(), lost="exit code 4")
    assert "exit code 4" in choose(lost, [trial(500, 500)], "both").why
