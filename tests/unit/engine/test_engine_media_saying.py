"""Requests to say a text: fields, and how a long text is cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest, UnknownField, UnsupportedValue
from haneul.engine.media.to_say import PIECE_MAX_CHARS, Says, accept_saying, pieces

CAN = Says(voices=["default", "slt"])


def accept(**fields):
    body = {"model": "m", "input": "Hello.", "voice": "slt", **fields}
    return accept_saying(json.dumps(body).encode(), CAN)


def test_a_request_says_text_voice_and_form():
    asked = accept(response_format="pcm", speed=1, stream_format="audio")
    assert (asked.text, asked.voice, asked.form) == ("Hello.", "slt", "pcm")
    assert accept().form == "wav"


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"instructions": "softly"}, UnknownField, "instructions"),
        ({"voice": "alloy"}, UnsupportedValue, "voice"),
        ({"response_format": "mp3"}, UnsupportedValue, "response_format"),
        ({"speed": 1.5}, UnsupportedValue, "speed"),
        ({"stream_format": "sse"}, UnsupportedValue, "stream_format"),
        ({"input": ""}, BadRequest, "input"),
        ({"input": " \n "}, BadRequest, "input"),
        ({"input": "x" * 4097}, BadRequest, "input"),
        ({"input": 7}, BadRequest, "input"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(fields, error, param):
    with pytest.raises(error) as refused:
        accept(**fields)
    assert refused.value.param == param


@given(st.text(max_size=2000))
def test_no_letter_is_left_out_and_no_piece_is_too_long(text):
    cut = pieces(text)
    assert "".join("".join(cut).split()) == "".join(text.split())
    assert all(0 < len(piece) <= PIECE_MAX_CHARS for piece in cut)


def test_sentences_are_said_one_by_one():
    assert pieces("Hello. How are you?\nFine 3.5!") == ["Hello.", "How are you?", "Fine 3.5!"]
