"""The bound of thoughts in an engine's request: the least of all, under the engine's own name."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import UnsupportedValue
from haneul.services import openai
from haneul.services.targets import EMBEDDED
from haneul.services.thinking import FIELDS, NONE, Bound, able, bound, shaped

PLAIN = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
NUMBERS = st.integers(0, 1 << 20)


class At(msgspec.Struct):
    """As much of a target as a bound looks at."""

    engine: str = "other"
    thinking_field: str | None = None


def ask(**fields):
    return openai.read(openai.CHAT, msgspec.json.encode({**PLAIN, **fields}))


def sent(most, target, **fields):
    return msgspec.json.decode(shaped(most)(msgspec.json.encode({**PLAIN, **fields}), target))


def said(body, field):
    value = body
    for part in field.split("."):
        value = value[part]
    return value


@given(NUMBERS, NUMBERS)
def test_the_smaller_of_what_is_asked_and_allowed_holds(asked, allowed):
    assert bound(ask(thinking_budget=asked), allowed) == Bound(min(asked, allowed), True)
    assert bound(ask(thinking={"budget_tokens": asked}), allowed).most == min(asked, allowed)
    assert bound(ask(thinking_budget=asked), None) == Bound(asked, False)
    assert bound(ask(), allowed) == Bound(allowed, True)
    assert bound(ask(), None) is None


def test_what_is_no_number_bounds_nothing():
    for value in ("many", [1], None, -4):
        assert bound(ask(thinking_token_budget=value), 9) == Bound(9, True)
        assert bound(ask(reasoning={"max_tokens": value}), 9) == Bound(9, True)
    assert bound(ask(thinking=True), 9) == Bound(9, True)


@given(NUMBERS, st.sampled_from(FIELDS), NUMBERS)
def test_each_engine_gets_the_bound_once_under_its_own_name(most, field, asked):
    body = sent(Bound(most, True), At(thinking_field=field), thinking_budget=asked, top_k=3)
    if field != "thinking.budget_tokens" or most:
        assert said(body, field) == most
    assert [name for name in FIELDS[:3] if name in body] in ([], [field])
    assert body["top_k"] == 3
    own = sent(Bound(most, False), At(engine=EMBEDDED), thinking_token_budget=asked)
    assert own == {**PLAIN, "thinking_budget": most}


def test_an_engine_of_anthropics_habit_is_told_to_think_or_not():
    target = At(thinking_field="thinking.budget_tokens")
    assert sent(Bound(2048, True), target)["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert sent(Bound(0, True), target)["thinking"] == {"type": "disabled"}


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_of_an_unknown_engine_the_whole_answer_is_held_to_the_limit(most, asked):
    law = Bound(most, True)
    assert sent(law, At())["max_completion_tokens"] == most
    assert sent(law, At(), max_tokens=asked)["max_tokens"] == min(most, asked)
    assert "max_completion_tokens" not in sent(law, At(), max_tokens=asked)
    free = sent(Bound(most, False), At(), thinking_budget=most)
    assert free == {**PLAIN, "thinking_budget": most}  # as it came


def test_an_engine_that_does_not_think_is_left_alone():
    assert sent(Bound(0, True), At(thinking_field=NONE)) == PLAIN


def test_where_nothing_may_be_thought_only_engines_that_can_be_told_are_asked():
    own, named, none, unknown = At(EMBEDDED), At("a", FIELDS[1]), At("b", NONE), At("c")
    assert able([unknown, own, named, none], Bound(0, True)) == [own, named, none]
    assert able([unknown], Bound(1, True)) == [unknown]
    assert able([unknown], Bound(0, False)) == [unknown]
    with pytest.raises(UnsupportedValue, match="cannot be told"):
        able([unknown], Bound(0, True))


def test_what_is_no_chat_has_no_thoughts():
    body = msgspec.json.encode({"model": "m", "prompt": "x"})
    assert bound(openai.read(openai.COMPLETIONS, body), 5) is None
