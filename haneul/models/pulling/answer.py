"""What the head of a server's answer says about a file, held against what was asked and is known.

A server may ignore a range, answer a shorter one, or name no length. It may not send another range,
another file, a packed one, or a length that contradicts its own range: such a one is not believed
again.
"""

from __future__ import annotations

import re

from aiohttp import ClientResponse
from msgspec import Struct

from haneul.models.pulling.fetch import WrongBytes

CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class Head(Struct, frozen=True, kw_only=True):
    """Which bytes of which file the body is."""

    start: int
    end: int | None  # None: until the body ends
    total_bytes: int | None
    etag: str
    is_range: bool

    @property
    def has_strong_etag(self) -> bool:
        """Whether the tag stands for these very bytes (RFC 9110, 8.8.1)."""
        return self.etag.startswith('"')


def read_head(answer: ClientResponse, *, start: int, total_bytes: int | None) -> Head:
    """The head of an answer to a request for the bytes from start on.

    total_bytes is the length of the file where it is known. Raises WrongBytes.
    """
    host = answer.url.host
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise WrongBytes(f"{host} sent a packed answer that was not asked for.")
    if answer.status == 206:
        head = _ranged(answer, start)
    else:
        length = answer.content_length
        etag = answer.headers.get("ETag", "")
        head = Head(start=0, end=length, total_bytes=length, etag=etag, is_range=False)
    if None not in (total_bytes, head.total_bytes) and head.total_bytes != total_bytes:
        raise WrongBytes(
            f"{host} offers {head.total_bytes} bytes where {total_bytes} were promised."
        )
    return head


def _ranged(answer: ClientResponse, start: int) -> Head:
    said = answer.headers.get("Content-Range", "")
    found = CONTENT_RANGE.fullmatch(said)
    if found is None:
        raise WrongBytes(f"{answer.url.host} does not say which part of the file it sent.")
    first, end = int(found[1]), int(found[2]) + 1
    total = None if found[3] == "*" else int(found[3])
    if first != start or end <= first or (total is not None and end > total):
        raise WrongBytes(f"{answer.url.host} sent another part of the file than was asked for.")
    if answer.content_length not in (None, end - first):
        raise WrongBytes(f"{answer.url.host} sent a part of another length than it says.")
    etag = answer.headers.get("ETag", "")
    return Head(start=first, end=end, total_bytes=total, etag=etag, is_range=True)
