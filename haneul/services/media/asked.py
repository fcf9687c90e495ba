"""What a request for sound or pictures asks, as far as the gateway must know; the rest goes on.

A form goes on part by part, with the engine's own name for the model; a JSON body with all fields.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from haneul.base.errors import BadRequest
from haneul.base.multipart import Part, read_form
from haneul.base.units import MILLION
from haneul.base.wire import Body, Name, decode
from haneul.services.ask import Ask, Route
from haneul.services.media.sound import longest_us

AUDIO, IMAGE, CHARACTER = "audio_us", "image", "character"
IMAGES_MAX = 10
# Bounds of what engines that count tokens count: reserved, never billed.
TOKENS_PER_S = 50  # of a sound, and of what it says
TOKENS_PER_CHARACTER = 8  # of a text that is said
TOKENS_PER_IMAGE = 8192
TRANSCRIPTIONS = Route("transcriptions", "/v1/audio/transcriptions", None, ())
TRANSLATIONS = Route("translations", "/v1/audio/translations", None, ())
SPEECH = Route("speech", "/v1/audio/speech", None, ("input", "instructions"))
IMAGES = Route("images", "/v1/images/generations", None, ("prompt",))

_SAFE = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})  # as browsers write names


class SpeechRequest(Struct, frozen=True, kw_only=True):
    """POST /v1/audio/speech; other fields go on."""

    model: Name
    input: Annotated[str, Meta(min_length=1, max_length=1 << 16)]
    voice: Any = None
    response_format: Annotated[str, Meta(max_length=64)] | None = None
    stream_format: Literal["sse", "audio"] | None = None
    user: Annotated[str, Meta(max_length=512)] | None = None


class ImageRequest(Struct, frozen=True, kw_only=True):
    """POST /v1/images/generations; other fields go on."""

    model: Name
    prompt: Annotated[str, Meta(min_length=1, max_length=1 << 16)]
    n: Annotated[int, Meta(ge=1, le=IMAGES_MAX)] | None = None
    stream: bool | None = None
    user: Annotated[str, Meta(max_length=512)] | None = None


class Upload(Struct, frozen=True, kw_only=True):
    """A form with one file."""

    parts: Sequence[Part]
    boundary: str

    def named(self, model: str) -> bytes:
        """The form again, for an engine that has the model under that name."""
        lines: list[bytes] = []
        for part in self.parts:
            named = f'form-data; name="{part.name.translate(_SAFE)}"'
            kind = ""
            if part.filename is not None:
                named += f'; filename="{part.filename.translate(_SAFE)}"'
                kind = "content-type: application/octet-stream\r\n"
            head = f"--{self.boundary}\r\ncontent-disposition: {named}\r\n{kind}\r\n"
            data = model.encode() if part.name == "model" else part.data
            lines += [head.encode(), data, b"\r\n"]
        return b"".join([*lines, b"--%b--\r\n" % self.boundary.encode()])


_speech = msgspec.json.Decoder(SpeechRequest)
_image = msgspec.json.Decoder(ImageRequest)


def read_speech(data: bytes) -> Ask:
    """A text to say. Raises BadRequest that names the field."""
    request, body = decode(data, _speech), Body(data)
    return _ask(
        SPEECH,
        body,
        request.model,
        user=request.user,
        unit=CHARACTER,
        units_max=len(request.input),
        prompt_bytes=len(body.fields["input"]) + len(body.fields.get("instructions", b"")),
        completion_max=len(request.input) * TOKENS_PER_CHARACTER,
    )


def read_image(data: bytes) -> Ask:
    """Pictures to draw. Raises BadRequest that names the field."""
    request, body = decode(data, _image), Body(data)
    count = request.n or 1
    return _ask(
        IMAGES,
        body,
        request.model,
        user=request.user,
        unit=IMAGE,
        units_max=count,
        prompt_bytes=len(body.fields["prompt"]),
        completion_max=count * TOKENS_PER_IMAGE,
    )


def read_upload(route: Route, data: bytes, content_type: str) -> tuple[Ask, Upload]:
    """A sound to hear. Raises BadRequest that names the field."""
    parts = read_form(data, content_type)
    file = _one(parts, "file")
    if file.filename is None or not file.data:
        raise BadRequest("'file' must be a file that is not empty.", param="file")
    model = _text(_one(parts, "model"))
    if not 1 <= len(model) <= 512:
        raise BadRequest("'model' must be the name of a model.", param="model")
    texts = {part.name: _text(part) for part in parts if part.filename is None}
    longest = longest_us(file.data)
    tokens = longest * TOKENS_PER_S // MILLION + 1
    ask = _ask(
        route,
        Body(msgspec.json.encode(texts)),
        model,
        user=None,
        unit=AUDIO,
        units_max=longest,
        prompt_bytes=tokens + sum(map(len, texts.values())),
        completion_max=tokens,
    )
    return ask, Upload(parts=parts, boundary=f"haneul-{secrets.token_hex(16)}")


def _ask(route: Route, body: Body, model: str, *, user: str | None, **facts: Any) -> Ask:
    return Ask(
        route=route,
        name=route.name,
        body=body,
        model=model,
        is_stream=True,  # whatever comes goes on as it comes
        end_user=user,
        **facts,
    )


def _one(parts: Sequence[Part], name: str) -> Part:
    found = [part for part in parts if part.name == name]
    if len(found) != 1:
        raise BadRequest(f"One '{name}' is needed; {len(found)} were sent.", param=name)
    return found[0]


def _text(part: Part) -> str:
    try:
        return part.data.decode()
    except UnicodeDecodeError as cause:
        raise BadRequest(f"'{part.name[:64]}' is not UTF-8.", param=part.name[:64]) from cause
