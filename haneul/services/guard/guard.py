"""The seam of guards, and the one there is: personal data is masked or refused.

A guard sees a request before it leaves for any engine, and the engine's answer before anybody tells
it to the client. What it cannot look into it refuses, and what it found it only counts.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import msgspec
from msgspec.structs import replace

from haneul.base.errors import PersonalData, UnsupportedValue
from haneul.base.wire import Body
from haneul.services.ask import Ask
from haneul.services.guard.finding import Finder
from haneul.services.guard.masks import Masks

THREAD_BYTES = 8 << 10  # from here on a request is looked through beside the event loop
MASKED = b"x-haneul-masked: %d\r\n"
REFUSE = "refuse"
# Fields without a word of anybody's.
STRUCTURE = frozenset({"model", "stream", "stream_options"})
_OF_TOKENS = ("prompt", "input")
_UNREADABLE = frozenset({"image_url", "input_audio", "file", "video_url"})


class Guarded(NamedTuple):
    """A request that may leave, and what stands for what in it."""

    ask: Ask
    values: Mapping[str, str]  # by placeholder


class Guard(Protocol):
    """Looks at what leaves; what comes back is restored by what it gave out."""

    async def before(self, ask: Ask) -> Guarded:
        """The request as it may leave. Raises HaneulError where it may not."""
        ...


class PersonalGuard:
    """Masks personal data, or refuses it."""

    def __init__(self, kind: str, finder: Finder, counts: Counter[str] | None = None) -> None:
        self._kind = kind
        self._counts: Counter[str] = Counter() if counts is None else counts
        self._finder = finder

    async def before(self, ask: Ask) -> Guarded:
        """With placeholders. Raises PersonalData, UnsupportedValue."""
        try:
            if sum(len(raw) for raw in ask.body.fields.values()) < THREAD_BYTES:
                return self._look(ask)
            return await asyncio.to_thread(self._look, ask)
        except RecursionError as cause:
            raise UnsupportedValue(
                "Lists within lists are too deep to be looked through."
            ) from cause

    def _look(self, ask: Ask) -> Guarded:
        fields: dict[str, Any] = {
            name: msgspec.json.decode(raw)
            for name, raw in ask.body.fields.items()
            if name not in STRUCTURE
        }
        if ask.content_type is not None:
            raise UnsupportedValue(
                "A guard reads what is asked here; it hears no sound.", param="file"
            )
        _check_readable(fields)
        masks = Masks(self._finder, msgspec.json.encode(fields))
        masked = masks.mask(fields)
        found = sum(masks.counts.values())
        self._counts += masks.counts
        if not found:
            return Guarded(replace(ask, masked=0), {})
        if self._kind == REFUSE or ask.unit is not None:  # a placeholder is not said or drawn
            raise PersonalData(_said(masks.counts))
        changed = {name: value for name, value in masked.items() if value != fields[name]}
        body = Body(ask.body.replace(**changed))
        size = sum(len(body.fields.get(name, b"")) for name in ask.route.prompt_fields)
        return Guarded(replace(ask, body=body, prompt_bytes=size, masked=found), masks.values)


class Guards:
    """The guards that are switched on somewhere, each made when it is first asked."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()  # of what was masked or refused, by kind
        self._made: dict[str, Guard] = {}

    def of(self, kind: str) -> Guard:
        """Raises GuardUnavailable where it needs what is not installed."""
        if kind not in self._made:
            self._made[kind] = PersonalGuard(kind, Finder(), self.counts)
        return self._made[kind]


def _check_readable(fields: Mapping[str, Any]) -> None:
    """Raises UnsupportedValue for what holds words that cannot be read here."""
    for name in _OF_TOKENS:
        if _has_tokens(fields.get(name)):
            raise UnsupportedValue(
                f"A guard looks through what is asked here: '{name}' must be text.", param=name
            )
    for message in fields.get("messages") or []:
        parts = message.get("content") if isinstance(message, dict) else None
        for part in parts if isinstance(parts, list) else []:
            if isinstance(part, dict) and part.get("type") in _UNREADABLE:
                raise UnsupportedValue(
                    "A guard looks through what is asked here, and cannot look into this.",
                    param=f"messages.content.{part['type']}",
                )


def _has_tokens(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    return any(isinstance(one, int) or _has_tokens(one) for one in value)


def _said(counts: Mapping[str, int]) -> str:
    """Kinds and numbers, and nothing of what was found."""
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    return f"The request holds personal data ({told}), which is not let through here."
