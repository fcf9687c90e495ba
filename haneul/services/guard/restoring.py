"""An engine's answer with the placeholders of its request replaced by what they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from haneul.services.around import Around, AroundTold
from haneul.services.ask import Ask
from haneul.services.dialect import Dialect, Told
from haneul.services.flights import Counters
from haneul.services.guard.masks import PLACEHOLDER, Restorer
from haneul.services.openai import EVENT_MAX_BYTES

_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")


class Restored(AroundTold):
    """A streamed answer, told once it is restored.

    Of each text no more than a placeholder's length is held back, and no longer than to the end of
    its choice.
    """

    def __init__(self, inner: Told, values: Mapping[str, str]) -> None:
        super().__init__(inner)
        self._values = values
        self._rest = b""
        self._texts: dict[tuple[Any, ...], Restorer] = {}

    def feed(self, data: bytes) -> bytes:
        text = (self._rest + data).replace(b"\r\n", b"\n")
        whole, parted, self._rest = text.rpartition(b"\n\n")
        if not parted:
            self._rest = text
            return self.inner.feed(self._release()) if len(text) > EVENT_MAX_BYTES else b""
        events = [self._event(event) for event in whole.split(b"\n\n")]
        return self.inner.feed(b"".join(event + b"\n\n" for event in events))

    def _release(self) -> bytes:
        """An event larger than anybody takes: whoever reads it says so."""
        rest, self._rest = self._rest, b""
        return rest

    def _event(self, event: bytes) -> bytes:
        if not self._texts and event.count(b"[") < 2:  # that of its choices is none of a text
            return event
        lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
        payload = b"\n".join(lines)
        if payload == b"[DONE]" and self._texts:
            return self._left() + event
        if not payload.startswith(b"{"):
            return event
        try:
            chunk = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return event  # whoever reads it next says what is wrong with it
        for choice in chunk.get("choices") or []:
            self._choice(choice)
        return b"data: " + msgspec.json.encode(chunk)

    def _choice(self, choice: dict[str, Any]) -> None:
        index, delta = choice.get("index", 0), choice.get("delta")
        if isinstance(choice.get("text"), str):
            choice["text"] = self._add((index, "text"), choice["text"])
        if isinstance(delta, dict):
            for name in _TEXTS:
                if isinstance(delta.get(name), str):
                    delta[name] = self._add((index, name), delta[name])
            for call in delta.get("tool_calls") or []:
                function = call.get("function") or {}
                if isinstance(function.get("arguments"), str):
                    place = (index, "arguments", call.get("index", 0))
                    function["arguments"] = self._add(place, function["arguments"])
        if choice.get("finish_reason"):
            self._end(choice, index)

    def _add(self, place: tuple[Any, ...], piece: str) -> str:
        text = self._texts.pop(place, None) or Restorer(self._values)
        ready = text.add(piece)
        if text.is_holding:
            self._texts[place] = text
        return ready

    def _left(self) -> bytes:
        """What is held of choices that nobody ended."""
        choices: list[dict[str, Any]] = []
        for index in sorted({place[0] for place in self._texts}):
            choices.append({"index": index})
            self._end(choices[-1], index)
        return b"data: " + msgspec.json.encode({"choices": choices}) + b"\n\n"

    def _end(self, choice: dict[str, Any], index: int) -> None:
        """What was held back of an ended choice goes out with its end."""
        for place in [place for place in self._texts if place[0] == index]:
            held = self._texts.pop(place).end()
            if not held:
                continue
            if place[1] == "text":
                choice["text"] = (choice.get("text") or "") + held
                continue
            delta = choice["delta"] = choice.get("delta") or {}
            if place[1] == "arguments":
                said = {"index": place[2], "function": {"arguments": held}}
                delta["tool_calls"] = [*(delta.get("tool_calls") or []), said]
            else:
                delta[place[1]] = (delta.get(place[1]) or "") + held


class Restoring(Around):
    """For one guarded request."""

    def __init__(self, inner: Dialect, values: Mapping[str, str]) -> None:
        super().__init__(inner)
        self._values = values

    def stream(self, ask: Ask, counters: Counters) -> Told:
        return Restored(self.inner.stream(ask, counters), self._values)

    def whole(self, ask: Ask, data: bytes, *, cost_nano: int, currency: str) -> bytes:
        restored = restored_json(data, self._values)
        return self.inner.whole(ask, restored, cost_nano=cost_nano, currency=currency)


def restored_json(data: bytes, values: Mapping[str, str]) -> bytes:
    """JSON with the placeholders in its texts replaced.

    What they stand for has neither quotes nor backslashes, so it means itself in any text.
    """
    if b"[" not in data:
        return data
    text = data.decode(errors="surrogateescape")
    found = PLACEHOLDER.sub(lambda one: values.get(one[0], one[0]), text)
    return found.encode(errors="surrogateescape")
