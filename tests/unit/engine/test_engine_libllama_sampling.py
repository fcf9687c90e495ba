"""How tokens are chosen from rows of logits, and guessed from what was written before."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from haneul.engine.libllama.lookup import REST, Lookup
from haneul.engine.libllama.pace import Pace
from haneul.engine.libllama.sampling import Chooser, likeliest
from haneul.engine.worker.job import Job

rows = st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=60).map(
    lambda values: np.array(values, np.float32)
)


def chooser(size, prompt=(), ends=(), **fields):
    job = Job(prompt="", seed=fields.pop("seed", 1), **fields)
    return Chooser(job, list(prompt), frozenset(ends), size)


@given(rows, st.integers(0, 70))
def test_the_likeliest_are_the_largest_in_order(row, most):
    found = list(likeliest(row, most))
    assert found == sorted(range(len(row)), key=lambda token: (-row[token], token))[:most]


@settings(deadline=None)
@given(rows, st.integers(0, 60), st.floats(0.05, 1), st.floats(0, 1), st.floats(0.1, 3))
def test_draws_stay_within_top_k_top_p_and_min_p(row, top_k, top_p, min_p, temperature):
    one = chooser(len(row), top_k=top_k, top_p=top_p, min_p=min_p, temperature=temperature)
    order = likeliest(row, top_k or len(row))
    shares = np.exp(row[order].astype(float) - row.max())
    before = np.concatenate([[0.0], np.cumsum(shares / shares.sum())[:-1]])
    allowed = {
        int(token)
        for token, share, sum_before in zip(order, shares, before, strict=True)
        if (sum_before < top_p + 1e-9 and share >= min_p * (1 - 1e-6)) or token == order[0]
    }
    assert {one.next(row.copy()) for _ in range(20)} <= allowed


def test_draws_are_as_frequent_as_they_are_likely():
    row = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    one = chooser(4, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)
    seen = np.bincount([one.next(row.copy()) for _ in range(8000)], minlength=4) / 8000
    assert abs(seen - np.exp(row)).max() < 0.02
    cold = chooser(4, temperature=0.5, top_k=0, top_p=1.0, min_p=0.0)
    seen = np.bincount([cold.next(row.copy()) for _ in range(8000)], minlength=4) / 8000
    squared = np.exp(2 * row) / np.exp(2 * row).sum()
    assert abs(seen - squared).max() < 0.02


def test_the_penalties_look_back_so_far_and_no_further():
    one = chooser(4, prompt=[0, 1, 1], temperature=0, penalty_tokens=2, frequency_penalty=1.0)
    row = np.array([1.0, 2.5, 0.0, 0.0], np.float32)
    assert one.next(row.copy()) == 0  # token 1 was there twice, token 0 too long ago
    one.accept(2)
    assert one.next(row.copy()) == 1


def test_repeat_penalty_divides_what_is_positive_and_multiplies_what_is_not():
    one = chooser(3, prompt=[0, 1], temperature=0, repeat_penalty=2.0)
    row = np.array([4.0, -1.0, -9.0], np.float32)
    one.next(row)
    assert row.tolist() == [2.0, -2.0, -9.0]


def test_ends_are_banned_on_wish():
    row = np.array([9.0, 1.0], np.float32)
    assert chooser(2, ends=[0], temperature=0).next(row.copy()) == 0
    assert chooser(2, ends=[0], temperature=0, ignores_end=True).next(row.copy()) == 1
    banned = chooser(2, temperature=1.0, biases=[(0, -math.inf)])
    assert {banned.next(row.copy()) for _ in range(20)} == {1}


def quick():
    return Pace(fixed_s=0.01, token_s=0.0005)


def test_a_repeated_text_is_guessed():
    text = list(range(100, 140))
    guess = Lookup().guess([*text, 7, *text[:10]], pace=quick(), sharers=1, most=99)
    assert guess
    assert guess == text[10 : 10 + len(guess)]


def test_nothing_is_guessed_of_a_new_text_or_when_it_does_not_pay():
    text = list(range(40))
    assert Lookup().guess(text, pace=quick(), sharers=1, most=9) == []
    again = [*text, *text[:10]]
    dear = Pace(fixed_s=0.001, token_s=0.01)
    assert Lookup().guess(again, pace=dear, sharers=1, most=9) == []
    assert Lookup().guess(again, pace=quick(), sharers=500, most=9) == []


def test_guesses_grow_with_success_and_stop_after_failures():
    text = list(range(100, 200))
    tokens = [*text, 7, *text[:40]]
    good, bad = Lookup(), Lookup()
    first = len(good.guess(tokens, pace=quick(), sharers=1, most=99))
    for _ in range(6):
        good.learn(8, 8, len(tokens))
        bad.learn(8, 0, len(tokens))
    assert len(good.guess(tokens, pace=quick(), sharers=1, most=99)) > first
    assert bad.guess(tokens, pace=quick(), sharers=1, most=99) == []
    later = [*tokens, *text[40 : 40 + REST]]
    assert bad.guess(later, pace=quick(), sharers=1, most=99)


def test_a_copy_with_words_replaced_takes_far_fewer_steps_than_tokens():
    source = list(range(1000, 1400))
    copy = [token if place % 11 else 7 + place for place, token in enumerate(source)]
    tokens, lookup, steps = [*source, *copy[:4]], Lookup(), 0
    while len(tokens) < len(source) + len(copy):
        guess = lookup.guess(tokens, pace=quick(), sharers=1, most=64)
        true = [*copy, 0][len(tokens) - len(source) :]
        came = next((n for n, one in enumerate(guess) if one != true[n]), len(guess))
        tokens += true[: came + 1]
        if guess:
            lookup.learn(len(guess), came, len(tokens))
        steps += 1
    assert steps < len(copy) / 4
