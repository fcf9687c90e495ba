"""The responses that are kept, each for the key that asked: found, continued, deleted, forgotten.

A row holds one response and the input of its own request; the conversation that it continues is
found by its previous response, so that one that is deleted is nowhere any more. Rows live so many
days after their last use, and each key has room for so many bytes: the longest unused go first.
"""

from __future__ import annotations

from typing import Any

import msgspec

from haneul.base.errors import NotFound, TooLarge
from haneul.base.log import logger
from haneul.base.units import HOUR_US, now_us
from haneul.services.keys import Key
from haneul.services.responses.answer import Asked
from haneul.services.responses.items import Item
from haneul.store import responses as queries
from haneul.store.database import Database
from haneul.store.responses import ResponseRow

DAY_US = 24 * HOUR_US
log = logger("responses")


class Kept:
    """The responses in the store."""

    def __init__(
        self, database: Database, *, room_bytes: int, days: int, chain_max_bytes: int
    ) -> None:
        self._database = database
        self._days = days
        self._room_bytes = room_bytes
        self._chain_max_bytes = chain_max_bytes

    async def get(self, key: Key, response_id: str) -> ResponseRow:
        """One response of the key. Raises NotFound."""
        row = await self._database.ask(queries.get, key.id, response_id)
        if row is None:
            raise _not_found(response_id)
        return row

    async def conversation(self, key: Key, response_id: str) -> tuple[list[Item], list[str]]:
        """What was said up to and with a response, and the ids of the responses in it.

        Raises NotFound, also where one that it continues is gone; TooLarge.
        """
        links = await self._database.ask(queries.chain, key.id, response_id)
        if not links or links[0].previous_id is not None:
            raise _not_found(response_id)
        if sum(link.bytes for link in links) > self._chain_max_bytes:
            raise TooLarge(
                f"The conversation is larger than {self._chain_max_bytes} bytes.",
                param="previous_response_id",
            )
        ids = [link.id for link in links]
        rows = await self._database.ask(queries.several, ids)
        if len(rows) < len(ids):
            raise _not_found(response_id)
        return [item for link in ids for item in _items(rows[link])], ids

    async def input_items(self, key: Key, response_id: str) -> list[Item]:
        """What a response was asked with, as far back as it is still there. Raises NotFound."""
        links = await self._database.ask(queries.chain, key.id, response_id)
        rows = await self._database.ask(queries.several, [link.id for link in links])
        if response_id not in rows:
            raise _not_found(response_id)
        before = [rows[link.id] for link in links[:-1] if link.id in rows]
        told = [item for row in before for item in _items(row)]
        return told + msgspec.json.decode(rows[response_id].input, type=list[Item])

    async def put(self, key: Key, asked: Asked, response: bytes) -> None:
        """Keeps an answered response. Raises Unavailable."""
        items = msgspec.json.encode(asked.items)
        at_us = now_us()
        row = ResponseRow(
            id=asked.id,
            key_id=key.id,
            previous_id=asked.request.previous_response_id,
            input=items.decode(),
            response=response.decode(),
            bytes=len(items) + len(response),
            created_us=at_us,
            used_us=at_us,
        )
        await self._database.call(queries.put, row, asked.chain, self._room_bytes)

    async def forget(self) -> None:
        """Deletes what nobody has used for so many days."""
        before_us = now_us() - self._days * DAY_US
        if count := await self._database.call(queries.remove_unused, before_us):
            log.info("responses_forgotten", count=count)

    async def delete(self, key: Key, response_id: str) -> None:
        """Forgets one response of the key. Raises NotFound."""
        if not await self._database.call(queries.remove, key.id, response_id):
            raise _not_found(response_id)


def _items(row: ResponseRow) -> list[Item]:
    """What one response adds to a conversation: its input and its output."""
    response: dict[str, Any] = msgspec.json.decode(row.response)
    return [*msgspec.json.decode(row.input), *response["output"]]


def _not_found(response_id: str) -> NotFound:
    shown = response_id if len(response_id) <= 64 else response_id[:64] + "…"
    return NotFound(
        f"There is no response {shown!r} here, or one that it continues is gone.",
        param="previous_response_id",
    )
