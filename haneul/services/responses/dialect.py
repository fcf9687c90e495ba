"""POST /v1/responses: the Responses API as a dialect of the one path."""

from __future__ import annotations

import time

import msgspec

from haneul.base.ids import new_id
from haneul.services.ask import Ask
from haneul.services.dialect import Told
from haneul.services.flights import Counters
from haneul.services.keys import Key
from haneul.services.openai import OpenAIErrors
from haneul.services.responses import answer
from haneul.services.responses.answer import Asked, ResponseStream
from haneul.services.responses.items import read_items
from haneul.services.responses.kept import Kept
from haneul.services.responses.request import neutral, read


class Responses(OpenAIErrors):
    """Reads, tells and keeps responses."""

    name = "responses"

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    async def open(self, key: Key, data: bytes) -> Ask:
        """The request with the conversation that it continues. Raises BadRequest, NotFound."""
        request, forwarded = read(data)
        items = read_items(request.input)
        told, chain = items, list[str]()
        if request.previous_response_id is not None:
            before, chain = await self._kept.conversation(key, request.previous_response_id)
            told = before + items
        asked = Asked(new_id("resp"), int(time.time()), request, items, chain)
        ask = neutral(request, told, forwarded)
        return msgspec.structs.replace(ask, name=self.name, client=asked)

    def stream(self, ask: Ask, counters: Counters) -> Told:
        return ResponseStream(ask, counters)

    def whole(self, ask: Ask, data: bytes, *, cost_nano: int, currency: str) -> bytes:
        return answer.whole(ask, data, cost_nano=cost_nano, currency=currency)

    async def keep(self, key: Key, ask: Ask, answer: Told | bytes) -> None:
        """Keeps the response with its input, unless the request said not to."""
        asked: Asked = ask.client
        if not asked.request.is_kept:
            return
        if isinstance(answer, ResponseStream):
            answer = msgspec.json.encode(answer.response)
        assert isinstance(answer, bytes)
        await self._kept.put(key, asked, answer)
