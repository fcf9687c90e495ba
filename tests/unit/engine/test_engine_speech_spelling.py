"""Text out of bytes: UTF-8 is never cut, and nothing of a stop string is ever shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from haneul.engine.speech.spelling import Spelling

TEXTS = st.text(alphabet="ab\n한😀é", max_size=40)
STOPS = st.lists(st.text(alphabet="ab\n한😀", min_size=1, max_size=4), max_size=3)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The same bytes in pieces."""
    ends = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


def spelt(pieces: list[bytes], stops: list[str]) -> tuple[str, bool, list[str]]:
    spelling = Spelling(stops)
    shown = []
    for piece in pieces:
        shown.append(spelling.add(piece))
        if spelling.is_stopped:
            return "".join(shown), True, shown
    return "".join(shown) + spelling.end(), False, shown


@given(TEXTS, STOPS, st.lists(st.integers(0, 200), max_size=20))
def test_text_ends_before_the_first_stop_string_however_its_bytes_are_cut(text, stops, places):
    shown, is_stopped, pieces = spelt(cut(text.encode(), places), stops)
    whole, was_stopped, _ = spelt([text.encode()], stops)
    assert is_stopped == was_stopped == any(stop in text for stop in stops)
    assert all("\ufffd" not in piece for piece in pieces)
    if is_stopped:
        assert not any(stop in shown for stop in stops)
        assert text.startswith(shown)
        assert any(text.startswith(stop, len(shown)) for stop in stops)
    else:
        assert shown == whole == text


@given(TEXTS, STOPS, st.lists(st.integers(0, 200), max_size=20))
def test_the_stop_string_that_ended_a_text_is_named(text, stops, places):
    spelling, shown = Spelling(stops), ""
    for piece in cut(text.encode(), places):
        shown += spelling.add(piece)
        if spelling.stopped_by is not None:
            assert spelling.stopped_by in stops
            assert text.startswith(spelling.stopped_by, len(shown))
            return
    assert not any(stop in text for stop in stops)


def test_half_a_character_at_the_end_is_no_text():
    spelling = Spelling([])
    assert spelling.add("한".encode()[:2]) == ""
    assert spelling.end() == ""


def test_bytes_that_are_no_text_are_shown_as_such():
    assert Spelling([]).add(b"a\xffb") == "a\ufffdb"
