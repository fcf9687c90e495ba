"""Intervals hold what they say, and tests call a difference only what is one."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.quality import statistics

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def alone(count):
    return [f"case {number}" for number in range(count)]


@given(COUNTS)
def test_a_share_lies_in_its_interval_which_lies_between_none_and_all(pair):
    found = statistics.wilson(*pair)
    assert 0 <= found.low <= found.mid <= found.high <= 1
    assert found.mid == pytest.approx(pair[0] / pair[1])


def test_wilsons_interval_is_the_published_one():
    found = statistics.wilson(81, 263)  # Newcombe 1998, table I
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    none = statistics.wilson(0, 10)
    assert (none.low, round(none.high, 4)) == (0.0, 0.2775)
    assert statistics.wilson(0, 0) is None


def test_a_shares_interval_holds_the_truth_about_as_often_as_it_says():
    r = random.Random(5)
    held = 0
    for _ in range(400):
        found = statistics.wilson(sum(r.random() < 0.3 for _ in range(60)), 60)
        held += found.low <= 0.3 <= found.high
    assert 0.91 <= held / 400 <= 0.985


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [(0, 0, 1.0), (1, 1, 1.0), (0, 5, 0.0625), (10, 2, 0.038574), (6, 0, 0.03125)],
)
def test_mcnemars_p_is_the_binomial_one(only_first, only_second, p):
    assert statistics.mcnemar(only_first, only_second) == pytest.approx(p, abs=1e-6)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemars_p_is_a_probability_and_the_same_both_ways(one, other):
    p = statistics.mcnemar(one, other)
    assert 0 < p <= 1
    assert p == statistics.mcnemar(other, one)


def test_signs_of_templates_of_one_case_each_say_what_mcnemar_says():
    differences = [1] * 9 + [-1] * 2 + [0] * 5
    p = statistics.by_clusters(differences, alone(16))
    assert p == pytest.approx(statistics.mcnemar(9, 2), abs=1e-9)


def test_many_templates_are_drawn_and_come_close():
    differences = [1] * 20 + [-1] * 8
    p = statistics.by_clusters(differences, alone(28))
    assert p == pytest.approx(statistics.mcnemar(20, 8), abs=0.01)


def test_ten_cases_of_one_template_are_one_observation():
    assert statistics.by_clusters([1] * 10, ["same"] * 10) == 1.0
    first, second = ("a", [True] * 10), ("b", [False] * 10)
    assert statistics.compare(first, second, ["same"] * 10).p == 1.0
    assert statistics.compare(first, second, alone(10)).p < 0.01


def test_cases_that_stand_and_fall_together_count_for_less():
    good = [number < 20 for number in range(40)]
    clusters = [str(number // 10) for number in range(40)]
    assert statistics.independent(good, alone(40)) == 40
    assert statistics.independent(good, clusters) < 10
    mixed = [number % 2 == 0 for number in range(40)]
    assert statistics.independent(mixed, clusters) == 40
    wide, narrow = statistics.share(good, clusters), statistics.share(mixed, clusters)
    assert wide.high - wide.low > narrow.high - narrow.low


def test_where_all_agree_there_are_no_more_cases_than_templates():
    clusters = [str(number // 10) for number in range(40)]
    for good in ([True] * 40, [False] * 40):
        assert statistics.independent(good, clusters) == 4
        assert statistics.independent(good, alone(40)) == 40
    assert statistics.independent([True, False] * 5, ["same"] * 10) == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=80))
def test_no_number_of_cases_amounts_to_more_than_it_is(rows):
    good, clusters = [row[0] for row in rows], [str(row[1]) for row in rows]
    assert 1 <= statistics.independent(good, clusters) <= len(rows)
    found = statistics.share(good, clusters)
    assert found.mid == pytest.approx(sum(good) / len(good))


def test_the_cost_of_a_good_answer_is_all_cost_over_good_ones():
    found = statistics.ratio([10.0] * 40, [float(n % 2) for n in range(40)], alone(40))
    assert found.mid == 20
    assert 10 < found.low < 20 < found.high < 60
    assert statistics.ratio([1.0, 1.0], [0.0, 0.0], alone(2)) is None
    few = statistics.ratio([1.0] * 20, [1.0] + [0.0] * 19, alone(20))
    assert (few.mid, few.high) == (20, None)


def test_a_means_interval_holds_it_and_comes_out_the_same_each_time():
    values = [float(n * n % 17) for n in range(50)]
    found = statistics.mean(values, alone(50))
    assert found.low < found.mid < found.high
    assert found == statistics.mean(values, alone(50))
    assert statistics.mean([], []) is None


def test_holm_makes_each_p_larger_in_their_order():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([]) == []
    assert statistics.holm([0.9, 0.9]) == [1.0, 1.0]
