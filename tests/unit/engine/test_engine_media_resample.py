"""Another sampling rate: tones stay, what would fold back is gone, and the length is exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haneul.engine.media.resample import resampled

RATES = [8_000, 11_025, 12_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000]


def tone(hertz, rate, seconds=0.5):
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


def inner(x, rate):
    """Without the ends, where the filter reaches beyond the sound."""
    edge = rate // 20
    return x[edge:-edge]


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_is_the_same_tone_at_the_other_rate(rate):
    heard = resampled(tone(1_000, rate), rate, 16_000)
    expected = tone(1_000, 16_000)
    assert len(heard) == len(expected) == 8_000
    assert np.abs(inner(heard - expected, 16_000)).max() < 1e-5


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate > 20_000])
def test_what_lies_beyond_the_new_band_does_not_fold_back(rate):
    heard = resampled(tone(9_000, rate), rate, 16_000)  # would be heard at 7 kHz
    assert np.abs(inner(heard, 16_000)).max() < 1e-5


@given(st.sampled_from(RATES), st.integers(0, 3_000))
@settings(deadline=None, max_examples=40)
def test_the_length_is_that_of_the_time(rate, count):
    heard = resampled(np.ones(count, np.float32), rate, 16_000)
    assert len(heard) == -(-count * 16_000 // rate)
    assert np.isfinite(heard).all()


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=6)
def test_mixing_before_or_after_is_the_same(seed):
    random = np.random.default_rng(seed)
    a, b = random.standard_normal((2, 900)).astype(np.float32)
    mixed = resampled(a + 2 * b, 44_100, 16_000)
    parts = resampled(a, 44_100, 16_000) + 2 * resampled(b, 44_100, 16_000)
    assert np.allclose(mixed, parts, atol=1e-4)


def test_the_same_rate_changes_nothing():
    sound = tone(440, 16_000)
    assert resampled(sound, 16_000, 16_000) is sound
