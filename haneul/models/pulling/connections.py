"""Fills a partial file over several connections, and hashes it in order while they write.

One connection asks first, and what its answer says holds for the others: how long the file is,
whether ranges of it can be had, whether it can be told from another of the same name. A connection
that ends takes the next bytes nobody fetches, or a share of what the slowest has before it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from aiohttp import ClientResponse
from yarl import URL

from haneul.base.errors import FetchFailed
from haneul.models.pulling.answer import Head, read_head
from haneul.models.pulling.fetch import Fetcher, WrongBytes
from haneul.models.pulling.mirrors import Mirror, Mirrors
from haneul.models.pulling.partial import Partial
from haneul.models.pulling.progress import OnBytes
from haneul.models.pulling.space import check_space
from haneul.models.pulling.spans import SHARE_BYTES, Plan, Span
from haneul.models.pulling.threads import to_end, together

WRITE_BYTES, WRITE_PARTS = 1 << 20, 512
SYNC_BYTES = 256 << 20  # what a power cut may cost
KEEP_S = 0.05  # what a kill may cost, beside what is in the buffers
IDLE_S, FLUSH_S = 0.1, 0.1
FIRST_ANSWER_S = 2.0  # then the others begin without it


class Connections:
    """The connections that fill one file; `lanes` bounds those of several files together."""

    def __init__(
        self,
        fetcher: Fetcher,
        mirrors: Mirrors,
        partial: Partial,
        *,
        lanes: asyncio.Semaphore,
        most: int,
        on_bytes: OnBytes,
    ) -> None:
        self._fetcher, self._mirrors, self._partial = fetcher, mirrors, partial
        self._lanes, self._most, self._on_bytes = lanes, most, on_bytes
        told, noted = mirrors.piece.bytes, partial.state.total_bytes
        self._plan = Plan(partial.held, noted if told is None else told)
        self._asked: dict[Span, Mirror] = {}
        self._is_pinned = bool(mirrors.piece.sha256)
        self._is_loose = False  # nothing would tell this file from another
        self._answered, self._came, self._done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def fill(self) -> None:
        """Brings what is missing and hashes all of it. Raises FetchFailed, WrongBytes, OSError."""
        await self._check_space()
        missing = None if self._plan.total_bytes is None else self._plan.missing_bytes
        count = self._most if missing is None else min(self._most, -(-missing // SHARE_BYTES))
        self._on_bytes(self._plan.held.bytes, self._plan.total_bytes)
        workers = [self._work(is_first=number == 0) for number in range(count)]
        await together(*workers, self._hash(), self._keep())

    async def _check_space(self) -> None:
        await to_end(check_space, self._partial.path.parent, self._plan.missing_bytes)

    async def _work(self, *, is_first: bool) -> None:
        """One connection after the other until every byte is held."""
        if not is_first:
            with suppress(TimeoutError):
                patience_s = FIRST_ANSWER_S if self._is_pinned else None
                await asyncio.wait_for(self._answered.wait(), patience_s)
        while not self._plan.is_whole:
            async with self._lanes:
                work = self._next(time.monotonic())
                if work is not None:
                    await self._request(*work)
                    continue
            if self._mirrors.is_over and not self._plan.running:
                raise self._mirrors.failure()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._done.wait(), IDLE_S)

    def _next(self, now_s: float) -> tuple[Mirror, Span] | None:
        """Whom to ask for what; None while there is nothing to do."""
        mirror = self._mirrors.best(now_s)
        if mirror is None:
            return None
        if self._is_loose or mirror.has_ranges is False:
            start = 0 if mirror.has_ranges is False else self._plan.held.head
            span = self._plan.rest(start, now_s)
        else:
            size = mirror.request_bytes()
            span = self._plan.take(size, now_s, shared_by=self._most) or self._plan.share(now_s)
        return None if span is None else (mirror, span)

    async def _request(self, mirror: Mirror, span: Span) -> None:
        began_s, had_bytes = time.monotonic(), mirror.brought_bytes
        self._asked[span] = mirror
        span.patience_s = mirror.patience_s
        mirror.active += 1
        clock = asyncio.timeout(None)
        try:
            async with clock:
                span.clock = clock
                await self._exchange(mirror, span)
        except TimeoutError:  # another has the work by now
            mirror.silent(time.monotonic())
        except FetchFailed as failure:
            now_s = time.monotonic()
            brought = mirror.brought_bytes - had_bytes
            mirror.failed(failure, brought_bytes=brought, lasted_s=now_s - began_s, now_s=now_s)
        finally:
            mirror.active -= 1
            self._plan.drop(span)
            del self._asked[span]

    async def _exchange(self, mirror: Mirror, span: Span) -> None:
        headers = self._headers(mirror, span)
        home, place = URL(mirror.piece.url), URL(mirror.place)
        credentials = mirror.piece.credentials if place.origin() == home.origin() else {}
        opened = self._fetcher.open(mirror.place, headers=headers, credentials=credentials)
        async with opened as answer:
            total = self._plan.total_bytes
            head = read_head(answer, start=span.start, total_bytes=total)
            mirror.place = str(answer.url)
            mirror.answered(time.monotonic() - span.began_s)
            if head.is_range or headers:
                mirror.has_ranges = head.is_range
            if head.start != span.start:  # no ranges here: it is asked for all, if nobody has them
                return
            await self._agree(mirror, span, head)
            self._answered.set()
            await self._read(answer, mirror, span, head)

    def _headers(self, mirror: Mirror, span: Span) -> dict[str, str]:
        total = self._plan.total_bytes
        is_all = not span.start and span.end == total
        is_small = is_all and total is not None and total < 2 * SHARE_BYTES
        if mirror.has_ranges is False or is_small:
            return {}
        last = "" if span.end is None or span.end == total else span.end - 1
        headers = {"Range": f"bytes={span.start}-{last}"}
        etag = self._partial.state.etag
        if not self._is_pinned and etag.startswith('"'):  # a weak one may not (RFC 9110, 13.1.5)
            headers["If-Range"] = etag
        return headers

    async def _agree(self, mirror: Mirror, span: Span, head: Head) -> None:
        """Takes what the first answer says for granted from then on."""
        if not self._is_pinned:
            self._check_same(mirror, head)
            self._is_loose = not head.has_strong_etag
        if head.total_bytes is not None and self._plan.total_bytes is None:
            self._plan.total_bytes = head.total_bytes
            self._note_whole()
            await self._check_space()
        if span.end is None or (not head.is_range and self._plan.running == [span]):
            span.end = self._plan.total_bytes
        total, state = self._plan.total_bytes, self._partial.state
        if state.total_bytes != total or not (self._is_pinned or state.etag == head.etag):
            url = mirror.piece.url
            await to_end(self._partial.note, url=url, etag=head.etag, total_bytes=total)

    def _check_same(self, mirror: Mirror, head: Head) -> None:
        known = self._partial.state.etag
        is_other = bool(known and head.etag) and known != head.etag
        is_unknown = not head.is_range and not (known and head.etag)
        if is_other or (is_unknown and self._plan.held.bytes):
            raise WrongBytes(f"{URL(mirror.place).host} has another file by now.")

    async def _read(self, answer: ClientResponse, mirror: Mirror, span: Span, head: Head) -> None:
        parts: list[bytes] = []
        size, noted_s = 0, time.monotonic()
        try:
            async for data in answer.content.iter_any():
                parts.append(data)
                size += len(data)
                now_s = time.monotonic()
                span.move(len(data), now_s)
                if head.end is not None and span.position > head.end:
                    raise WrongBytes(f"{answer.url.host} sent more bytes than it announced.")
                is_over = span.end is not None and span.position >= span.end
                is_much = size >= WRITE_BYTES or len(parts) >= WRITE_PARTS
                if is_over or is_much or now_s - noted_s >= FLUSH_S:
                    full, start, parts, size = parts, span.position - size, [], 0
                    count = await self._write(span, start, full)
                    mirror.note(count, now_s - noted_s, now_s)
                    noted_s = now_s
                    if is_over or self._mirrors.is_outrun(mirror, now_s):
                        return
        finally:  # what came before a cut is kept
            count = await self._write(span, span.position - size, parts)
            now_s = time.monotonic()
            mirror.note(count, now_s - noted_s if count else 0, now_s)
        self._ended(answer, span, head)

    def _ended(self, answer: ClientResponse, span: Span, head: Head) -> None:
        """Judges an answer that was read to its end."""
        if self._plan.total_bytes is None:
            self._plan.total_bytes = span.end = span.position
            self._note_whole()
        promised = min(
            end for end in (head.end, span.end, self._plan.total_bytes) if end is not None
        )
        if span.position < promised:
            total = self._plan.total_bytes
            raise FetchFailed(f"{answer.url.host} ended at byte {span.position} of {total}.")

    async def _write(self, span: Span, start: int, parts: list[bytes]) -> int:
        """Writes what is not held yet; returns how many bytes that were."""
        end = start + sum(map(len, parts))
        limit = end if span.end is None else min(end, span.end)
        gaps = tuple(self._plan.held.gaps(start, limit)) if start < limit else ()
        if not gaps:
            return 0
        span.is_writing = True
        await to_end(self._partial.write, start, parts, gaps)
        span.is_writing, span.moved_s = False, time.monotonic()
        for low, high in gaps:
            self._plan.held.add(low, high)
        self._came.set()
        self._on_bytes(self._plan.held.bytes, self._plan.total_bytes)
        self._note_whole()
        return sum(high - low for low, high in gaps)

    def _note_whole(self) -> None:
        if self._plan.is_whole:
            self._done.set()
            self._came.set()

    async def _hash(self) -> None:
        """Hashes what is held without a gap, until that is the whole file."""
        while True:
            head = self._plan.held.head
            if self._partial.hashed_bytes < head:
                await to_end(self._partial.hash, head)
            elif self._plan.is_whole:
                return
            else:
                self._came.clear()
                await self._came.wait()

    async def _keep(self) -> None:
        """Writes down what is held now and then, and ends the wait for who has fallen silent."""
        kept_bytes = synced_bytes = self._plan.held.bytes
        while not self._plan.is_whole:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._done.wait(), KEEP_S)
            held = tuple(self._plan.held)
            held_bytes = self._plan.held.bytes
            if held_bytes - synced_bytes >= SYNC_BYTES:
                await to_end(self._partial.sync, held)
                kept_bytes = synced_bytes = held_bytes
            elif held_bytes > kept_bytes:
                await to_end(self._partial.save, held)
                kept_bytes = held_bytes
            self._leave_silent(time.monotonic())

    def _leave_silent(self, now_s: float) -> None:
        for span, mirror in self._asked.items():
            if span.is_silent(now_s) and self._mirrors.has_another(mirror, now_s):
                span.let_go(now_s)
