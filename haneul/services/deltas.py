"""Events of a stream that differ from the one before by a piece of text: known by their bytes.

An engine says the same of every token but the token: id, model, choice. So once an event was read
as JSON and held one non-empty text, its bytes before and after that text are kept; events of the
same bytes around another text say as much, and go on as they came. Why that is exact: in JSON,
`"content":"` is never inside a string, so what follows is a value, and any other valid string there
leaves the rest as it was.

An engine that counts says the number of tokens behind each text, and the client did not ask for it:
then the count is read, and all before it goes on.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

import msgspec

from haneul.base import wire
from haneul.base.chunked import END, head_of_one
from haneul.services.flights import Counters

USAGE, CLOSING = b',"usage":', b"}\n\n"
QUOTE, BACKSLASH = b'"\\'
HEADS_MAX = 64
VAIN_MAX = 16  # as where several answers come in turns: reading each is cheaper then

# A string's inside, which has at least one character; what is rare is left to who reads JSON.
TEXT = (
    rb"(?:[ !#-\[\]-\x7f]++|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]"
    rb"|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}"
    rb"|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
    rb'|\\["\\/bfnrt]|\\u(?:[0-9a-cA-CefEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}))++'
)
_text = re.compile(TEXT).match
_value = re.compile(rb'"(?:content|reasoning_content|reasoning|text)": ?"(' + TEXT + rb')"').search


_usage = msgspec.json.Decoder(wire.Usage).decode


class Deltas(ABC):
    """Feeds on the bytes of a stream. Whoever reads events overrides `_read` and `_meter`."""

    def __init__(self, counters: Counters) -> None:
        self.is_plain = False  # what was fed last did nothing but add tokens to the completion
        self.has_usage = False  # the engine gave its counts
        self._counters = counters
        self._rest = b""  # of an event whose end has not come
        self._before = self._after = b""  # around the text
        self._ends = END  # the latter within a chunk
        self._before_bytes = self._after_bytes = 0  # their lengths
        self._heads: dict[int, bytes] = {}  # what a chunk of so many bytes begins with
        self._is_counted = False  # what comes behind the text is its usage
        self._learned_at = 0  # tokens
        self._vain = 0  # how often in a row the next event was unlike

    def passes(self, chunk: bytes) -> bool:
        """Whether this chunk, frame and all, holds one such event and nothing else; it is counted.

        Of texts only those are taken here that need no look at their single characters.
        """
        begins = self._heads.get(len(chunk)) or self._head(len(chunk))
        rest = chunk.removeprefix(begins)
        text = rest.removesuffix(self._ends)
        if rest is chunk or text is rest or QUOTE in text or BACKSLASH in text or self._rest:
            return False
        try:
            is_text = text.decode().isprintable()
        except UnicodeDecodeError:
            return False
        if is_text and text:
            self._counters.completion_tokens += 1
            return True
        return False

    def _head(self, chunk_bytes: int) -> bytes:
        size = head_of_one(chunk_bytes)
        if not size or not self._before or self._is_counted:
            return b""
        if len(self._heads) >= HEADS_MAX:
            self._heads.clear()
        head = self._heads[chunk_bytes] = size + self._before
        return head

    def feed(self, data: bytes) -> bytes:
        """The events to send on for these bytes; `failure` is set where they are not of one."""
        if not self._before or self._rest:
            self.is_plain = False
            return self._read(data)
        if self._is_counted:
            return self._counted(data)
        at = tokens = 0
        while data.startswith(self._before, at):
            text = _text(data, at + self._before_bytes)
            if text is None or not data.startswith(self._after, text.end()):
                break
            at = text.end() + self._after_bytes
            tokens += 1
        self._counters.completion_tokens += tokens
        if at == len(data):
            self.is_plain = tokens > 0
            return data
        self.is_plain = False
        return data[:at] + self._read(data[at:])

    def _counted(self, data: bytes) -> bytes:
        """The same for events with their usage, which the client does not get."""
        at, ready, usage = 0, list[bytes](), None
        while data.startswith(self._before, at):
            text = _text(data, at + self._before_bytes)
            if text is None or not data.startswith(self._after, text.end()):
                break
            begin = text.end() + self._after_bytes
            end = data.find(CLOSING, begin)
            try:
                usage = _usage(data[begin : max(begin, end)])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                break
            ready += (data[at : begin - len(USAGE)], CLOSING)
            at = end + len(CLOSING)
        self.is_plain = usage is not None and not self._changes(usage) and at == len(data)
        return b"".join(ready) if at == len(data) else b"".join(ready) + self._read(data[at:])

    def _changes(self, usage: wire.Usage) -> bool:
        """Counts what the engine counted; whether that is other than more of the completion."""
        counters = self._counters
        before = (counters.prompt_tokens, counters.cached_tokens, counters.reasoning_tokens)
        self._meter(usage)
        after = (counters.prompt_tokens, counters.cached_tokens, counters.reasoning_tokens)
        return before != after

    @abstractmethod
    def _read(self, data: bytes) -> bytes:
        """What of these whole events goes on to the client."""

    @abstractmethod
    def _meter(self, usage: wire.Usage) -> None:
        """Counts what the engine counted."""

    def _learn(self, event: bytes, chunk: wire.Chunk, sent: bytes) -> None:
        """Others like this one go on without being read, if it is one text and was sent on so."""
        if self._vain > VAIN_MAX or not _is_text(event, chunk):
            return
        tokens = self._counters.completion_tokens
        self._vain = 0 if tokens > self._learned_at + 1 else self._vain + 1
        self._learned_at = tokens
        event += b"\n\n"
        text = _value(event)
        if text is None or _value(event, text.end()) is not None:
            return
        begin, end = text.span(1)
        after = event[end:]
        if chunk.usage is not None:
            after = after[: after.find(USAGE) + len(USAGE)]
            event = event[: end + len(after) - len(USAGE)] + CLOSING
        if sent == event and self.has_usage == (chunk.usage is not None):
            self._is_counted = self.has_usage
            self._before, self._after, self._ends = event[:begin], after, after + END
            self._before_bytes, self._after_bytes = begin, len(after)
            self._heads.clear()

    def _forget(self) -> None:
        """Every event is read until another is learned."""
        self._before = b""
        self._heads.clear()


def says_something(choice: wire.ChunkChoice) -> bool:
    """Whether it is counted as a token, where an engine does not count."""
    delta = choice.delta
    if delta is not None:
        return bool(delta.content or delta.reasoning_content or delta.reasoning or delta.tool_calls)
    return bool(choice.text)


def _is_text(event: bytes, chunk: wire.Chunk) -> bool:
    is_one = len(chunk.choices) == 1 and says_something(chunk.choices[0])
    return is_one and event.startswith(b"data:") and b"\n" not in event
