"""One file of a revision as an answer: whole or a range, with the marks that clients resume by."""

from __future__ import annotations

import re
from typing import NamedTuple

from haneul.base.errors import NotFound, RangeNotSatisfiable
from haneul.models.folder.blobs import Blobs
from haneul.models.manifest import File
from haneul.services.call import Call
from haneul.services.hub.access import Access
from haneul.services.hub.counts import Counts
from haneul.services.hub.sending import Sender, Sending
from haneul.services.hub.shelf import COMMIT_DIGITS, Found
from haneul.services.keys import Key

BYTES = b"application/octet-stream"
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
FOR_EVER = b"private, max-age=31536000, immutable"
ASK_AGAIN = b"private, no-cache"


class Span(NamedTuple):
    """Which bytes are wanted."""

    at: int
    length: int
    is_part: bool


class FilesOut:
    """Answers with files."""

    def __init__(
        self, access: Access, *, blobs: Blobs, sender: Sender, counts: Counts, idle_s: float
    ) -> None:
        self._access = access
        self._blobs = blobs
        self._sender = sender
        self._counts = counts
        self._idle_s = idle_s

    async def answer(self, call: Call, key: Key, found: Found, path: str, revision: str) -> None:
        """The file, or what is wanted of it. Raises NotFound, RangeNotSatisfiable, Overloaded."""
        call.extra_headers.append((b"x-repo-commit", found.commit.encode()))
        file = found.paths.get(path)
        if file is None:
            raise NotFound(f"There is no file '{path[:200]}' there.", param="path")
        etag = f'"{file.sha256}"'.encode()
        self._tell(call, file, etag, is_fixed=_is_commit(found, revision))
        if etag in (mark.strip() for mark in call.headers.get(b"if-none-match", b"").split(b",")):
            await call.answer(304, b"", BYTES)
            return
        span = wanted(call, file.bytes, etag)
        if span.is_part:
            told = f"bytes {span.at}-{span.at + span.length - 1}/{file.bytes}"
            call.extra_headers.append((b"content-range", told.encode()))
        if call.method == "HEAD":
            call.begin(206 if span.is_part else 200, BYTES, span.length)
            call.write(b"", is_last=True)
            return
        with self._access.out(key):
            await self._send(call, key, found, file, span)

    async def _send(self, call: Call, key: Key, found: Found, file: File, span: Span) -> None:
        pulls, sent = int(span.at == 0 and file in found.manifest.weights), 0

        def on_sent(count: int) -> None:
            nonlocal sent
            sent += count

        def begin() -> None:
            call.begin(206 if span.is_part else 200, BYTES, span.length)

        one = Sending(call, at=span.at, count=span.length, idle_s=self._idle_s, on_sent=on_sent)
        try:
            await self._sender.send(one, self._blobs.path(file.sha256), file.bytes, begin)
        finally:
            if call.has_begun:
                self._counts.add(key, found.repository.model, pulls=pulls, size=sent)

    def _tell(self, call: Call, file: File, etag: bytes, *, is_fixed: bool) -> None:
        name = file.path.rpartition("/")[2]
        call.extra_headers += [
            (b"etag", etag),
            (b"x-linked-etag", etag),
            (b"x-linked-size", str(file.bytes).encode()),
            (b"accept-ranges", b"bytes"),
            (b"cache-control", FOR_EVER if is_fixed else ASK_AGAIN),
            (b"content-disposition", f'attachment; filename="{name}"'.encode("ascii", "replace")),
            (b"x-content-type-options", b"nosniff"),  # it lies beside the page: never shown
        ]


def _is_commit(found: Found, revision: str) -> bool:
    """Whether the revision's name can never mean another: a branch moves, a commit does not."""
    return len(revision) >= COMMIT_DIGITS and found.state.id.startswith(revision)


def wanted(call: Call, size: int, etag: bytes) -> Span:
    """Which bytes of so many a request asks for. Raises RangeNotSatisfiable.

    One range is understood; of several, or of another unit, the whole file is the answer, as HTTP
    allows. A range of another version of the file (if-range) means the whole one too.
    """
    whole = Span(0, size, False)
    found = RANGE.fullmatch(call.headers.get(b"range", b"").decode("latin-1").replace(" ", ""))
    if found is None or call.headers.get(b"if-range", etag) != etag:
        return whole
    first, last = found.groups()
    if first:
        at, end = int(first), min(int(last) if last else size - 1, size - 1)
        if last and int(last) < int(first):
            return whole  # no range at all
    elif last:
        at, end = max(0, size - int(last)), size - 1
    else:
        return whole
    if at > end or at >= size:
        call.extra_headers.append((b"content-range", f"bytes */{size}".encode()))
        raise RangeNotSatisfiable(f"The file has {size} bytes.")
    return Span(at, end - at + 1, True)
