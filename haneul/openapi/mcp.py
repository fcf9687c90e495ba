"""The address of the Model Context Protocol."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from haneul.base import errors
from haneul.openapi.headers import ASKED
from haneul.openapi.operation import Operation
from haneul.services.mcp.wire import McpMessage


class McpAnswer(Struct, kw_only=True):
    """The result of a request, or why there is none."""

    jsonrpc: Literal["2.0"]
    id: str | int
    result: dict[str, Any] | UnsetType = UNSET
    error: dict[str, Any] | UnsetType = UNSET


OPERATIONS = (
    Operation(
        method="POST",
        address="/mcp",
        text="The Model Context Protocol (Streamable HTTP, without sessions): the tools "
        "`list_models`, `chat` (scope `infer`) and `usage` (scope `usage`).",
        body=McpMessage,
        others="ignored",
        answer=McpAnswer,
        empty=(202,),
        takes=("mcp-protocol-version", "x-haneul-app", "x-haneul-priority"),
        gives=ASKED,
        errors=(errors.TooLarge,),
        shapes=("McpError",),
    ),
)
FIELDS: dict[type, dict[str, str]] = {
    McpMessage: {
        "jsonrpc": "`2.0`.",
        "method": "`initialize`, `ping`, `tools/list`, `tools/call`.",
        "id": "Comes back with the answer; a message without one is a notification: 202.",
        "params": "Of the method.",
    },
}
