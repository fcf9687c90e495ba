"""What follows a JSON object letter by letter accepts what a JSON parser accepts, and no more."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from haneul.engine.speech.json_text import JsonText

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def taken(text: str) -> tuple[str, bool]:
    """What was written for the text up to its end, and whether the object was whole there."""
    follow, written = JsonText(), []
    for letter in text:
        written.append(follow.take(letter))
    return "".join(written), follow.is_whole


@given(st.dictionaries(st.text(), VALUES), st.booleans(), st.sampled_from([None, 1]))
def test_any_object_is_whole_at_its_last_letter_and_not_before(value, is_plain, indent):
    text = json.dumps(value, ensure_ascii=not is_plain, indent=indent)
    assert taken(text) == (text, True)
    assert taken(text[:-1])[1] is False


@given(st.text(alphabet='{}[]",:\\u0159.eE+-truefalsn \n', max_size=14))
@example('{"a":1,}')
@example('{"a":[1,2}')
@example("[]")
@example('{"a":01}')
@example('{"":-}')
def test_what_is_taken_whole_is_an_object(inside):
    text = "{" + inside + "}"
    try:
        written, is_whole = taken(text)
    except ValueError:
        assert not is_object(text)
        return
    if is_whole:
        assert isinstance(json.loads(written), dict)


def is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def test_line_breaks_in_a_string_are_written_as_json_has_them():
    written, is_whole = taken('{"a": "x\ny\t"}')
    assert is_whole
    assert json.loads(written) == {"a": "x\ny\t"}


def test_nests_without_end_are_refused():
    with pytest.raises(ValueError, match=r"\["):
        taken('{"a":' + "[" * 200)
