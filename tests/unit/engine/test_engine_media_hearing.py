"""Requests to hear and their answers: fields, limits, the five forms; and what a folder is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from haneul.base.errors import BadRequest, BrokenFile, UnknownField, UnsupportedValue
from haneul.base.multipart import Part
from haneul.engine.media.folder import kind_of
from haneul.engine.media.samples import written
from haneul.engine.media.to_hear import Hears, accept_hearing
from haneul.engine.media.transcript import Heard, Span, told

SOUND = written(np.zeros(24_000, np.float32), 16_000)
MANY = Hears(languages=["de", "en", "ko"], translates=True, times_words=True)
ENGLISH = Hears(languages=["en"], translates=False, times_words=False)
HEARD = Heard(
    text="Hi. <b> & you",
    language="en",
    segments=[Span(0.0, 1.5, " Hi."), Span(3599.9996, 3661.25, " <b> &\n\nyou")],
    words=[Span(0.0, 1.5, " Hi.")],
)


def accept(task="transcribe", hears=MANY, file=SOUND, **fields):
    parts = [Part("model", b"m"), Part("file", file, "a.wav")]
    for name, value in fields.items():
        values = value if isinstance(value, list) else [value]
        name = "timestamp_granularities[]" if name == "times" else name
        parts += [Part(name, each.encode()) for each in values]
    return accept_hearing(parts, task, hears)


def test_a_plain_request_asks_for_the_likeliest_text():
    asked = accept()
    assert (asked.form, asked.temperature, asked.language) == ("json", 0, "")
    assert (asked.has_segments, asked.has_words) == (False, False)
    assert asked.sound.duration_ms == 1500


def test_every_field_is_taken():
    asked = accept(
        language="KO",
        prompt="하늘",
        response_format="verbose_json",
        temperature="0.25",
        times=["word", "segment"],
        stream="false",
    )
    assert (asked.language, asked.prompt, asked.temperature) == ("ko", "하늘", 0.25)
    assert (asked.has_segments, asked.has_words) == (True, True)


@pytest.mark.parametrize("form", ["srt", "vtt", "verbose_json"])
def test_forms_with_times_ask_for_segments(form):
    assert accept(response_format=form).has_segments


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"chunking_strategy": "auto"}, UnknownField, "chunking_strategy"),
        ({"include[]": "logprobs"}, UnknownField, "include[]"),
        ({"language": "xx"}, UnsupportedValue, "language"),
        ({"response_format": "diarized_json"}, UnsupportedValue, "response_format"),
        ({"temperature": "1.1"}, BadRequest, "temperature"),
        ({"temperature": "nan"}, BadRequest, "temperature"),
        ({"temperature": "warm"}, BadRequest, "temperature"),
        ({"stream": "true"}, UnsupportedValue, "stream"),
        ({"times": "word"}, BadRequest, "timestamp_granularities[]"),
        ({"prompt": ["a", "b"]}, BadRequest, "prompt"),
        ({"prompt": "x" * 4097}, BadRequest, "prompt"),
        ({"model": "n"}, BadRequest, "model"),
        ({"file": b"ID3" + bytes(99)}, UnsupportedValue, "file"),
        ({"file": written(np.zeros(1500, np.float32), 16_000)}, UnsupportedValue, "file"),
        ({"file": written(np.zeros(9000, np.float32), 15_999)}, UnsupportedValue, "file"),
        ({"file": written(np.zeros(7_204_000, np.float32), 4_000)}, UnsupportedValue, "file"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(fields, error, param):
    with pytest.raises(error) as refused:
        accept(**fields)
    assert refused.value.param == param


def test_a_file_must_come_once_and_a_model_be_named():
    for parts in ([Part("model", b"m")], [Part("file", SOUND)], [Part("file", SOUND)] * 2):
        with pytest.raises(BadRequest):
            accept_hearing(parts, "transcribe", MANY)


def test_a_translation_names_no_language_and_needs_a_model_of_many():
    with pytest.raises(UnknownField):
        accept(task="translate", language="de")
    with pytest.raises(UnsupportedValue):
        accept(task="translate", hears=ENGLISH)


def test_times_of_words_are_refused_where_the_folder_has_none():
    with pytest.raises(UnsupportedValue, match="words"):
        accept(hears=ENGLISH, response_format="verbose_json", times="word")


def test_json_has_the_text_and_what_is_paid():
    answer = json.loads(told(HEARD, accept()))
    usage = {"type": "duration", "seconds": 1.5}
    assert answer == {"text": "Hi. <b> & you", "usage": usage}


def test_verbose_json_has_the_times_that_were_asked_for():
    asked = accept(response_format="verbose_json", times="word")
    answer = json.loads(told(HEARD, asked))
    assert answer["words"] == [{"word": "Hi.", "start": 0.0, "end": 1.5}]
    assert "segments" not in answer
    segments = json.loads(told(HEARD, accept(response_format="verbose_json")))["segments"]
    assert [segment["start"] for segment in segments] == [0.0, 3599.9996]
    assert segments[0]["avg_logprob"] is None  # unknown is said


def test_subtitles_have_one_line_each_and_clocks_that_carry():
    assert told(HEARD, accept(response_format="srt")).decode() == (
        "1\n00:00:00,000 --> 00:00:01,500\nHi.\n\n2\n01:00:00,000 --> 01:01:01,250\n<b> & you\n"
    )
    assert told(HEARD, accept(response_format="vtt")).decode() == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHi.\n\n"
        "01:00:00.000 --> 01:01:01.250\n&lt;b> &amp; you\n"
    )


def test_a_folder_says_what_it_lacks(tmp_path):
    with pytest.raises(BrokenFile, match="holds no model"):
        kind_of(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(BrokenFile, match=r"speech-to-text but lacks openvino_encoder_model\.xml"):
        kind_of(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{", "\xff", '{"model_type": "llama"}', "{}"])
def test_a_folder_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BrokenFile):
        kind_of(tmp_path)
