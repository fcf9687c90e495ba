"""The laws of uncertain numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.chips.estimate import (
    Estimate,
    around,
    exactly,
    holds,
    invert,
    plus,
    scale,
    show,
    times,
)

positive = st.floats(min_value=1e-6, max_value=1e15)
factors = st.floats(min_value=1.0, max_value=100.0)


@st.composite
def estimates(draw: st.DrawFn) -> Estimate:
    low, mid, high = sorted(draw(st.tuples(positive, positive, positive)))
    return Estimate(low=low, mid=mid, high=high, unit="tok/s", source="drawn")


@given(estimates(), positive, factors)
def test_every_operation_keeps_low_below_mid_below_high(
    estimate: Estimate, factor: float, spread: float
) -> None:
    other = around(factor, "tok/s", factor=spread, source="other")
    results = [
        scale(estimate, factor),
        invert(estimate, factor, unit="s"),
        times(estimate, other, unit="x"),
        plus(estimate, other),
        other,
    ]
    for result in results:
        assert result.low <= result.mid <= result.high


@given(estimates())
def test_inverting_twice_returns_where_it_started(estimate: Estimate) -> None:
    twice = invert(invert(estimate, unit="s/tok"), unit="tok/s")
    assert twice.mid == pytest.approx(estimate.mid)
    assert twice.low == pytest.approx(estimate.low)
    assert twice.high == pytest.approx(estimate.high)


@given(estimates(), factors)
def test_a_product_is_no_wider_than_the_worst_case_and_no_narrower_than_a_factor(
    estimate: Estimate, spread: float
) -> None:
    product = times(estimate, around(2.0, "x", factor=spread, source="other"), unit="y")
    width = math.log(product.high / product.low)
    assert width <= math.log(estimate.high / estimate.low) + 2 * math.log(spread) + 1e-9
    assert width >= math.log(estimate.high / estimate.low) - 1e-9


@pytest.mark.parametrize(
    ("low", "mid", "high"), [(2, 1, 3), (1, 3, 2), (-1, 0, 1), (0, 1, math.inf), (0, math.nan, 1)]
)
def test_a_broken_interval_is_refused(low: float, mid: float, high: float) -> None:
    with pytest.raises(ValueError, match="not an interval"):
        Estimate(low=low, mid=mid, high=high, unit="tok/s", source="test")


def test_different_units_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="do not add up"):
        plus(exactly(1, "s", source="a"), exactly(1, "B", source="b"))


def test_a_person_reads_the_middle_then_the_interval() -> None:
    speed = Estimate(low=41.2, mid=62.1, high=94.4, unit="tok/s", source="test")
    assert show(speed) == "62 tok/s (41–94)"
    assert show(exactly(98_400_000, "B", source="file")) == "98.4 MB"
    assert show(around(60e9, "B/s", factor=1.5, source="x")) == "60.0 GB/s (40.0 GB/s–90.0 GB/s)"
    assert show(around(989e12, "FLOP/s", factor=2, source="x")) == "989 TFLOP/s (494–1,978)"
    assert show(around(0.1234, "s", factor=2, source="x")) == "0.123 s (0.0617–0.247)"


def test_the_ends_belong_to_the_interval() -> None:
    estimate = around(10, "tok/s", factor=2, source="x")
    assert holds(estimate, 5)
    assert holds(estimate, 20)
    assert not holds(estimate, 20.1)
