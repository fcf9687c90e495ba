"""Text that is still coming, read by generators that yield whenever they need more of it.

A reader decides only what the text before it decides, however it was cut: it looks ahead on the
tape, waiting where the end of the tape could still become what it looks for, and only then drops
what it has read.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

T = TypeVar("T")
Waiting = Generator[None, None, T]  # yields for more text; returns the T


class Tape:
    """The text that came and was not read yet."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.is_over = False  # nothing more will come

    def drop(self, count: int) -> None:
        """So many characters are read."""
        self.text = self.text[count:]

    def more(self) -> Waiting[bool]:
        """Waits for more text. False: there is none to come."""
        length = len(self.text)
        while len(self.text) == length:
            if self.is_over:
                return False
            yield
        return True

    def find(self, marks: Sequence[str], at: int, *, within: int | None = None) -> Waiting[int]:
        """Where the first of the marks begins at or after `at`; -1 when none comes.

        None of them may begin with another. `within`: how many characters may stand before it.
        """
        longest = max(map(len, marks))
        seen = at
        while True:
            end = None if within is None else at + within + longest
            places = [place for mark in marks if (place := self.text.find(mark, seen, end)) >= 0]
            if places:
                place = min(places)
                return place if within is None or place - at <= within else -1
            if end is not None and len(self.text) >= end:
                return -1
            seen = max(at, len(self.text) - longest + 1)
            if not (yield from self.more()):
                return -1

    def begins(self, marks: Sequence[str], at: int = 0) -> Waiting[str]:
        """The mark that stands at that place; empty when none does."""
        while True:
            for mark in marks:
                if self.text.startswith(mark, at):
                    return mark
            rest = self.text[at:]
            if not any(mark.startswith(rest) for mark in marks):
                return ""
            if not (yield from self.more()):
                return ""

    def after_space(self, at: int = 0) -> Waiting[int]:
        """The place of the next character that is not white space, or of the end."""
        while True:
            while at < len(self.text) and self.text[at].isspace():
                at += 1
            if at < len(self.text) or not (yield from self.more()):
                return at

    def flow(self, marks: Sequence[str], sink: Callable[[str], None]) -> Waiting[str]:
        """Gives text on as it comes, up to the first of the marks, which it returns unread.

        Empty: the text is over, and all of it was given on.
        """
        while True:
            found = [(place, mark) for mark in marks if (place := self.text.find(mark)) >= 0]
            place, mark = min(found, default=(len(self.text), ""))
            if not found and not self.is_over:
                place -= max((begun(self.text, mark) for mark in marks), default=0)
            sink(self.text[:place])
            self.drop(place)
            if mark or self.is_over:
                return mark
            yield from self.more()


def begun(text: str, mark: str) -> int:
    """The length of the longest end of the text that is a beginning of the mark, short of whole."""
    for length in range(min(len(text), len(mark) - 1), 0, -1):
        if mark.startswith(text[len(text) - length :]):
            return length
    return 0
