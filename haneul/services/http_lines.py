"""Lines of HTTP that do not depend on a request: dates, phrases, answers where there is none."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from haneul.base.errors import HaneulError
from haneul.base.ids import new_id
from haneul.services.dialect import Errors

PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}


def origin_form(target: bytes) -> bytes:
    """The path of a target that names its host too; what has none stays as it is."""
    scheme, slashes, rest = target.partition(b"://")
    if not slashes or scheme.lower() not in (b"http", b"https"):
        return target
    return b"/" + rest.partition(b"/")[2]


def whole(error: HaneulError, errors: Errors) -> bytes:
    """A whole HTTP answer, for where there is no request to answer."""
    request_id = new_id("req")
    body = errors.body(error, request_id)
    wait = f"retry-after: {error.retry_after_s:.0f}\r\n" if error.retry_after_s else ""
    head = (
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
        f"content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
        f"x-request-id: {request_id}\r\n"
        f"{wait}connection: close\r\n\r\n"
    )
    return head.encode() + body


@lru_cache(maxsize=2)
def date(second: int) -> bytes:
    """The line of a head that says when; the second is of Unix time."""
    return b"date: %b\r\n" % formatdate(second, usegmt=True).encode()
