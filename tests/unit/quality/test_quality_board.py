"""Which model of a board is good enough, and cheapest."""

from __future__ import annotations

from haneul.quality.board import Line, at_rank, cheapest, good_enough
from haneul.quality.statistics import Interval


def line(model: str, quality: Interval | None, nano: float) -> Line:
    return Line(
        model=model,
        version="1",
        cases=100,
        missing=0,
        unanswered=0,
        passed=0 if quality is None else round(100 * quality.mid),
        quality=quality,
        independent=100.0,
        score=quality,
        levels={},
        currency="USD",
        cost_nano=100,
        unpriced=0,
        thousand_nano=Interval(nano / 2, nano, nano * 2),
        good_nano=None,
        p50_s=1.0,
        p95_s=2.0,
        prompt_tokens=1,
        completion_tokens=1,
        reasoning_tokens=0,
    )


LOW, HIGH = Interval(0.3, 0.4, 0.5), Interval(0.7, 0.8, 0.9)


def test_the_cheapest_is_the_cheapest_of_those_that_reach_the_bar():
    lines = [line("dear", HIGH, 900), line("cheap", HIGH, 300), line("weak", LOW, 10)]
    choice = cheapest(lines, 0.6)
    assert (choice.model, choice.is_sure) == ("cheap", True)
    assert cheapest(lines, 0.75).is_sure is False, "the interval reaches below"
    assert cheapest(lines, 0.95).model is None


def test_a_model_that_passed_nothing_is_never_good_enough():
    lines = [line("nothing", Interval(0.0, 0.0, 0.4), 1), line("unasked", None, 1)]
    assert good_enough(lines) == 0
    assert cheapest(lines, good_enough(lines)).model is None


def test_a_percentile_is_the_nearest_rank():
    hundred = [float(number) for number in range(1, 101)]
    assert (at_rank(hundred, 0.5), at_rank(hundred, 0.95), at_rank([7.0], 0.95)) == (50, 95, 7)
    assert at_rank([1.0, 2.0], 0.5) == 1
    assert at_rank([], 0.5) is None
