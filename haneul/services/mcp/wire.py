"""JSON-RPC as the Model Context Protocol has it over HTTP: one message a request.

Source: the protocol's specification of 2025-06-18, "Base Protocol" and "Transports".
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from haneul.base.errors import BadRequest, HaneulError
from haneul.services import strict

VERSION = "2025-06-18"
PARSE_ERROR, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS, INTERNAL = (
    -32700,
    -32600,
    -32601,
    -32602,
    -32603,
)
Id = Annotated[str, Meta(max_length=256)] | int
T = TypeVar("T")


class McpMessage(Struct, frozen=True, kw_only=True):
    """A request, or, without an id, a notification."""

    jsonrpc: Literal["2.0"]
    method: Annotated[str, Meta(min_length=1, max_length=256)]
    id: Id | UnsetType = UNSET
    params: dict[str, Raw] | None = None


class ToolCall(Struct, frozen=True, kw_only=True):
    """Which tool is called, with what."""

    name: str
    arguments: Raw = Raw(b"{}")


class Hello(Struct, frozen=True):
    """What a client says first, as far as it is needed."""

    protocol_version: Annotated[str, Meta(max_length=64)] = msgspec.field(name="protocolVersion")


class Refused(Exception):
    """A request that is answered by an error of the protocol."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


class NotJson(BadRequest):
    """A body that cannot be read at all."""


_messages = msgspec.json.Decoder(McpMessage)


def read(data: bytes) -> McpMessage:
    """The message in a body. Raises NotJson, and BadRequest for what is no message."""
    try:
        return strict.read(data, _messages)
    except BadRequest as error:
        if isinstance(error.__cause__, msgspec.ValidationError):
            raise
        raise NotJson(error.message) from error


def params(message: McpMessage, kind: type[T]) -> T:
    """The parameters of a request. Raises Refused."""
    try:
        return msgspec.json.decode(msgspec.json.encode(message.params or {}), type=kind)
    except msgspec.ValidationError as cause:
        raise Refused(INVALID_PARAMS, f"The parameters are not as expected: {cause}.") from cause


def result(message_id: Id, value: Any) -> bytes:
    """What a request is answered with."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": message_id, "result": value})


def failure(message_id: Id | None, code: int, message: str, data: Any = None) -> bytes:
    """The error that a request is answered with."""
    error = {"code": code, "message": message}
    more = error if data is None else {**error, "data": data}
    return msgspec.json.encode({"jsonrpc": "2.0", "id": message_id, "error": more})


def text(said: str, structured: Any = UNSET, *, is_error: bool = False) -> dict[str, Any]:
    """What a tool gives: words, and the same for programs where there is more to them."""
    given: dict[str, Any] = {"content": [{"type": "text", "text": said}], "isError": is_error}
    return given if structured is UNSET else {**given, "structuredContent": structured}


class Errors:
    """Errors of HTTP as the protocol's clients read them; the code of haneul stands in `data`."""

    def body(self, error: HaneulError, request_id: str) -> bytes:
        code = INVALID_REQUEST if isinstance(error, BadRequest) else INTERNAL
        code = PARSE_ERROR if isinstance(error, NotJson) else code
        facts = {"code": error.code, "param": error.param, "request_id": request_id}
        return failure(None, code, error.message, facts)

    def event(self, error: HaneulError, request_id: str) -> bytes:
        return b"data: " + self.body(error, request_id) + b"\n\n"
