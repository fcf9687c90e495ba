"""What people read: intervals in few letters, streamed words that break where lines end."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from haneul.chips.estimate import Estimate, around, exactly
from haneul.cli.screen import Words, span


@pytest.mark.parametrize(
    ("estimate", "shown"),
    [
        (exactly(98_362_432, "B", source="file"), "98.4 MB"),
        (Estimate(low=524e6, mid=560e6, high=602e6, unit="B", source="x"), "524–602 MB"),
        (Estimate(low=952e6, mid=1e9, high=1152e6, unit="B", source="x"), "952–1152 MB"),
        (Estimate(low=1.4e9, mid=1.5e9, high=1.6e9, unit="B", source="x"), "1.4–1.6 GB"),
        (Estimate(low=6.5e9, mid=8e9, high=10.2e9, unit="B/s", source="x"), "6.5–10.2 GB/s"),
        (around(62, "tok/s", factor=1.4, source="x"), "44–87 tok/s"),
        (around(5, "tok/s", factor=1.4, source="x"), "3.6–7.0 tok/s"),
    ],
)
def test_an_interval_is_shown_with_its_unit(estimate, shown):
    assert span(estimate) == shown


@given(st.lists(st.text(alphabet="ab \n[]하늘", max_size=12), max_size=12))
def test_streamed_words_lose_nothing_and_keep_within_the_width(pieces):
    out = io.StringIO()
    words = Words(Console(file=out, width=20, highlight=False, markup=True))
    for piece in pieces:
        words.write(piece)
    words.end()
    said, given_text = out.getvalue(), "".join(pieces)
    assert "".join(said.split()) == "".join(given_text.split())
    longest = max((len(word) for word in given_text.split()), default=0)
    assert all(len(line.rstrip()) <= max(20, longest + 2) for line in said.split("\n"))
