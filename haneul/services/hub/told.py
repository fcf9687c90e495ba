"""How the clients of hubs are told what failed: a text, and codes in the head that they act on."""

from __future__ import annotations

import msgspec

from haneul.base.errors import HaneulError, NotAuthenticated, NotFound
from haneul.services.call import Call

# What Hugging Face's clients tell apart: by the field that names nothing.
CODES = {"repository": b"RepoNotFound", "revision": b"RevisionNotFound", "path": b"EntryNotFound"}
# By these words they know a wrong key from a repository that is not there.
WRONG_KEY = b"Invalid credentials in Authorization header"
MESSAGE_MAX = 500


class HubErrors:
    """As Hugging Face says it. Implements Errors."""

    def body(self, error: HaneulError, request_id: str) -> bytes:
        told = {"error": error.message, "code": error.code, "request_id": request_id}
        return msgspec.json.encode({**told, **error.facts})

    def event(self, error: HaneulError, request_id: str) -> bytes:
        return b""  # nothing is streamed without a length


class ScopeErrors:
    """As ModelScope says it. Implements Errors."""

    def body(self, error: HaneulError, request_id: str) -> bytes:
        told = {"Code": error.status, "Message": error.message, "Success": False}
        return msgspec.json.encode({**told, "RequestId": request_id})

    def event(self, error: HaneulError, request_id: str) -> bytes:
        return b""


def tell(call: Call, error: HaneulError) -> None:
    """Puts what the clients look for into the head of the answer."""
    text = error.message.encode("ascii", "replace")[:MESSAGE_MAX]
    printable = bytes(byte if 32 <= byte < 127 else 32 for byte in text)
    if isinstance(error, NotAuthenticated):
        printable = WRONG_KEY
    call.extra_headers.append((b"x-error-message", printable))
    if isinstance(error, NotFound) and error.param in CODES:
        call.extra_headers.append((b"x-error-code", CODES[error.param]))
