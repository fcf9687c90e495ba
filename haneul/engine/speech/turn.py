"""One turn of a chat: the prompt, what the answer must look like, and how it is read."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from haneul.base.wire import ChatRequest
from haneul.engine.speech.template import ChatTemplate
from haneul.engine.worker.job import Constraint


class Said(Struct, frozen=True, kw_only=True):
    """What an answer's text turned out to be."""

    text: str = ""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = []


class PlainReader:
    """Text is text."""

    has_calls = False

    def add(self, text: str) -> list[Said]:
        return [Said(text=text)] if text else []

    def end(self, text: str = "") -> list[Said]:
        return self.add(text)


Reader = PlainReader


class Turn(Struct, frozen=True, kw_only=True):
    """What the kernel is given, and what reads its answer."""

    prompt: str
    constraint: Constraint | None
    marks: list[str]
    reader: PlainReader


def open_turn(request: ChatRequest, template: ChatTemplate) -> Turn:
    """The turn that a request asks for."""
    prompt = template.render(request, thinking=None)
    return Turn(prompt=prompt, constraint=None, marks=[], reader=PlainReader())


def needs_worker(request: ChatRequest) -> str | None:
    """The field that only a worker can honour."""
    return None
