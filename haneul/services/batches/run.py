"""One line of a batch on the path of every request, as a call that the cloud makes to itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from msgspec import structs
from sqlalchemy import Connection

from haneul.base.errors import BadRequest, HaneulError
from haneul.services.ask import Ask
from haneul.services.batches import lines
from haneul.services.batches.bill import LineBill
from haneul.services.call import Call
from haneul.services.chat import Gateway
from haneul.services.dialect import Dialect, Told
from haneul.services.flights import Counters
from haneul.services.heads import PRIORITY
from haneul.services.keys import Key
from haneul.services.ledger import append_missing
from haneul.store import batches as queries
from haneul.store.batches import LineRow
from haneul.store.database import Database
from haneul.store.ledger import RequestRow


class Outcome(NamedTuple):
    """How a line ended: kept already, or with an answer that says why not."""

    is_kept: bool
    status: int
    body: bytes
    request_id: str
    retry_after_s: float | None


class Order(NamedTuple):
    """One line to run."""

    batch_id: str
    number: int
    custom_id: str
    body: bytes
    share_millionths: int


class Inside:
    """The connection of a call that nobody dialled: what is written to it is gathered."""

    on_drained: Callable[[], None] | None = None
    is_stalled = False

    def __init__(self) -> None:
        self.status = 0
        self.pieces: list[bytes] = []
        self._ended = asyncio.Event()

    def peer(self) -> str | None:
        """Nobody's address."""
        return None

    def want_body(self, *, is_expected: bool) -> None:
        """It is there."""

    def begin(self, call: Call, head: bytes, status: int, length: int | None) -> bytes:
        self.status = status
        return b""

    def write(self, head: bytes, data: bytes, *, is_last: bool) -> None:
        self.pieces.append(data)

    def chunks(self) -> Callable[[bytes], None] | None:
        """Nothing is sent."""
        return None

    async def drained(self) -> None:
        """Nothing holds it back."""

    def ended(self) -> None:
        self._ended.set()

    def abort(self) -> None:
        """Whatever was written is not whole."""
        self.status = 0

    async def end(self) -> None:
        """Returns when the call has ended."""
        await self._ended.wait()


class LineDialect:
    """Another dialect, for the lines of batches: never streamed, kept with its record."""

    def __init__(self, inner: Dialect, order: Order, database: Database) -> None:
        self.name = f"batch.{inner.name}"
        self.is_kept = False
        self._inner = inner
        self._order = order
        self._database = database
        self._bill: LineBill | None = None

    async def open(self, key: Key, data: bytes) -> Ask:
        ask = await self._inner.open(key, data)
        if ask.is_stream:
            raise BadRequest("The answers of a batch are not streamed.", param="stream")
        share = self._order.share_millionths
        return structs.replace(ask, name=self.name, share_millionths=share, billed=self._billed)

    def _billed(self, *arguments: Any, **options: Any) -> LineBill:
        self._bill = LineBill(*arguments, **options)
        return self._bill

    def stream(self, ask: Ask, counters: Counters) -> Told:
        return self._inner.stream(ask, counters)

    def whole(self, ask: Ask, data: bytes, *, cost_nano: int, currency: str) -> bytes:
        return self._inner.whole(ask, data, cost_nano=cost_nano, currency=currency)

    def body(self, error: HaneulError, request_id: str) -> bytes:
        return self._inner.body(error, request_id)

    def event(self, error: HaneulError, request_id: str) -> bytes:
        return self._inner.event(error, request_id)

    async def keep(self, key: Key, ask: Ask, answer: Told | bytes) -> None:
        """Commits the result and the record at once; a cancellation waits for how that ends."""
        assert isinstance(answer, bytes)
        assert self._bill is not None
        assert self._bill.row is not None
        await self._inner.keep(key, ask, answer)
        row, record = self._line(answer, self._bill.row), self._bill.row
        committing = asyncio.ensure_future(self._database.call(_commit, row, record))
        try:
            await asyncio.shield(committing)
        finally:
            if not committing.done():
                await asyncio.wait([committing])
            if committing.exception() is None:
                self.is_kept = True
                self._bill.kept()

    def _line(self, answer: bytes, record: RequestRow) -> LineRow:
        order = self._order
        result = lines.result(order.custom_id, status=200, request_id=record.id, body=answer)
        return LineRow(
            batch_id=order.batch_id,
            number=order.number,
            status=200,
            result=result.decode(),
            prompt_tokens=record.prompt_tokens,
            cached_tokens=record.cached_tokens,
            completion_tokens=record.completion_tokens,
            reasoning_tokens=record.reasoning_tokens,
        )


def _commit(connection: Connection, row: LineRow, record: RequestRow) -> None:
    queries.keep_line(connection, row)
    append_missing(connection, [record])


async def run(
    gateway: Gateway, inner: Dialect, key: Key, order: Order, *, database: Database
) -> Outcome:
    """Runs a line for a key. A cancellation ends the call in order first."""
    dialect, inside = LineDialect(inner, order, database), Inside()
    call = Call(
        inside,
        dialect,
        method="POST",
        path="",
        query="",
        headers={PRIORITY: b"batch"},
        repeated=set(),
        is_local=False,
    )
    call.key = key
    call.take(order.body)
    call.whole()

    async def serve(call: Call) -> None:
        await gateway.serve(call, dialect)

    call.start(lambda call: gateway.guard(call, serve))
    try:
        await inside.end()
    except asyncio.CancelledError:
        call.stop()
        await inside.end()
        raise
    body = b"".join(inside.pieces)
    return Outcome(dialect.is_kept, inside.status, body, call.id, _retry_after_s(call))


def _retry_after_s(call: Call) -> float | None:
    said = dict(call.extra_headers).get(b"retry-after")
    return None if said is None else float(said)


def code_of(body: bytes) -> str | None:
    """The code of an error in OpenAI's shape, if it is one."""
    try:
        code = msgspec.json.decode(body)["error"]["code"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return None
    return code if isinstance(code, str) else None
