"""The address that Anthropic's clients ask."""

from __future__ import annotations

from haneul.services.anthropic import request, told
from haneul.services.anthropic.stream import Stream
from haneul.services.ask import Ask
from haneul.services.dialect import Told
from haneul.services.flights import Counters
from haneul.services.keys import Key

MESSAGES = "/v1/messages"


class Anthropic(told.Errors):
    """POST /v1/messages."""

    name = request.ROUTE

    async def open(self, key: Key, data: bytes) -> Ask:
        return request.read(data)

    def stream(self, ask: Ask, counters: Counters) -> Told:
        return Stream(ask, counters)

    def whole(self, ask: Ask, data: bytes, *, cost_nano: int, currency: str) -> bytes:
        return told.whole(ask, data, cost_nano=cost_nano, currency=currency)

    async def keep(self, key: Key, ask: Ask, answer: Told | bytes) -> None:
        """A message is not to be found again."""
