"""Routes as people type them, and the names that are nearest to a wrong one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest
from haneul.services.nearest import SHOWN, distance, nearest
from haneul.services.routes import Member, parse, route_of, row_of, show

names = st.text(st.sampled_from("abc-/:.09"), min_size=1, max_size=12)


@given(
    names,
    st.lists(st.tuples(names, st.none() | st.integers(0, 9)), min_size=1, max_size=5),
    st.lists(names, max_size=3),
)
def test_a_route_is_kept_as_it_was_typed_or_refused(name, members, fallbacks):
    typed = tuple(model if weight is None else f"{model}={weight}" for model, weight in members)
    try:
        route = parse(name, typed, tuple(fallbacks))
    except BadRequest:
        named = [model for model, _ in members] + fallbacks
        is_nothing = any(w is not None for _, w in members) and not any(
            1 if w is None else w for _, w in members
        )
        assert len(set(named)) < len(named) or is_nothing
        return
    again = route_of(row_of(route))
    assert again.members == [Member(*member) for member in members]
    assert again.fallbacks == fallbacks
    assert show(again)["id"] == name


@pytest.mark.parametrize(
    ("name", "members", "fallbacks"),
    [
        ("two words", ("a",), ()),
        ("", ("a",), ()),
        ("n" * 101, ("a",), ()),
        ("하늘", ("a",), ()),
        ("x", (), ()),
        ("x", ("a=-1",), ()),
        ("x", ("a=1.5",), ()),
        ("x", ("a=99999999999",), ()),
        ("x", ("=3",), ()),
        ("x", ("a", "a=2"), ()),
        ("x", ("a",), ("a",)),
        ("x", ("a=0",), ()),
        ("x", tuple(f"m{number}" for number in range(33)), ()),
    ],
)
def test_what_is_no_route_is_refused(name, members, fallbacks):
    with pytest.raises(BadRequest):
        parse(name, members, fallbacks)


words = st.text("abcd", max_size=6)


@given(words, words, words)
def test_the_distance_is_one(one, two, three):
    assert distance(one, two) == distance(two, one)
    assert (distance(one, two) == 0) == (one == two)
    assert distance(one, three) <= distance(one, two) + distance(two, three)
    assert abs(len(one) - len(two)) <= distance(one, two) <= max(len(one), len(two))


def test_the_nearest_names_are_found_by_their_own_part_too():
    known = ["qwen3:0.6b", "vllm/llama-3", "openai/gpt-5-mini", "smollm2:135m"]
    assert nearest("qwen3:0.8b", known) == ["qwen3:0.6b"]
    assert nearest("LLAMA-3", known) == ["vllm/llama-3"]
    assert nearest("gpt5-mini", known) == ["openai/gpt-5-mini"]
    assert nearest("claude", known) == []


@given(names, st.lists(names, max_size=20))
def test_no_more_than_three_names_are_said_and_only_known_ones(name, known):
    found = nearest(name, known)
    assert len(found) <= SHOWN
    assert set(found) <= set(known)
    if name in known:
        assert found[0] == name
