"""Server-sent events: the data of each event out of a body, whatever pieces it came in."""

from __future__ import annotations

from collections.abc import AsyncIterator

from haneul.base.errors import EngineFailed

EVENT_MAX_BYTES = 8 << 20
DONE = b"[DONE]"


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The data of each event up to [DONE]; comments are passed over. Raises EngineFailed."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n\n")
        for event in whole:
            field, _, data = event.strip().partition(b": ")
            if field in (b"data", b"error"):
                if data == DONE:
                    continue  # read on: the end of the body gives the connection back
                yield data
        if len(rest) > EVENT_MAX_BYTES:
            raise EngineFailed("The kernel sent an event without an end.")
