"""Text out of token bytes: whole characters only, and nothing of a stop string."""

from __future__ import annotations

import codecs


class Spelling:
    """One answer's text. What may be the beginning of a stop string is held back."""

    def __init__(self, stops: list[str]) -> None:
        self.stopped_by: str | None = None  # the stop string that ended the text
        self._stops = stops
        self._held = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def is_stopped(self) -> bool:
        return self.stopped_by is not None

    def add(self, data: bytes) -> str:
        """The text that can be sent now. Sets stopped_by when a stop string is whole."""
        text = self._held + self._decoder.decode(data)
        found = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            at, self.stopped_by = min(found)
            self._held = ""
            return text[:at]
        keep = max((_begun(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def end(self) -> str:
        """What was held back: no stop string came of it. Half a character is no text."""
        text, self._held = self._held, ""
        return text


def _begun(text: str, stop: str) -> int:
    """The length of the longest end of the text that is a beginning of the stop string."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[len(text) - length :]):
            return length
    return 0
