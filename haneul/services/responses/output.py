"""The items of one answer as they grow, and the events that tell each step.

output.add(said)       # a streamed delta, or a whole message at once
output.finish(status)
output.items()
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from haneul.base.ids import new_id

Event = dict[str, Any]


class SaidFunction(Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class SaidCall(Struct, frozen=True):
    """A call, or the next piece of one."""

    index: int | None = None
    id: str | None = None
    function: SaidFunction | None = None


class Said(Struct, frozen=True):
    """A chat's message, or what a chunk adds to it."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[SaidCall] | None = None


class Scores(Struct, frozen=True):
    content: list[dict[str, Any]] | None = None


class _Kind(Struct, frozen=True):
    """How one kind of item is named: its id, its events, its one part and the text in that."""

    prefix: str
    events: str
    part: str = ""
    text: str = "text"


_KINDS = {
    "reasoning": _Kind("rs", "response.reasoning_text", "reasoning_text"),
    "message": _Kind("msg", "response.output_text", "output_text"),
    "refusal": _Kind("msg", "response.refusal", "refusal", "refusal"),
    "function_call": _Kind("fc", "response.function_call_arguments", text="arguments"),
}


class _Item:
    """One item of the answer."""

    def __init__(self, kind: str, at: int, *, call_id: str = "", name: str = "") -> None:
        self.kind = kind
        self.at = at
        self.id = new_id(_KINDS[kind].prefix)
        self.call_id = call_id
        self.name = name
        self.status = "in_progress"
        self.pieces: list[str] = []
        self.logprobs: list[dict[str, Any]] = []

    def shown(self, *, is_empty: bool = False) -> dict[str, Any]:
        """As the API shows it; empty as it was when it was opened."""
        head = {"id": self.id, "status": self.status}
        if self.kind == "function_call":
            arguments = "" if is_empty else "".join(self.pieces)
            call = {"call_id": self.call_id, "name": self.name, "arguments": arguments}
            return {**head, "type": "function_call", **call}
        content = [] if is_empty else [self.part()]
        if self.kind == "reasoning":
            return {**head, "type": "reasoning", "summary": [], "content": content}
        return {**head, "type": "message", "role": "assistant", "content": content}

    def part(self, *, is_empty: bool = False) -> dict[str, Any]:
        """Its one part of content."""
        kind = _KINDS[self.kind]
        part: dict[str, Any] = {
            "type": kind.part,
            kind.text: "" if is_empty else "".join(self.pieces),
        }
        if self.kind == "message":
            part |= {"annotations": [], "logprobs": [] if is_empty else self.logprobs}
        return part


class Output:
    """What the answer holds so far."""

    def __init__(self) -> None:
        self._items: list[_Item] = []
        self._open: _Item | None = None  # the one that texts are added to
        self._calls: dict[int, _Item] = {}  # open, by the engine's number: their pieces may mix

    def items(self) -> list[dict[str, Any]]:
        """Every item as the API shows it."""
        return [item.shown() for item in self._items]

    def add(self, said: Said, scores: Scores | None = None) -> list[Event]:
        """Takes what was said and gives its events."""
        events: list[Event] = []
        if text := said.reasoning_content or said.reasoning:
            events += self._add_text("reasoning", text, [])
        if said.content:
            events += self._add_text("message", said.content, _logprobs(scores))
        if said.refusal:
            events += self._add_text("refusal", said.refusal, [])
        for position, call in enumerate(said.tool_calls or []):
            events += self._add_call(position if call.index is None else call.index, call)
        return events

    def finish(self, status: str) -> list[Event]:
        """Ends what is open; the last item has the answer's own status."""
        return self._close(status)

    def _add_text(self, kind: str, text: str, logprobs: list[dict[str, Any]]) -> list[Event]:
        events: list[Event] = []
        if self._open is None or self._open.kind != kind:
            events = self._close("completed")
            self._open = self._new(_Item(kind, len(self._items)))
            events += _opened(self._open)
        self._open.pieces.append(text)
        self._open.logprobs += logprobs
        delta = {**_place(self._open), "delta": text}
        if kind == "message":
            delta["logprobs"] = logprobs
        return [*events, {"type": f"{_KINDS[kind].events}.delta", **delta}]

    def _add_call(self, number: int, said: SaidCall) -> list[Event]:
        function = said.function or SaidFunction()
        events: list[Event] = []
        item = self._calls.get(number)
        if item is None:
            events = self._close("completed") if self._open is not None else []
            call_id = said.id or new_id("call")
            item = _Item(
                "function_call", len(self._items), call_id=call_id, name=function.name or ""
            )
            self._calls[number] = self._new(item)
            events += _opened(item)
        elif function.name:
            item.name += function.name
        if function.arguments:
            item.pieces.append(function.arguments)
            kind = "response.function_call_arguments.delta"
            events.append({"type": kind, **_place(item), "delta": function.arguments})
        return events

    def _new(self, item: _Item) -> _Item:
        self._items.append(item)
        return item

    def _close(self, status: str) -> list[Event]:
        closing = [*self._calls.values(), *([self._open] if self._open else [])]
        self._calls, self._open = {}, None
        events: list[Event] = []
        for item in sorted(closing, key=lambda item: item.at):
            item.status = status if item is self._items[-1] else "completed"
            events += _closed(item)
        return events


def _place(item: _Item) -> Event:
    place: Event = {"item_id": item.id, "output_index": item.at}
    return place if item.kind == "function_call" else {**place, "content_index": 0}


def _opened(item: _Item) -> list[Event]:
    shown = {"output_index": item.at, "item": item.shown(is_empty=True)}
    events: list[Event] = [{"type": "response.output_item.added", **shown}]
    if item.kind != "function_call":
        part = item.part(is_empty=True)
        events.append({"type": "response.content_part.added", **_place(item), "part": part})
    return events


def _closed(item: _Item) -> list[Event]:
    kind, place = _KINDS[item.kind], _place(item)
    done: Event = {"type": f"{kind.events}.done", **place, kind.text: "".join(item.pieces)}
    events = [done]
    if item.kind == "function_call":
        done["name"] = item.name
    else:
        if item.kind == "message":
            done["logprobs"] = item.logprobs
        events.append({"type": "response.content_part.done", **place, "part": item.part()})
    shown = {"output_index": item.at, "item": item.shown()}
    return [*events, {"type": "response.output_item.done", **shown}]


def _logprobs(scores: Scores | None) -> list[dict[str, Any]]:
    return list(scores.content or []) if scores is not None else []
