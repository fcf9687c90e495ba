"""Who stays in a search, how large its load is, and the text that its prompts are cut from."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from haneul.services.tune import race
from haneul.services.tune.chooser import PURPOSES, Sample, Trial, score
from haneul.services.tune.load import BATCH_GAIN, LENGTHS, SIZES, STRETCH, Load, fitted
from haneul.services.tune.setup import Setup
from haneul.services.tune.text import TEXT, fresh_words

rates = st.floats(1, 1000)
samples = st.builds(
    Sample,
    single=rates,
    long=rates,
    together=rates,
    shared=rates,
    ttft_s=rates,
    together_ttft_s=rates,
)
setups = st.builds(
    Setup,
    kernel=st.sampled_from(["libllama", "openvino"]),
    threads=st.integers(0, 3),
    weights=st.sampled_from(["", "", "Q4_0"]),
)
trials = st.lists(
    st.builds(
        Trial,
        setup=setups,
        began_us=st.just(1),
        samples=st.lists(samples, max_size=3).map(tuple),
        lost=st.sampled_from(["", "", "", "killed by SIGILL"]),
    ),
    max_size=8,
    unique_by=lambda trial: trial.setup.key,
)
purposes = st.lists(st.sampled_from(PURPOSES), min_size=1, max_size=3, unique=True)


def trial(name, single, many, *, rounds=1):
    sample = Sample(
        single=single, long=single, together=many, shared=many, ttft_s=0.1, together_ttft_s=0.2
    )
    return Trial(setup=Setup(kernel=name), began_us=1, samples=(sample,) * rounds)


@given(trials, purposes)
def test_the_best_of_each_purpose_always_races_on_and_the_lost_never(known, wanted):
    racing = race.contenders(known, wanted)
    assert all(one.is_measured for one in racing)
    exact = [one for one in known if one.is_measured and not one.setup.is_lossy]
    for purpose in wanted:
        if exact:
            best = max(score(one, purpose) for one in exact)
            assert best in [score(one, purpose) for one in racing if not one.setup.is_lossy]


@given(trials, purposes)
def test_who_left_the_race_is_clearly_slower_at_everything(known, wanted):
    racing = race.contenders(known, wanted)
    for one in known:
        if not one.is_measured or one in racing:
            continue
        for purpose in wanted:
            best = max(score(other, purpose) for other in racing)
            assert score(one, purpose) < race.NEAR[-1] * best


def test_coarser_numbers_race_beside_the_exact_ones_and_not_instead():
    exact = trial("openvino", 50, 100)
    coarse = Trial(
        setup=Setup(kernel="openvino", weights="Q4_0"),
        began_us=1,
        samples=trial("x", 90, 200).samples,
    )
    assert race.contenders([exact, coarse], ["many"]) == [exact, coarse]


def test_a_race_ends_when_each_purpose_has_one_that_leads_in_two_rounds():
    alone, several, slow = (
        trial("a", 100, 50),
        trial("b", 50, 100),
        trial("c", 40, 40),
    )
    wanted = ("single", "many")
    assert race.contenders([alone, several, slow], wanted) == [alone, several]
    assert not race.is_decided([alone, several, slow], wanted)
    twice = [trial("a", 100, 50, rounds=2), trial("b", 50, 100, rounds=2), slow]
    assert race.is_decided(twice, wanted)
    assert not race.is_decided([*twice, trial("d", 95, 50, rounds=2)], wanted)


@given(together=rates, shared=rates, known=st.lists(samples, min_size=1, max_size=4))
def test_a_first_round_is_given_up_only_where_several_streams_are_hopeless(together, shared, known):
    load = Load()
    best = max((one.together * one.shared) ** 0.5 for one in known)
    reached = (together * shared) ** 0.5 / best
    assume(abs(reached - race.HOPELESS) > 1e-9)
    took_s = load.streams * load.shared_answer_tokens / shared
    is_over = took_s > race.shared_limit_s(load, together, known)
    assert is_over == (reached < race.HOPELESS)


def test_nothing_is_given_up_before_anything_is_known():
    assert race.together_limit_s(Load(), []) is None
    assert race.shared_limit_s(Load(), 10.0, []) is None
    assert not race.is_hopeless_alone(0.1, [])


def test_who_is_slow_alone_may_still_be_the_best_for_several():
    known = trial("a", 130, 100).samples
    assert race.is_hopeless_alone(50, known)
    assert not race.is_hopeless_alone(100, known)
    load = Load()
    assert load.streams * load.answer_tokens / race.together_limit_s(load, known) < 60


paces = st.floats(1e-5, 2.0)


@given(word_s=paces, step_s=paces, room=st.integers(20, 10_000), round_s=st.floats(1, 60))
def test_a_load_fits_into_the_time_or_is_the_least_and_never_beyond_the_context(
    word_s, step_s, room, round_s
):
    load = fitted(word_s=word_s, step_s=step_s, words_room=room, round_s=round_s)
    expected_s = word_s * load.read_words + step_s * load.decode_steps(BATCH_GAIN)
    least = Load().shortened(LENGTHS[-1]).sized(*SIZES[-1])
    assert load.prompt_words_most <= max(room, least.prompt_words_most)
    assert expected_s <= STRETCH * round_s or load == least


@given(word_s=st.floats(1e-4, 0.01), step_s=st.floats(0.001, 0.1))
def test_fewer_streams_and_shorter_answers_are_asked_for_before_shorter_prompts(word_s, step_s):
    load = fitted(word_s=word_s, step_s=step_s, words_room=2000, round_s=12)
    if load.prompt_words < Load().prompt_words:
        least = Load().sized(*SIZES[-1])
        expected_s = word_s * least.read_words + step_s * least.decode_steps(BATCH_GAIN)
        assert expected_s > STRETCH * 12


@given(st.integers(1, 600))
def test_a_prompt_has_so_many_words_of_the_text_and_is_never_the_same_twice(count):
    prompt = fresh_words(count)
    assert len(prompt.split()) == count
    assert set(prompt.split()) <= set(TEXT.split())
    assert count < 40 or prompt != fresh_words(count)
