"""Which errors an address can answer with, and how each family of clients is told."""

from __future__ import annotations

import inspect

from haneul.base import errors
from haneul.base.errors import HaneulError
from haneul.openapi.operation import ANY, OPEN, Operation, Schema

TEXT: Schema = {"type": "string"}
MAYBE: Schema = {"type": ["string", "null"]}
ERROR: Schema = {
    "type": "object",
    "description": "OpenAI's shape; facts of the error may stand beside these.",
    "properties": {
        "error": {
            "type": "object",
            "properties": {"message": TEXT, "type": TEXT, "param": MAYBE, "code": MAYBE},
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}
ANTHROPIC_ERROR: Schema = {
    "type": "object",
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "properties": {"type": TEXT, "message": TEXT, "code": TEXT, "param": MAYBE},
            "required": ["type", "message", "code", "param"],
        },
        "request_id": TEXT,
    },
    "required": ["type", "error", "request_id"],
}
OLLAMA_ERROR: Schema = {"type": "object", "properties": {"error": TEXT}, "required": ["error"]}
TEI_ERROR: Schema = {
    "type": "object",
    "properties": {"error": TEXT, "error_type": TEXT},
    "required": ["error", "error_type"],
}
MCP_ERROR: Schema = {
    "type": "object",
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "id": {"type": "null"},
        "error": {
            "type": "object",
            "properties": {"code": {"type": "integer"}, "message": TEXT, "data": {}},
            "required": ["code", "message"],
        },
    },
    "required": ["jsonrpc", "id", "error"],
}
HUB_ERROR: Schema = {
    "type": "object",
    "description": "Hugging Face's shape; facts of the error may stand beside these.",
    "properties": {"error": TEXT, "code": TEXT, "request_id": TEXT},
    "required": ["error", "code", "request_id"],
}
SCOPE_ERROR: Schema = {
    "type": "object",
    "properties": {
        "Code": {"type": "integer"},
        "Message": TEXT,
        "Success": {"const": False},
        "RequestId": TEXT,
    },
    "required": ["Code", "Message", "Success", "RequestId"],
}
SHAPES: dict[str, Schema] = {
    "Error": ERROR,
    "AnthropicError": ANTHROPIC_ERROR,
    "OllamaError": OLLAMA_ERROR,
    "TeiError": TEI_ERROR,
    "McpError": MCP_ERROR,
    "HubError": HUB_ERROR,
    "ScopeError": SCOPE_ERROR,
}

EVERYWHERE: tuple[type[HaneulError], ...] = (
    errors.BadRequest,
    errors.NotAllowed,  # on loopback, to a foreign name
    errors.RequestTimeout,
    errors.HeadTooLarge,
    errors.HaneulError,
    errors.Unavailable,
    errors.Overloaded,
    errors.DeadlineExceeded,
)
KEYED: tuple[type[HaneulError], ...] = (errors.NotAuthenticated, errors.NotAllowed)
READING: tuple[type[HaneulError], ...] = (errors.TooLarge, errors.UnknownField)
MODEL: tuple[type[HaneulError], ...] = (errors.ModelNotFound, errors.EngineUnavailable)
# What asking an engine can end with; an engine's own refusals keep their status and code.
ASKING: tuple[type[HaneulError], ...] = (
    *READING,
    *MODEL,
    errors.UnsupportedValue,
    errors.ContextTooLong,
    errors.PersonalData,
    errors.GuardUnavailable,
    errors.NotCached,
    errors.IdempotencyConflict,
    errors.IdempotencyMismatch,
    errors.RateLimited,
    errors.QuotaExceeded,
    errors.EngineFailed,
    errors.NotEnoughMemory,
)
UNSUPPORTED_MEDIA = 415  # only as a remote engine's own refusal


def of(operation: Operation) -> list[type[HaneulError]]:
    """Every error that an operation may answer with, by status and code."""
    kinds = {*EVERYWHERE, *operation.errors}
    if operation.scope != OPEN:
        kinds |= {*KEYED}
    if operation.body is not None or operation.form is not None:
        kinds |= {errors.TooLarge}
    return sorted(kinds, key=lambda kind: (kind.status, kind.code))


def said(kind: type[HaneulError]) -> tuple[str, str]:
    """What an error says where nothing more is known, and what to do about it."""
    first, _, rest = inspect.cleandoc(kind.__doc__ or "").partition("\n")
    return first, " ".join(rest.split())


def scope_said(scope: str) -> str:
    """Who may ask, in words."""
    if scope == OPEN:
        return "no key"
    return scope if scope == ANY else f"scope `{scope}`"


def every() -> list[type[HaneulError]]:
    """Every kind of error that a client can be answered with, by status and code."""
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, HaneulError)
        and not issubclass(kind, errors.CommandError)
    ]
    return sorted(kinds, key=lambda kind: (kind.status, kind.code))
