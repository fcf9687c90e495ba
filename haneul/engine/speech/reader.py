"""Reads an answer as it comes: thoughts, words and calls told apart."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from haneul.engine.speech.arguments import schemas_of
from haneul.engine.speech.calls import Calls
from haneul.engine.speech.channels import read_channels
from haneul.engine.speech.format import Format, Shape
from haneul.engine.speech.said import Said, Saying
from haneul.engine.speech.tape import Tape, Waiting


class PlainReader:
    """Text is text."""

    has_calls = False
    is_thinking = False

    def add(self, text: str) -> list[Said]:
        return [Said(text=text)] if text else []

    def end(self, text: str = "") -> list[Said]:
        return self.add(text)


class Reader:
    """One answer. However its text is cut into pieces, the same is said.

    `is_thinking`: the prompt opened the thought already. `begun`: what the prompt holds of the
    answer's own text. Without tools nothing is a call.
    """

    def __init__(
        self,
        form: Format,
        *,
        tools: list[dict[str, Any]],
        is_thinking: bool = False,
        begun: str = "",
    ) -> None:
        self._form = form
        self._schemas = schemas_of(tools)
        self._is_thinking = is_thinking
        self._tape = Tape(begun)
        self._saying = Saying(holds_space=bool(tools))
        self._saying.is_thinking = is_thinking
        self._reading: Generator[None, None, None] | None = self._read()
        next(self._reading)

    @property
    def has_calls(self) -> bool:
        """Whether a call was told."""
        return self._saying.calls > 0

    @property
    def is_thinking(self) -> bool:
        """Whether what was read last is part of a thought that has not ended."""
        return self._saying.is_thinking

    def add(self, text: str) -> list[Said]:
        """What is known now that this text came."""
        self._tape.text += text
        self._go_on()
        return self._saying.fetch()

    def end(self, text: str = "") -> list[Said]:
        """What is left, with the last text: what was held back is what it looks like."""
        self._tape.text += text
        self._tape.is_over = True
        self._go_on()
        self._saying.end()
        return self._saying.fetch()

    def _go_on(self) -> None:
        if self._reading is not None:
            try:
                next(self._reading)
            except StopIteration:
                self._reading = None

    def _read(self) -> Waiting[None]:
        if self._form.shape is Shape.CHANNELS:
            yield from read_channels(self._tape, self._saying, self._schemas)
            return
        yield from self._read_thought()
        calls = Calls(self._tape, self._saying, self._form, self._schemas)
        if self._schemas and self._form.is_bare:
            yield from calls.read_bare()
        openers = self._form.openers if self._schemas else ()
        while mark := (yield from self._tape.flow(openers, self._saying.text)):
            if (yield from calls.read()):
                self._tape.drop((yield from self._tape.after_space()))
            else:
                self._saying.text(mark)
                self._tape.drop(len(mark))

    def _read_thought(self) -> Waiting[None]:
        """A thought stands first or nowhere: words may speak of its marks later."""
        begin, end = self._form.thought
        at = yield from self._tape.after_space()
        has_mark = yield from self._tape.begins((begin,), at)
        if has_mark:
            self._tape.drop(at + len(begin))
        elif not self._is_thinking:
            return
        self._saying.is_thinking = True
        yield from self._tape.flow((end,), self._saying.reasoning)
        self._tape.drop(len(end))
        self._saying.end_thought()
        self._tape.drop((yield from self._tape.after_space()))
