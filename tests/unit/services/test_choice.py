"""Where a request goes: the laws of the choice, whatever is known of the targets."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.services import choice
from haneul.services.affinity import load_bound, mark, score, spread
from haneul.services.choice import View, draw, rank

ids = st.integers(0, 2**64 - 1)
views = st.builds(
    View,
    id=ids,
    place=st.integers(0, 2),
    is_own=st.booleans(),
    has_place=st.booleans(),
    is_full=st.booleans(),
    wait_s=st.none() | st.floats(0, 60),
    load=st.integers(0, 20),
    cost_nano=st.none() | st.integers(0, 5),
    paused_s=st.sampled_from([0.0, 0.0, 1.0, 9.0]),
)
crowds = st.lists(views, min_size=1, max_size=8)
spills = st.floats(0, 30)


def first_of(targets, *, at=0, spill_wait_s=5.0):
    order, reason = rank(targets, mark=lambda: at, spill_wait_s=spill_wait_s)
    return targets[order[0]], reason


@given(crowds, ids, spills)
def test_every_target_is_in_the_order_once(targets, at, spill_wait_s):
    order, reason = rank(targets, mark=lambda: at, spill_wait_s=spill_wait_s)
    assert sorted(order) == list(range(len(targets)))
    assert reason in choice.REASONS


@given(crowds, ids, spills)
def test_a_target_in_pause_comes_after_all_that_are_not(targets, at, spill_wait_s):
    order, _ = rank(targets, mark=lambda: at, spill_wait_s=spill_wait_s)
    pauses = [targets[number].paused_s for number in order]
    assert pauses == sorted(pauses), "and of those in pause the first to end it goes first"


@given(crowds, ids, spills, views)
def test_the_dearer_is_never_chosen_when_all_else_is_equal(targets, at, spill_wait_s, one):
    one = one._replace(is_own=False, cost_nano=7)
    dearer = one._replace(cost_nano=8, id=one.id ^ 1)
    unknown = one._replace(cost_nano=None, id=one.id ^ 2)
    crowd = [unknown, dearer, *targets, one]
    order, _ = rank(crowd, mark=lambda: at, spill_wait_s=spill_wait_s)
    places = [order.index(number) for number in (len(crowd) - 1, 1, 0)]
    assert places == sorted(places)


@given(crowds, ids, spills)
def test_free_own_hardware_goes_before_every_price(targets, at, spill_wait_s):
    own = View(1, is_own=True, cost_nano=10**9)
    others = [each._replace(is_own=False, place=0) for each in targets]
    first, reason = first_of([*others, own], at=at, spill_wait_s=spill_wait_s)
    assert (first, reason) == (own, choice.OWN_FREE) or not others


def test_own_hardware_keeps_a_request_while_its_wait_is_short_enough():
    own = View(1, is_own=True, has_place=False, wait_s=4.0)
    remote = View(2, cost_nano=9)
    assert first_of([remote, own], spill_wait_s=5) == (own, choice.OWN_QUEUE)
    assert first_of([remote, own], spill_wait_s=3) == (remote, choice.SPILLED)


def test_what_was_not_measured_spills_nothing_before_the_queue_is_full():
    own = View(1, is_own=True, has_place=False, wait_s=None)
    remote = View(2, cost_nano=9)
    assert first_of([remote, own], spill_wait_s=0) == (own, choice.OWN_QUEUE)
    assert first_of([remote, own._replace(is_full=True)]) == (remote, choice.SPILLED)


def test_own_hardware_queues_however_long_while_every_remote_is_paused():
    own = View(1, is_own=True, has_place=False, wait_s=400.0)
    assert first_of([own, View(2, paused_s=3.0)]) == (own, choice.FALLBACK)


def test_a_fallback_is_asked_when_what_is_meant_is_paused_or_full_and_not_for_its_price():
    meant, later = View(1, cost_nano=9), View(2, place=1, cost_nano=1)
    assert first_of([meant, later]) == (meant, choice.CHEAPEST)
    assert first_of([meant._replace(paused_s=1.0), later]) == (later, choice.FALLBACK)
    assert first_of([meant._replace(is_full=True, has_place=False), later])[1] == choice.FALLBACK


def test_the_reason_says_that_the_better_one_is_paused():
    cheap, dear = View(1, cost_nano=1, paused_s=2.0), View(2, cost_nano=2)
    assert first_of([cheap, dear]) == (dear, choice.FALLBACK)


@given(ids, st.lists(ids, min_size=1, max_size=8, unique=True))
def test_a_target_that_leaves_moves_only_its_own_prompts(at, targets):
    loads = [0] * len(targets)
    home = targets[spread(at, targets, loads)[0][0]]
    for gone in targets:
        rest = [each for each in targets if each != gone]
        if rest and gone != home:
            assert rest[spread(at, rest, loads[1:])[0][0]] == home


@given(st.lists(ids, min_size=1, max_size=300), st.integers(2, 8), st.data())
def test_no_target_gets_more_than_a_quarter_over_the_mean(prompts, count, data):
    """Each prompt comes and stays, or now and then one ends: the bound holds at each choice."""
    targets, loads = [mark(b"t%d" % number) for number in range(count)], [0] * count
    coin = random.Random(data.draw(st.integers(0, 99)))
    for at in prompts:
        bound = load_bound(loads)
        assert bound <= 1.25 * (sum(loads) + 1) / count + 1
        chosen = spread(at, targets, loads)[0][0]
        loads[chosen] += 1
        assert loads[chosen] <= bound
        if coin.random() < 0.3:
            busy = [number for number in range(count) if loads[number]]
            loads[coin.choice(busy)] -= 1


def test_prompts_that_begin_alike_go_to_one_and_all_prompts_to_all():
    targets = [View(mark(b"engine %d" % number)) for number in range(4)]
    homes = [first_of(targets, at=mark(b"prompt %d" % number))[0].id for number in range(4000)]
    again = [first_of(targets, at=mark(b"prompt %d" % number))[0].id for number in range(4000)]
    assert homes == again
    assert all(800 < homes.count(target.id) < 1200 for target in targets)


@given(ids, ids)
def test_a_score_is_64_bits_and_the_same_again(one, other):
    assert 0 <= score(one, other) < 2**64
    assert score(one, other) == score(one, other)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any))
def test_weights_share_requests_out_and_none_goes_to_a_weight_of_0(weights):
    points = [draw(weights, number / 1000) for number in range(1000)]
    for number, weight in enumerate(weights):
        assert points.count(number) == pytest.approx(1000 * weight / sum(weights), abs=2)
