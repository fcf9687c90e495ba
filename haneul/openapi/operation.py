"""The words in which an address is described: its operation, its parameters, its headers."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

from haneul.base.errors import HaneulError

OPEN = "open"  # to everybody
ANY = "any key"
Schema = dict[str, Any]
Shape = Literal[
    "Error", "AnthropicError", "OllamaError", "TeiError", "McpError", "HubError", "ScopeError"
]
JSON = "application/json"
EVENTS = "text/event-stream"
LINES = "application/x-ndjson"


class Query(Struct, frozen=True):
    """A parameter behind the question mark."""

    name: str
    text: str
    schema: Schema


class Header(Struct, frozen=True, kw_only=True):
    """A header, as it comes in or goes out."""

    name: str
    text: str
    unit: str = ""
    schema: Schema = field(default_factory=lambda: {"type": "string"})
    is_always: bool = False  # sent, or needed


class Operation(Struct, frozen=True, kw_only=True):
    """One method of one address."""

    method: str
    address: str  # with {names} for what stands in it
    text: str
    path: Schema | None = None  # of what stands in the address, where not any text will do
    scope: str = ANY  # that a key needs, or OPEN
    body: Any = None  # the struct that reads the request
    form: Schema | None = None  # a multipart form instead
    spared: tuple[str, ...] = ()  # lists and texts of the body that may be empty or left out
    forwards: tuple[str, ...] = ()  # fields of a chat that go on as they came
    others: Literal["refused", "forwarded", "ignored"] = "refused"  # fields that are not known
    rules: tuple[Schema, ...] = ()  # that hold between fields
    answer: Any = None  # the struct that a good answer is of, or several; None: nothing in it
    media: str = JSON  # of that answer
    streams: str = ""  # media type of a streamed answer
    also: tuple[int, ...] = ()  # other statuses with the same answer
    empty: tuple[int, ...] = ()  # statuses with none
    query: tuple[Query, ...] = ()
    takes: tuple[str, ...] = ()  # headers, by name
    gives: tuple[str, ...] = ()
    errors: tuple[type[HaneulError], ...] = ()  # beside those of every address: see errors.py
    shapes: tuple[Shape, ...] = ("Error",)  # of errors

    @property
    def names(self) -> list[str]:
        """What stands in the address."""
        return [part[1:-1] for part in self.address.split("/") if part.startswith("{")]
