"""What a request's headers ask of the kernel: whose it is and how urgent."""

from __future__ import annotations

from collections.abc import Iterable

from haneul.base.errors import BadRequest
from haneul.engine.kernel import Terms

OWNER, PRIORITY = b"x-haneul-owner", b"x-haneul-priority"
PRIORITIES = {b"interactive": 0, b"batch": 1, b"research": 2}
OWNER_MAX_CHARS = 128


def terms_of(headers: Iterable[tuple[bytes, bytes]]) -> Terms:
    """Terms from the two headers; without them: interactive, of nobody. Raises BadRequest."""
    owner, priority = "", 0
    for name, value in headers:
        if name == OWNER:
            owner = value.decode("latin-1")[:OWNER_MAX_CHARS]
        elif name == PRIORITY:
            if value not in PRIORITIES:
                raise BadRequest(
                    "'x-haneul-priority' can be interactive, batch or research.",
                    param="x-haneul-priority",
                )
            priority = PRIORITIES[value]
    return Terms(owner=owner, priority=priority)
