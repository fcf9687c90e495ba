"""How a family of clients speaks: translators around one neutral request.

The neutral request is OpenAI's: whatever a client sent, an Ask holds it as a body of that protocol,
and every engine is asked in it. A dialect reads a client's bytes into an Ask and tells the engine's
answer in the client's words. Dialects are pure, except for the two steps that wait: `open`, which
may fetch what the request refers to, and `keep`, which may store what was answered.
"""

from __future__ import annotations

from typing import Protocol

from haneul.base.errors import HaneulError
from haneul.services.ask import Ask
from haneul.services.flights import Counters
from haneul.services.keys import Key


class Told(Protocol):
    """A streamed answer as it is told to the client."""

    @property
    def content_type(self) -> bytes: ...
    @property
    def upstream_id(self) -> str | None:
        """The id inside the engine's answer."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether the engine said that it ended."""
        ...

    @property
    def has_usage(self) -> bool:
        """Whether the engine gave its own counts."""
        ...

    @property
    def is_plain(self) -> bool:
        """Whether what was fed last did nothing but add tokens to the completion."""
        ...

    @property
    def failure(self) -> HaneulError | None:
        """What ended it, once what came before is sent."""
        ...

    @property
    def errors(self) -> Errors | None:
        """Where how it fails depends on what it said; None: the dialect's."""
        ...

    def passes(self, chunk: bytes) -> bool:
        """Whether this chunk of a body, frame and all, is one more token, and is now counted.

        The client then gets it as it is. Otherwise it was not looked at.
        """
        ...

    def feed(self, data: bytes) -> bytes:
        """Counts what the engine sent, and gives what the client gets for it."""
        ...

    def ending(self, *, cost_nano: int, currency: str) -> bytes:
        """The last that the client gets."""
        ...


class Errors(Protocol):
    """How a dialect says that something failed."""

    def body(self, error: HaneulError, request_id: str) -> bytes:
        """As a whole answer."""
        ...

    def event(self, error: HaneulError, request_id: str) -> bytes:
        """As the last event of a stream that has begun."""
        ...


class Dialect(Errors, Protocol):
    """One address that answers are generated at, as its clients know it."""

    name: str  # of the route, in the ledger

    async def open(self, key: Key, data: bytes) -> Ask:
        """The request in a body. Raises BadRequest that names the field."""
        ...

    def stream(self, ask: Ask, counters: Counters) -> Told:
        """What tells a streamed answer."""
        ...

    def whole(self, ask: Ask, data: bytes, *, cost_nano: int, currency: str) -> bytes:
        """What the client gets for an engine's whole answer, which is of the neutral protocol."""
        ...

    async def keep(self, key: Key, ask: Ask, answer: Told | bytes) -> None:
        """Stores what was answered, if the client is to find it again; before it has all of it."""
        ...
