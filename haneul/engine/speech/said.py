"""What an answer's text turned out to be, collected as it is read."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from haneul.base.ids import new_id


class Said(Struct, frozen=True, kw_only=True):
    """Words, thoughts or parts of calls (OpenAI's deltas of tool calls); one of the three."""

    text: str = ""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = []


class Saying:
    """Takes what is read, in order, until it is fetched.

    White space beside thoughts and calls is layout of the format and no one's words. So where
    there can be calls, white space is held back until words follow it.
    """

    def __init__(self, *, holds_space: bool) -> None:
        self.calls = 0
        self.is_thinking = False  # a thought has begun and not ended
        self._holds_space = holds_space
        self._space = ""  # after words
        self._gap = ""  # after thoughts
        self._has_thought = False
        self._said: list[Said] = []

    def text(self, piece: str) -> None:
        if self._holds_space:
            piece = self._space + piece
            kept = piece.rstrip()
            self._space, piece = piece[len(kept) :], kept
        if piece:
            self._add(Said(text=piece))

    def reasoning(self, piece: str) -> None:
        piece = self._gap + piece
        if not self._has_thought:
            piece = piece.lstrip()
        kept = piece.rstrip()
        self._gap = piece[len(kept) :]
        if kept:
            self._has_thought = True
            self._add(Said(reasoning=kept))

    def end_thought(self) -> None:
        """The next thought, if any, is one of its own."""
        self.is_thinking = False
        self._gap = "\n" if self._has_thought else ""

    def call(self, name: str) -> None:
        """A call begins."""
        self._space = ""
        call = {"index": self.calls, "id": new_id("call"), "type": "function"}
        self._add(Said(tool_calls=[{**call, "function": {"name": name, "arguments": ""}}]))
        self.calls += 1

    def arguments(self, piece: str) -> None:
        """Text of the arguments of the call that began last."""
        if piece:
            delta = {"index": self.calls - 1, "function": {"arguments": piece}}
            self._add(Said(tool_calls=[delta]))

    def end(self) -> None:
        """Nothing follows: white space was words' own, unless a call was the last word."""
        if self._space and not self.calls:
            self._add(Said(text=self._space))
        self._space = ""

    def fetch(self) -> list[Said]:
        """What was said since the last time."""
        said, self._said = self._said, []
        return said

    def _add(self, one: Said) -> None:
        last = self._said[-1] if self._said else None
        merged = last and _merged(last, one)
        if merged:
            self._said[-1] = merged
        else:
            self._said.append(one)


def _merged(last: Said, one: Said) -> Said | None:
    """Two of a kind in one; None when they are not."""
    if last.text and one.text:
        return Said(text=last.text + one.text)
    if last.reasoning and one.reasoning:
        return Said(reasoning=last.reasoning + one.reasoning)
    if not (last.tool_calls and one.tool_calls):
        return None
    before, delta = last.tool_calls[-1], one.tool_calls[0]
    if before["index"] != delta["index"]:
        return Said(tool_calls=[*last.tool_calls, delta])
    arguments = before["function"]["arguments"] + delta["function"]["arguments"]
    both = {**before, "function": {**before["function"], "arguments": arguments}}
    return Said(tool_calls=[*last.tool_calls[:-1], both])
