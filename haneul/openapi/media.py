"""The addresses of sound and pictures: what the gateway reads of them; the rest goes on."""

from __future__ import annotations

from haneul.base import errors
from haneul.base.multipart import NAME_MAX_CHARS
from haneul.openapi.errors import ASKING as FAILS
from haneul.openapi.headers import ASKED, ASKING
from haneul.openapi.operation import Operation, Schema
from haneul.openapi.words import shared
from haneul.services.media.asked import ImageRequest, SpeechRequest

FORM: Schema = {
    "type": "object",
    "properties": {
        "file": {
            "type": "string",
            "format": "binary",
            "minLength": 1,
            "description": "The sound; goes on whole.",
        },
        "model": {"type": "string", "minLength": 1, "maxLength": 512},
    },
    "required": ["file", "model"],
    "propertyNames": {"minLength": 1, "maxLength": NAME_MAX_CHARS},
    "additionalProperties": True,
}
SOUND = "application/octet-stream"

OPERATIONS = (
    Operation(
        method="POST",
        address="/v1/audio/transcriptions",
        text="Writes down what is said in a sound.",
        scope="infer",
        form=FORM,
        answer=bytes,
        media=SOUND,
        takes=ASKING,
        gives=ASKED,
        errors=(*FAILS, errors.UnsupportedValue),
    ),
    Operation(
        method="POST",
        address="/v1/audio/translations",
        text="Writes down in English what is said in a sound.",
        scope="infer",
        form=FORM,
        answer=bytes,
        media=SOUND,
        takes=ASKING,
        gives=ASKED,
        errors=(*FAILS, errors.UnsupportedValue),
    ),
    Operation(
        method="POST",
        address="/v1/audio/speech",
        text="Says a text; the sound comes as it is made.",
        scope="infer",
        body=SpeechRequest,
        others="forwarded",
        answer=bytes,
        media=SOUND,
        takes=ASKING,
        gives=ASKED,
        errors=FAILS,
    ),
    Operation(
        method="POST",
        address="/v1/images/generations",
        text="Draws pictures.",
        scope="infer",
        body=ImageRequest,
        others="forwarded",
        answer=bytes,
        media=SOUND,
        takes=ASKING,
        gives=ASKED,
        errors=FAILS,
    ),
)

FIELDS: dict[type, dict[str, str]] = {
    SpeechRequest: {
        "model": "A model or a route.",
        "input": "What is said; billed by its characters where the engine counts no tokens.",
        "voice": "Goes on to the engine.",
        "response_format": "Goes on to the engine.",
        "stream_format": "`audio` comes as sound, `sse` as events.",
        **shared("user"),
    },
    ImageRequest: {
        "model": "A model or a route.",
        "prompt": "What is drawn.",
        "n": "How many pictures; billed by those that come.",
        "stream": "Whether they come as events, of engines that do that.",
        **shared("user"),
    },
}
