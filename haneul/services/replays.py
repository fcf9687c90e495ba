"""Requests that are sent again: one with the same Idempotency-Key gets the first one's answer.

As the IETF's draft of the header and the payment services have it: the same key with the same
body within a day gets the first answer, byte for byte, whole or as the stream it was; with another
body it is refused (422); while the first one runs, too (409, with Retry-After). Only answers that
came to their end are kept: after an error, or for a client that hung up, the request runs anew. A
replay costs nothing and leaves no row.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from haneul.base.errors import BadRequest, HaneulError, IdempotencyConflict, IdempotencyMismatch
from haneul.base.log import logger
from haneul.base.units import now_us
from haneul.services.call import Call, Line
from haneul.store import replays as queries
from haneul.store.database import Database
from haneul.store.replays import ReplayRow
from haneul.store.spending import DAY_US

HEADER = b"idempotency-key"
NAME_MAX = 255
KEPT_US = DAY_US
ANSWER_MAX_BYTES = 1 << 20
KEPT_MAX_BYTES = 64 << 20  # of all answers together
PRUNE_BYTES = 4 << 20  # kept anew between two prunings
ROW_BYTES = 512  # that an answer takes beside its body
WRITING_MAX = 256  # answers on their way to the store
RETRY_S = 1.0
log = logger("replays")


class Place(NamedTuple):
    """Whose request it is, and what the client calls it."""

    key_id: str
    name: str


class Replays:
    """First answers: those that are being given, those being kept, those kept."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._running: dict[Place, bytes] = {}  # the digest of the first request
        self._ready: dict[Place, ReplayRow] = {}  # on their way to the store
        self._writing: set[asyncio.Task[None]] = set()
        self._fresh_bytes = PRUNE_BYTES

    async def once(
        self, call: Call, key_id: str, data: bytes, answer: Callable[[], Awaitable[None]]
    ) -> None:
        """Runs `answer` for the first request of its name; gives its answer to all others.

        Raises IdempotencyConflict, IdempotencyMismatch, BadRequest.
        """
        place = Place(key_id, name_of(call))
        digest = hashlib.sha256(b"%b\0%b" % (call.path.encode(), data)).digest()
        if place in self._running:
            _check(self._running[place], digest)
            raise IdempotencyConflict(retry_after_s=RETRY_S)
        self._running[place] = digest  # claimed before anything is waited for
        try:
            kept = await self._kept(place)
            if kept is not None:
                _check(kept.digest, digest)
                await _replay(call, kept)
                return
            heard = Heard(call.line)
            call.through(heard)
            await answer()
            if call.is_answered and heard.status == 200 and not call.gone:
                self._keep(heard.row(call, place, digest))
        finally:
            del self._running[place]

    async def _kept(self, place: Place) -> ReplayRow | None:
        if (ready := self._ready.get(place)) is not None:
            return ready
        since_us = now_us() - KEPT_US
        return await self._database.ask(
            lambda connection: queries.get(connection, *place, since_us=since_us)
        )

    def _keep(self, row: ReplayRow) -> None:
        place = Place(row.key_id, row.name)
        if len(self._writing) < WRITING_MAX:
            self._ready[place] = row
            task = asyncio.create_task(self._write(place, row))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

    async def _write(self, place: Place, row: ReplayRow) -> None:
        try:
            await self._database.call(queries.put, row)
            self._fresh_bytes += row.bytes
            if self._fresh_bytes >= PRUNE_BYTES:
                self._fresh_bytes = 0
                await self._database.call(
                    lambda connection: queries.prune(
                        connection, before_us=now_us() - KEPT_US, most_bytes=KEPT_MAX_BYTES
                    )
                )
        except HaneulError as error:
            log.warning("answer_not_kept", request=row.request_id, reason=error.message)
        finally:
            self._ready.pop(place, None)

    async def aclose(self) -> None:
        """Returns when every answer is kept."""
        await asyncio.gather(*self._writing)


class Heard:
    """A line that also keeps what goes over it."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.status = 0
        self.content_type = b""
        self.size = 0
        self.parts: list[bytes] = []

    def row(self, call: Call, place: Place, digest: bytes) -> ReplayRow:
        """The answer as it is kept; without its bytes where there are too many."""
        is_kept = self.size <= ANSWER_MAX_BYTES
        body = b"".join(self.parts) if is_kept else b""
        return ReplayRow(
            key_id=place.key_id,
            name=place.name,
            digest=digest,
            request_id=call.id,
            content_type=self.content_type.decode("latin-1") if is_kept else "",
            body=body,
            bytes=len(body) + ROW_BYTES,
            created_us=now_us(),
        )

    @property
    def on_drained(self) -> Callable[[], None] | None:
        return self._line.on_drained

    @on_drained.setter
    def on_drained(self, value: Callable[[], None] | None) -> None:
        self._line.on_drained = value

    @property
    def is_stalled(self) -> bool:
        return self._line.is_stalled

    def peer(self) -> str | None:
        return self._line.peer()

    def want_body(self, *, is_expected: bool) -> None:
        self._line.want_body(is_expected=is_expected)

    def begin(self, call: Call, head: bytes, status: int, length: int | None) -> bytes:
        self.status = status
        first_line, _, _ = head.partition(b"\r\n")
        self.content_type = first_line.partition(b": ")[2]
        return self._line.begin(call, head, status, length)

    def write(self, head: bytes, data: bytes, *, is_last: bool) -> None:
        self.size += len(data)
        if self.size <= ANSWER_MAX_BYTES:
            self.parts.append(data)
        elif self.parts:
            self.parts.clear()
        self._line.write(head, data, is_last=is_last)

    def chunks(self) -> Callable[[bytes], None] | None:
        """All has to come by here."""
        return None

    async def drained(self) -> None:
        await self._line.drained()

    def ended(self) -> None:
        self._line.ended()

    def abort(self) -> None:
        self._line.abort()


def name_of(call: Call) -> str:
    """What the client calls its request. Raises BadRequest."""
    name = call.headers[HEADER].decode("latin-1")
    if HEADER in call.repeated or not 1 <= len(name) <= NAME_MAX or not name.isascii():
        raise BadRequest(
            f"An Idempotency-Key has 1 to {NAME_MAX} ASCII characters, in one header.",
            param="idempotency-key",
        )
    return name


def _check(first: bytes, now: bytes) -> None:
    if first != now:
        raise IdempotencyMismatch(param="idempotency-key")


async def _replay(call: Call, kept: ReplayRow) -> None:
    if not kept.content_type:
        raise IdempotencyConflict(
            f"The first answer ({kept.request_id}) was larger than {ANSWER_MAX_BYTES >> 20} MiB "
            "and was not kept; use another Idempotency-Key to ask anew.",
            param="idempotency-key",
        )
    call.extra_headers += [
        (b"idempotent-replayed", b"true"),
        (b"original-request", kept.request_id.encode()),
    ]
    await call.answer(200, kept.body, kept.content_type.encode("latin-1"))
