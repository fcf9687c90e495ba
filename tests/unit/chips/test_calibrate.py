"""A machine that measured one model forecasts the next one better; and how that is scored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.chips.backtest import Outcome, score, show_score
from haneul.chips.calibrate import Correction, calibrate, refine
from haneul.chips.estimate import Estimate, around, exactly

ratios = st.floats(min_value=0.05, max_value=20.0)
speeds = st.floats(min_value=0.1, max_value=1e5)


def forecast(mid: float = 100.0, spread: float = 1.4) -> Estimate:
    return around(mid, "tok/s", factor=spread, source="test")


def learned(*measured: float, spread: float = 1.4) -> Correction:
    correction = calibrate([(forecast(spread=spread), value) for value in measured])
    assert correction is not None
    return correction


def test_without_measurements_nothing_changes() -> None:
    assert calibrate([]) is None
    assert refine(forecast(), None) == forecast()


@given(speeds, st.integers(1, 20))
def test_forecasts_that_were_right_stay_as_they_are(mid: float, count: int) -> None:
    correction = calibrate([(forecast(mid), mid)] * count)
    assert correction is not None
    assert correction.factor == pytest.approx(1.0)


@given(ratios, st.integers(1, 50))
def test_the_correction_lies_between_one_and_what_was_seen(ratio: float, count: int) -> None:
    factor = learned(*[100 * ratio] * count).factor
    assert min(1.0, ratio) * (1 - 1e-9) <= factor <= max(1.0, ratio) * (1 + 1e-9)


@given(ratios)
def test_more_that_agree_are_believed_more_and_narrow_the_interval(ratio: float) -> None:
    few, many = learned(*[100 * ratio] * 2), learned(*[100 * ratio] * 40)
    assert abs(many.factor - ratio) <= abs(few.factor - ratio) + 1e-9
    assert many.spread <= few.spread


@given(st.lists(ratios, min_size=1, max_size=8), st.randoms())
def test_the_order_of_measurements_does_not_matter(seen: list[float], random: object) -> None:
    measured = [100 * ratio for ratio in seen]
    there, back = learned(*measured), learned(*reversed(measured))
    assert there.factor == pytest.approx(back.factor)
    assert there.spread == pytest.approx(back.spread)


@given(st.lists(ratios, min_size=1, max_size=8), speeds, st.floats(1.0, 10.0))
def test_a_refined_forecast_is_an_interval_no_wider_than_before(
    seen: list[float], mid: float, spread: float
) -> None:
    before = forecast(mid, spread)
    after = refine(before, learned(*[100 * ratio for ratio in seen]))
    assert after.low <= after.mid <= after.high
    assert after.high / after.low <= before.high / before.low * (1 + 1e-9)


def test_a_forecast_that_doubted_itself_learns_faster() -> None:
    assert learned(200, spread=3.0).factor > learned(200, spread=1.2).factor > 1


def test_one_measured_model_moves_the_next_forecast_towards_the_truth() -> None:
    """This machine is 1.5 times slower than forecast for both models."""
    correction = calibrate([(forecast(90), 60)])
    second = refine(forecast(30), correction)
    assert abs(second.mid - 20) < abs(30 - 20) / 2
    assert second.low <= 20 <= second.high
    assert "corrected" in second.source


def test_nonsense_cannot_be_learned_from() -> None:
    for measured in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="above zero"):
            calibrate([(forecast(), measured)])


def test_scores_count_what_was_hit_and_missed() -> None:
    outcomes = [
        Outcome("decode", forecast(100, 1.5), 100),
        Outcome("decode", forecast(100, 1.5), 125),
        Outcome("decode", forecast(100, 1.5), 200),
        Outcome("memory", exactly(5, "B", source="x"), 4),
        Outcome("memory", exactly(5, "B", source="x"), 0),
    ]
    decode, memory = score(outcomes)
    assert (decode.kind, decode.count, memory.count) == ("decode", 3, 1)
    assert decode.median_error == pytest.approx(0.2)
    assert decode.worst_error == pytest.approx(0.5)
    assert decode.bias == pytest.approx(-0.2)
    assert decode.inside == pytest.approx(2 / 3)
    assert memory.inside == 0
    assert show_score(memory) == (
        "memory: 1 forecast, median error 25 %, worst 25 %, bias +25 %, 0 % inside the interval"
    )
    assert score([]) == []
