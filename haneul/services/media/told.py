"""An answer of sound, pictures or a transcript: it goes on as it is, and what was used is read.

Engines say it in `usage` (tokens, seconds), in the number of pictures, or in our own engines'
headers. Where nothing is said, a transcript is billed by the sound's length as its file tells it,
else by the transcript's last time, else by the file's size; and speech by its characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from haneul.base.errors import HaneulError
from haneul.base.http_connection import Reader, Shortcut, Sink
from haneul.base.units import MILLION
from haneul.services.ask import Ask
from haneul.services.dialect import Errors
from haneul.services.flights import Counters
from haneul.services.media.asked import CHARACTER, IMAGE
from haneul.services.openai import COUNT_MAX
from haneul.services.remote import Reply

HEARD_MAX_BYTES = 64 << 20  # of an answer whose use is read at its end
OURS_MS = b"%b-audio-ms" % b"x-haneul"  # what our own engines say; no client sees it
EVENTS = b"text/event-stream"
_TIME = re.compile(rb"-->\s*(?:(\d+):)?(\d\d):(\d\d)[.,](\d{3})")


class Sound(NamedTuple):
    """How long the sound lasts that was sent, in microseconds, as far as its file tells."""

    exact_us: int | None = None
    guess_us: int = 0  # by its size


class Passed:
    """An answer on its way to the client. Implements Told."""

    upstream_id: str | None = None
    failure: HaneulError | None = None
    errors: Errors | None = None
    is_plain = False

    def __init__(self, ask: Ask, counters: Counters, sound: Sound) -> None:
        self.content_type = b"application/octet-stream"
        self.is_done = False
        self.has_usage = False
        self._ask = ask
        self._counters = counters
        self._sound = sound

    def passes(self, chunk: bytes) -> bool:
        return False

    def feed(self, data: bytes) -> bytes:
        return data

    def ending(self, *, cost_nano: int, currency: str) -> bytes:
        return b""

    def begin(self, headers: Mapping[bytes, bytes]) -> None:
        """The engine's head is here: a text that is being said is used whole from now on."""
        self.content_type = headers.get(b"content-type", self.content_type)
        if self._ask.unit == CHARACTER:
            self._counters.units = self._ask.units_max
            self.has_usage = True

    @property
    def is_said(self) -> bool:
        """Whether the answer is a sound: nothing in it tells what was used."""
        return self.content_type.startswith(b"audio/")

    def end(self, data: bytes, headers: Mapping[bytes, bytes]) -> None:
        """All of it has come: what it used."""
        self.is_done = True
        values = [*_values(data)] if not self.is_said else []
        usages = [value["usage"] for value in values if isinstance(value.get("usage"), dict)]
        for usage in usages:
            self._tokens(usage)
        if self._ask.unit != CHARACTER:
            self._counters.units = self._units(data, values, usages, headers)

    def _tokens(self, usage: dict[str, Any]) -> None:
        counters = self._counters
        prompt = _count(usage.get("input_tokens", usage.get("prompt_tokens")))
        completion = _count(usage.get("output_tokens", usage.get("completion_tokens")))
        if prompt is not None or completion is not None:
            counters.prompt_tokens, counters.completion_tokens = prompt or 0, completion or 0
            self.has_usage = True

    def _units(
        self,
        data: bytes,
        values: list[dict[str, Any]],
        usages: list[dict[str, Any]],
        headers: Mapping[bytes, bytes],
    ) -> int:
        if self._ask.unit == IMAGE:
            drawn = sum(
                len(value["data"]) for value in values if isinstance(value.get("data"), list)
            )
            self.has_usage = True
            return min(drawn or self._events(values), self._ask.units_max)
        said = [_seconds(usage.get("seconds")) for usage in usages]
        said += [_seconds(value.get("duration")) for value in values]
        if (ours := headers.get(OURS_MS, b"")).isdigit():
            said.append(int(ours) * 1000)
        known = [us for us in said if us is not None]
        self.has_usage = self.has_usage or bool(known)
        return (
            max(known) if known else self._sound.exact_us or _last_us(data) or self._sound.guess_us
        )

    def _events(self, values: list[dict[str, Any]]) -> int:
        """Pictures of a stream, each told by an event of its own."""
        return sum(str(value.get("type", "")).endswith(".completed") for value in values)


class Passing:
    """A reply that tells `passed` when it began and ended. A Reply."""

    def __init__(self, inner: Reply, passed: Callable[[], Passed]) -> None:
        self.status = inner.status
        self.headers = inner.headers
        self._inner = inner
        self._passed = passed

    async def pump(self, take: Sink, reader: Reader, shortcut: Shortcut | None = None) -> None:
        """A sound and events go on as they come; what is read as a whole goes on whole."""
        passed = self._passed()
        passed.begin(self.headers)
        heard = bytearray()
        if not passed.is_said and not passed.content_type.startswith(EVENTS):
            heard += await self._inner.read(HEARD_MAX_BYTES)
            passed.end(bytes(heard), self.headers)
            take(bytes(heard))
            return

        def both(data: bytes) -> None:
            if len(heard) < HEARD_MAX_BYTES and not passed.is_said:
                heard.extend(data)
            take(data)

        await self._inner.pump(both, reader)
        passed.end(bytes(heard), self.headers)

    async def read(self, limit_bytes: int = HEARD_MAX_BYTES) -> bytes:
        return await self._inner.read(limit_bytes)

    def chunks(self) -> Any:
        return self._inner.chunks()

    def abort(self) -> None:
        self._inner.abort()

    async def __aenter__(self) -> Passing:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._inner.__aexit__(*error)


def _values(data: bytes) -> Iterable[dict[str, Any]]:
    """The JSON objects that an answer says: itself, or those of its events."""
    payloads = [data] if data.lstrip()[:1] == b"{" else _payloads(data)
    for payload in payloads:
        try:
            value = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def _payloads(data: bytes) -> list[bytes]:
    return [line[5:].strip() for line in data.split(b"\n") if line.startswith(b"data:")]


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= COUNT_MAX
    return value if is_count else None


def _seconds(value: Any) -> int | None:
    """Microseconds of what an engine says in seconds, as number or text."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return round(seconds * MILLION) if 0 <= seconds <= COUNT_MAX else None


def _last_us(data: bytes) -> int:
    """The latest time in a transcript with times."""
    times = [
        ((int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)) * MILLION + int(ms) * 1000
        for hours, minutes, seconds, ms in _TIME.findall(data)
    ]
    return max(times, default=0)
