"""What was heard, in each of OpenAI's five forms."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from haneul.engine.media.to_hear import Form, Hearing

KINDS = {
    "json": "application/json",
    "verbose_json": "application/json",
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}


class Span(Struct, frozen=True):
    """Words and when they were said, in seconds from the beginning."""

    start_s: float
    end_s: float
    text: str


class Heard(Struct, frozen=True, kw_only=True):
    """What the model told of one sound."""

    text: str
    language: str  # a code
    segments: list[Span] = []
    words: list[Span] = []


def told(heard: Heard, asked: Hearing) -> bytes:
    """The body of the answer."""
    return _WRITERS[asked.form](heard, asked)


def usage(audio_ms: int) -> dict[str, Any]:
    """OpenAI's usage of what is paid by its length; a begun millisecond counts whole."""
    return {"type": "duration", "seconds": audio_ms / 1000}


def _json(heard: Heard, asked: Hearing) -> bytes:
    value = {"text": heard.text, "usage": usage(asked.sound.duration_ms)}
    return msgspec.json.encode(value)


def _verbose(heard: Heard, asked: Hearing) -> bytes:
    value: dict[str, Any] = {
        "task": asked.task,
        "language": heard.language,
        "duration": asked.sound.duration_ms / 1000,
        "text": heard.text,
    }
    if asked.has_segments:
        spans = enumerate(heard.segments)
        value["segments"] = [_segment(number, span, asked) for number, span in spans]
    if asked.has_words:
        value["words"] = [
            {"word": span.text.strip(), "start": span.start_s, "end": span.end_s}
            for span in heard.words
        ]
    return msgspec.json.encode({**value, "usage": usage(asked.sound.duration_ms)})


def _segment(number: int, span: Span, asked: Hearing) -> dict[str, Any]:
    data = span.text.encode()
    return {
        "id": number,
        "start": span.start_s,
        "end": span.end_s,
        "text": span.text,
        "temperature": asked.temperature,
        "compression_ratio": round(len(data) / len(zlib.compress(data)), 4),
        "avg_logprob": None,  # the pipeline keeps its scores to itself
        "no_speech_prob": None,
    }


def _text(heard: Heard, asked: Hearing) -> bytes:
    return f"{heard.text}\n".encode()


def _srt(heard: Heard, asked: Hearing) -> bytes:
    cues = [
        f"{number}\n{_clock(span.start_s, ',')} --> {_clock(span.end_s, ',')}\n{_line(span)}\n"
        for number, span in enumerate(heard.segments, 1)
    ]
    return "\n".join(cues).encode()


def _vtt(heard: Heard, asked: Hearing) -> bytes:
    cues = [
        f"{_clock(span.start_s, '.')} --> {_clock(span.end_s, '.')}\n{_escaped(_line(span))}\n"
        for span in heard.segments
    ]
    return "\n".join(["WEBVTT\n", *cues]).encode()


def _line(span: Span) -> str:
    """One line: an empty one would end the cue."""
    return " ".join(span.text.split())


def _escaped(line: str) -> str:
    return line.replace("&", "&amp;").replace("<", "&lt;").replace("-->", "--&gt;")


def _clock(at_s: float, point: str) -> str:
    seconds, ms = divmod(round(at_s * 1000), 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{ms:03}"


_WRITERS: dict[Form, Callable[[Heard, Hearing], bytes]] = {
    "json": _json,
    "verbose_json": _verbose,
    "text": _text,
    "srt": _srt,
    "vtt": _vtt,
}
