"""/v1/batches: made, shown, listed and cancelled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from haneul.base import wire
from haneul.base.errors import (
    BadRequest,
    Conflict,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    UnknownField,
    UnsupportedValue,
)
from haneul.base.ids import new_id
from haneul.base.units import HOUR_US, MILLION, now_us
from haneul.base.wire import Body
from haneul.services.batches.files import BATCH, Files
from haneul.services.batches.states import CANCELLABLE, OPEN
from haneul.services.batches.worker import Worker
from haneul.services.call import JSON, Call
from haneul.services.chat import Gateway
from haneul.services.keyring import require
from haneul.services.keys import Key
from haneul.services.pages import read_page
from haneul.services.responses.request import Label, Labels
from haneul.store import batches as queries
from haneul.store.batches import BatchRow
from haneul.store.database import Database

HERE = "/v1/batches"
BELOW = "/v1/batches/"
WINDOW = "24h"
WINDOW_US = 24 * HOUR_US
ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
OPEN_MAX = 50  # batches of a key that have not ended
LISTED_USUAL, LISTED_MAX = 20, 100
BODY_BYTES, BODY_S = 64 << 10, 10.0
ENDED_AT = ("completed", "expired", "cancelled", "failed")


class BatchRequest(Struct, frozen=True, kw_only=True):
    """POST /v1/batches."""

    input_file_id: Label
    endpoint: Label
    completion_window: Label
    metadata: Labels | None = None


_decoder = msgspec.json.Decoder(BatchRequest)


class BatchAddresses:
    """What clients do with their batches."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        database: Database,
        files: Files,
        worker: Worker,
    ) -> None:
        self._gateway = gateway
        self._database = database
        self._files = files
        self._worker = worker

    def routes(self) -> dict[str, dict[str, Callable[[Call], Awaitable[None]]]]:
        """Address to method to handler."""
        return {
            HERE: {"POST": self.make, "GET": self.listed},
            BELOW: {"GET": self.get, "POST": self.cancel},
        }

    async def _who(self, call: Call) -> Key:
        key = await self._gateway.who(call)
        require(key, "infer")
        return key

    async def make(self, call: Call) -> None:
        """Takes a batch; its file is checked before anything of it runs."""
        key = await self._who(call)
        request = _read(await call.body(max_bytes=BODY_BYTES, within_s=BODY_S))
        file = await self._files.get(key, request.input_file_id)
        if file.purpose != BATCH:
            message = "A batch reads a file that was put for the purpose 'batch'."
            raise BadRequest(message, param="input_file_id")
        if await self._database.ask(queries.open_count, key.id, OPEN) >= OPEN_MAX:
            message = f"The API key '{key.name}' has {OPEN_MAX} batches that have not ended."
            raise RateLimited(message, retry_after_s=60)
        at_us = now_us()
        labels = None if request.metadata is None else msgspec.json.encode(request.metadata)
        row = BatchRow(
            id=new_id("batch"),
            key_id=key.id,
            endpoint=request.endpoint,
            input_file_id=file.id,
            labels=None if labels is None else labels.decode(),
            state="validating",
            created_us=at_us,
            expires_us=at_us + WINDOW_US,
        )
        await self._database.call(queries.put, row)
        self._worker.wake()
        await self._answer(call, row)

    async def get(self, call: Call) -> None:
        """How far a batch is."""
        key = await self._who(call)
        if call.path.endswith("/cancel"):
            raise MethodNotAllowed(f"{call.path} takes POST.")
        await self._answer(call, await self._find(key, call.path.removeprefix(BELOW)))

    async def listed(self, call: Call) -> None:
        """The key's batches, the newest first."""
        key = await self._who(call)
        for name in parse_qs(call.query).keys() - {"after", "limit"}:
            raise BadRequest(f"'{name[:64]}' is not honoured here.", param=name[:64])
        page = read_page(call.query, usual=LISTED_USUAL, most=LISTED_MAX)
        rows = await self._database.ask(
            lambda connection: queries.listed(
                connection, key.id, after=page.after, limit=page.limit + 1
            )
        )
        shown = [await self._shown(row) for row in rows[: page.limit]]
        answer = page.listed(shown, has_more=len(rows) > page.limit)
        await call.answer(200, msgspec.json.encode(answer), JSON)

    async def cancel(self, call: Call) -> None:
        """Begins no further line; what runs may end, and what is done is given."""
        key = await self._who(call)
        batch_id, _, verb = call.path.removeprefix(BELOW).partition("/")
        if verb != "cancel":
            raise MethodNotAllowed(f"{call.path} does not take POST.")
        row = await self._find(key, batch_id)
        facts = {"state": "cancelling", "cancelling_us": now_us()}
        if await self._database.call(queries.move, row.id, CANCELLABLE, facts):
            self._worker.cancel(row.id)
        elif row.state != "cancelling":
            raise Conflict(f"This batch is {row.state} and cannot be cancelled.")
        await self._answer(call, await self._find(key, batch_id))

    async def _find(self, key: Key, batch_id: str) -> BatchRow:
        row = await self._database.ask(queries.get, key.id, batch_id)
        if row is None:
            shown = batch_id if len(batch_id) <= 64 else batch_id[:64] + "…"
            raise NotFound(f"There is no batch {shown!r} here.", param="batch_id")
        return row

    async def _answer(self, call: Call, row: BatchRow) -> None:
        await call.answer(200, msgspec.json.encode(await self._shown(row)), JSON)

    async def _shown(self, row: BatchRow) -> dict[str, Any]:
        """Counted from the lines while it runs."""
        if row.state not in OPEN:
            return show_batch(row, row.completed, row.failed)
        counts = await self._database.ask(queries.counts, row.id)
        return show_batch(row, counts.completed, counts.failed)


def _read(data: bytes) -> BatchRequest:
    for name in Body(data).unknown(frozenset(BatchRequest.__struct_fields__)):
        raise UnknownField(f"'{name[:64]}' is not honoured here.", param=name[:64])
    request = wire.decode(data, _decoder)
    if request.endpoint not in ENDPOINTS:
        message = f"'endpoint' can be {', '.join(ENDPOINTS)}."
        raise UnsupportedValue(message, param="endpoint")
    if request.completion_window != WINDOW:
        raise UnsupportedValue(f"'completion_window' is {WINDOW}.", param="completion_window")
    return request


def show_batch(row: BatchRow, completed: int, failed: int) -> dict[str, Any]:
    """A batch as the API shows it; times in seconds since 1970."""
    is_ended = row.state not in OPEN
    times = {
        "created_at": row.created_us,
        "in_progress_at": row.in_progress_us,
        "expires_at": row.expires_us,
        "finalizing_at": row.finalizing_us,
        "cancelling_at": row.cancelling_us,
        **{f"{state}_at": row.ended_us if row.state == state else None for state in ENDED_AT},
    }
    return {
        "id": row.id,
        "object": "batch",
        "endpoint": row.endpoint,
        "model": row.model,
        "errors": None if row.errors is None else msgspec.Raw(row.errors.encode()),
        "input_file_id": row.input_file_id,
        "completion_window": WINDOW,
        "status": row.state,
        "output_file_id": row.output_file_id if is_ended else None,
        "error_file_id": row.error_file_id if is_ended else None,
        **{name: None if at_us is None else at_us // MILLION for name, at_us in times.items()},
        "request_counts": {"total": row.total, "completed": completed, "failed": failed},
        "usage": None if row.usage is None else msgspec.Raw(row.usage.encode()),
        "metadata": None if row.labels is None else msgspec.Raw(row.labels.encode()),
    }
