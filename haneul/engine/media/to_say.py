"""Requests to say something, checked at the edge: each field is honoured or refused by name.

`speed` 1 and `stream_format` "audio" are taken: they ask for what is done anyway.
"""

from __future__ import annotations

import re
import textwrap
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from haneul.base.errors import UnknownField, UnsupportedValue
from haneul.base.wire import Body, decode

TEXT_MAX_CHARS = 4096
PIECE_MAX_CHARS = 200  # of what is said in one breath: SpeechT5 knows 450 places for its letters

Form = Literal["wav", "pcm"]
KINDS: dict[Form, str] = {"wav": "audio/wav", "pcm": "audio/pcm"}


class SpeechRequest(Struct, frozen=True, kw_only=True):
    """POST /v1/audio/speech."""

    model: str
    input: Annotated[str, Meta(min_length=1, max_length=TEXT_MAX_CHARS)]
    voice: str
    response_format: str = "wav"
    speed: float = 1.0
    stream_format: str = "audio"


class Saying(Struct, frozen=True, kw_only=True):
    """One request to say a text."""

    model: str
    text: str
    voice: str
    form: Form


class Says(Struct, frozen=True, kw_only=True):
    """What a loaded model can say."""

    voices: list[str]


class Said(Struct, frozen=True, kw_only=True):
    """A sound in the form that was asked for."""

    data: bytes
    duration_ms: int


_decoder = msgspec.json.Decoder(SpeechRequest)


def accept_saying(data: bytes, says: Says) -> Saying:
    """A request that will be honoured whole. Raises BadRequest that names the field."""
    for name in Body(data).unknown(frozenset(SpeechRequest.__struct_fields__)):
        raise UnknownField(f"'{name[:64]}' is not honoured by this engine.", param=name[:64])
    request = decode(data, _decoder)
    if request.speed != 1.0:
        raise UnsupportedValue("'speed' can be 1 here: the model has no other.", param="speed")
    if request.stream_format != "audio":
        raise UnsupportedValue("'stream_format' can be audio here.", param="stream_format")
    if request.voice not in says.voices:
        told = ", ".join(says.voices)
        raise UnsupportedValue(f"'voice' can be {told}.", param="voice")
    if not request.input.strip():
        raise UnsupportedValue("'input' has nothing to say.", param="input")
    for form in KINDS:
        if form == request.response_format:
            return Saying(model=request.model, text=request.input, voice=request.voice, form=form)
    raise UnsupportedValue(f"'response_format' can be {', '.join(KINDS)}.", param="response_format")


def pieces(text: str) -> list[str]:
    """The text in parts that are short enough to be said, cut at sentences, else between words."""
    sentences = re.split(r"(?<=[.!?…。！？])\s+|\n+", text)
    return [
        piece
        for sentence in sentences
        for piece in textwrap.wrap(sentence, PIECE_MAX_CHARS, break_on_hyphens=False)
    ]
