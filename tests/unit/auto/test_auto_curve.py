"""The measures of cost and quality."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.auto.curve import cost_to_reach, hull, mean_quality, recovered

POINTS = st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 1)), min_size=1, max_size=12).map(
    np.array
)


@given(POINTS)
def test_the_hull_costs_no_more_than_any_point_it_covers(points):
    mixed = hull(points)
    for cost, quality in points:
        assert cost_to_reach(mixed, quality) <= cost * (1 + 1e-6)


@given(POINTS)
def test_the_hull_rises_ever_less_steeply(points):
    mixed = hull(points)
    steps = np.diff(mixed, axis=0)
    slopes = steps[:, 1] / steps[:, 0]
    assert (steps > 0).all()
    assert (np.diff(slopes) <= 1e-6 * np.abs(slopes[:-1])).all()


def test_between_two_points_a_coin_decides():
    points = np.array([[1.0, 0.8], [0.0, 0.4]])
    assert cost_to_reach(points, 0.6) == pytest.approx(0.5)
    assert math.isinf(cost_to_reach(points, 0.9))


def test_mean_quality_of_one_level_is_that_level():
    points = np.array([[0.1, 0.7], [10.0, 0.7]])
    assert mean_quality(points, low_usd=0.1, high_usd=10.0) == pytest.approx(0.7)


def test_calls_by_chance_recover_half_the_gap():
    points = np.array([[0.0, 0.6], [1.0, 0.8]])
    apgr, half, most = recovered(points, weak=0.6, strong=0.8)
    assert (apgr, half, most) == pytest.approx((0.5, 0.5, 0.8))
