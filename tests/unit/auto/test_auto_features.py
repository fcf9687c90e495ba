"""What a prompt looks like in numbers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haneul.auto.features import SHAPE_NAMES, TEXT_MAX, read
from haneul.auto.space import BUCKETS, embed, embed_all, fit_space

SPACE = fit_space([f"Add {at} and {at * 7}." for at in range(40)])


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400))
def test_any_text_has_features_and_a_finite_vector(text):
    features = read(text, buckets=BUCKETS)
    assert features.shape.shape == (len(SHAPE_NAMES),)
    assert np.isfinite(features.shape).all()
    assert ((features.terms >= 0) & (features.terms < 2 * BUCKETS)).all()
    vector, known = embed(SPACE, features)
    assert vector.shape == (SPACE.size,)
    assert np.isfinite(vector).all()
    assert 0 <= known <= 1


def test_half_a_surrogate_is_read_like_any_character():
    assert np.isfinite(read("a\ud800b", buckets=BUCKETS).shape).all()


def test_features_are_the_same_in_another_process():
    text = "안녕하세요 Hello, 世界! x = 42;"
    code = f"from haneul.auto.features import read; print(read({text!r}, buckets=256).terms.sum())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert int(other.stdout) == read(text, buckets=256).terms.sum()


def test_words_are_told_by_letters_not_by_case_and_numbers_by_their_length():
    def words(text):
        terms = read(text, buckets=BUCKETS).terms
        return sorted(terms[terms < BUCKETS])

    assert words("Add 12 and 34") == words("add 98 AND 76")
    assert words("add 12 and 34") != words("add 123 and 34")


@pytest.mark.parametrize("pair", [("한국의 수도는", "한국의 산은"), ("中国的首都", "中国的河流")])
def test_short_words_of_east_asia_share_features(pair):
    one, other = (set(read(text, buckets=BUCKETS).terms) for text in pair)
    assert len(one & other) >= 3
    assert one & other < one


def test_a_long_prompt_costs_what_a_bounded_one_does():
    assert len(read("word " * 1_000_000, buckets=BUCKETS).terms) < 4 * TEXT_MAX


def test_prompts_of_a_kind_lie_nearer_to_each_other_than_to_others():
    sums = [f"What is {at} plus {at + 3}?" for at in range(30)]
    tales = [f"Tell of {word}, the king." for word in "abcdefghijklmnopqrstuvwxyz"]
    space = fit_space(sums + tales)
    vectors, known = embed_all(space, [*sums[:2], *tales[:2]])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = unit @ unit.T
    assert near[0, 1] > near[0, 2]
    assert near[2, 3] > near[1, 3]
    assert known.min() > embed(space, read("Übermäßig völlig anders", buckets=BUCKETS))[1]
