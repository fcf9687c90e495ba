"""Requests to hear, checked at the edge: each field is honoured or refused by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

from msgspec import Struct

from haneul.base.errors import BadRequest, UnknownField, UnsupportedValue
from haneul.base.multipart import Part
from haneul.engine.media.wav import CONVERT, Wav, read_head

Form = Literal["json", "text", "srt", "verbose_json", "vtt"]
Task = Literal["transcribe", "translate"]

HEARD_HZ = 16_000  # every Whisper hears at that rate
HEARD_MS = (100, 30 * 60 * 1000)  # least and most of one request
PROMPT_MAX_CHARS = 4096
PHASES_MAX = 640  # as 11 025 to 16 000 Hz needs: a filter of its own for each (resample.py)

_FIELDS = frozenset({"file", "model", "prompt", "response_format", "temperature"})
_MORE: dict[Task, frozenset[str]] = {
    "transcribe": frozenset({"language", "timestamp_granularities[]", "stream"}),
    "translate": frozenset(),
}


class Hearing(Struct, frozen=True, kw_only=True):
    """One request to hear: what is asked of the model, and how it is to be told."""

    task: Task
    model: str
    file: bytes
    sound: Wav
    language: str = ""  # a code of the model; empty: it tells by itself
    prompt: str = ""
    temperature: float = 0.0  # 0: the likeliest words
    form: Form = "json"
    has_segments: bool = False
    has_words: bool = False


class Hears(Struct, frozen=True, kw_only=True):
    """What a loaded model can hear."""

    languages: list[str]  # codes; of a model of English alone: "en"
    translates: bool
    times_words: bool


def accept_hearing(parts: Sequence[Part], task: Task, hears: Hears) -> Hearing:
    """A request that will be honoured whole. Raises BadRequest that names the field."""
    fields = _fields(parts, _FIELDS | _MORE[task])
    form = _form(fields.get("response_format", ["json"])[0])
    granularities = _granularities(fields.get("timestamp_granularities[]", []), form, hears)
    if fields.get("stream", ["false"])[0].lower() != "false":
        raise UnsupportedValue("A transcription is not streamed here.", param="stream")
    if task == "translate" and not hears.translates:
        raise UnsupportedValue("This model knows English alone: nothing to translate from.")
    file = _file(parts)
    return Hearing(
        task=task,
        model=_needed(fields, "model"),
        file=file,
        sound=_sound(file),
        language=_language(fields.get("language", [""])[0], hears),
        prompt=_prompt(fields.get("prompt", [""])[0]),
        temperature=_temperature(fields.get("temperature", ["0"])[0]),
        form=form,
        has_segments=form in ("srt", "vtt") or "segment" in granularities,
        has_words="word" in granularities,
    )


def _fields(parts: Sequence[Part], known: frozenset[str]) -> dict[str, list[str]]:
    """Texts by name. A name comes once, but for lists."""
    fields: dict[str, list[str]] = {}
    for part in parts:
        shown = part.name[:64]
        if part.name not in known:
            raise UnknownField(f"'{shown}' is not honoured by this engine.", param=shown)
        if part.name == "file":
            continue
        try:
            fields.setdefault(part.name, []).append(part.data.decode())
        except UnicodeDecodeError as cause:
            raise BadRequest(f"'{shown}' is not UTF-8.", param=shown) from cause
    for name, values in fields.items():
        if len(values) > 1 and not name.endswith("[]"):
            raise BadRequest(f"'{name}' was sent {len(values)} times.", param=name)
    return fields


def _needed(fields: dict[str, list[str]], name: str) -> str:
    if not fields.get(name, [""])[0]:
        raise BadRequest(f"'{name}' is missing.", param=name)
    return fields[name][0]


def _file(parts: Sequence[Part]) -> bytes:
    files = [part for part in parts if part.name == "file"]
    if len(files) != 1:
        raise BadRequest(f"One 'file' is needed; {len(files)} were sent.", param="file")
    return files[0].data


def _sound(file: bytes) -> Wav:
    sound = read_head(file, param="file")
    least, most = HEARD_MS
    if not least <= sound.duration_ms <= most:
        raise UnsupportedValue(
            f"The sound lasts {sound.duration_ms / 1000} s; "
            f"from {least / 1000} s to {most // 1000} s are heard.",
            param="file",
        )
    if HEARD_HZ // math.gcd(sound.rate_hz, HEARD_HZ) > PHASES_MAX:
        raise UnsupportedValue(
            f"{sound.rate_hz} samples per second are too odd a rate. {CONVERT}", param="file"
        )
    return sound


def _form(text: str) -> Form:
    for form in get_args(Form):
        if form == text:
            return form  # type: ignore[no-any-return]
    told = ", ".join(get_args(Form))
    raise UnsupportedValue(f"'response_format' can be {told}.", param="response_format")


def _granularities(asked: Sequence[str], form: Form, hears: Hears) -> frozenset[str]:
    param = "timestamp_granularities[]"
    if not asked:
        return frozenset({"segment"}) if form == "verbose_json" else frozenset()
    if form != "verbose_json":
        raise BadRequest(f"'{param}' needs 'response_format': verbose_json.", param=param)
    for name in asked:
        if name not in ("segment", "word"):
            raise UnsupportedValue(f"'{param}' can be segment and word.", param=param)
    if "word" in asked and not hears.times_words:
        raise UnsupportedValue("This model's folder has no times of words.", param=param)
    return frozenset(asked)


def _language(code: str, hears: Hears) -> str:
    if code and code.lower() not in hears.languages:
        known = ", ".join(hears.languages)
        raise UnsupportedValue(f"'language' can be a code of: {known}.", param="language")
    return code.lower()


def _prompt(text: str) -> str:
    if len(text) > PROMPT_MAX_CHARS:
        raise BadRequest(
            f"'prompt' has {len(text)} characters; {PROMPT_MAX_CHARS} at most.", param="prompt"
        )
    return text


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise BadRequest("'temperature' must be from 0 to 1.", param="temperature")
    return value
