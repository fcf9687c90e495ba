"""GET and DELETE /v1/responses/{id}, and GET /v1/responses/{id}/input_items."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec

from haneul.base.errors import BadRequest, MethodNotAllowed, NotFound, UnsupportedValue
from haneul.services.call import JSON, Call
from haneul.services.chat import Gateway
from haneul.services.keyring import require
from haneul.services.pages import Page, read_page
from haneul.services.responses.kept import Kept
from haneul.services.responses.request import LOGPROBS

BELOW = "/v1/responses/"
ITEMS_MAX = 100
ITEMS_USUAL = 20


class ResponseAddresses:
    """What is asked of responses that were answered before."""

    def __init__(self, gateway: Gateway, kept: Kept) -> None:
        self._gateway = gateway
        self._kept = kept

    def routes(self) -> dict[str, dict[str, Callable[[Call], Awaitable[None]]]]:
        """Address to method to handler."""
        return {BELOW: {"GET": self.get, "DELETE": self.delete}}

    async def get(self, call: Call) -> None:
        """One response as it was answered, or the items that it was asked with."""
        key = await self._gateway.who(call)
        require(key, "infer")
        response_id, _, rest = call.path.removeprefix(BELOW).partition("/")
        if rest not in ("", "input_items"):
            raise NotFound()
        if rest:
            _check_query(call.query, {"after", "limit", "order"})
            page = read_page(call.query, usual=ITEMS_USUAL, most=ITEMS_MAX)
            items = await self._kept.input_items(key, response_id)
            await call.answer(200, msgspec.json.encode(_listed(items, page)), JSON)
            return
        _check_query(call.query, set())
        row = await self._kept.get(key, response_id)
        await call.answer(200, row.response.encode(), JSON)

    async def delete(self, call: Call) -> None:
        """Forgets a response; conversations that went through it end there."""
        key = await self._gateway.who(call)
        require(key, "infer")
        response_id = call.path.removeprefix(BELOW)
        if "/" in response_id:
            raise MethodNotAllowed(f"{call.path} does not take DELETE.")
        await self._kept.delete(key, response_id)
        gone = {"id": response_id, "object": "response", "deleted": True}
        await call.answer(200, msgspec.json.encode(gone), JSON)


def _check_query(query: str, known: set[str]) -> None:
    """Raises UnsupportedValue, BadRequest for what is asked and not done here."""
    for name, values in parse_qs(query, keep_blank_values=True).items():
        plain = name.removesuffix("[]")
        if plain == "include" and set(values) <= {LOGPROBS}:
            continue
        if plain == "stream" and values == ["false"]:
            continue
        if plain in ("include", "stream"):
            raise UnsupportedValue(f"This value of '{plain}' is not supported here.", param=plain)
        if plain not in known:
            raise BadRequest(f"'{plain[:64]}' is not honoured here.", param=plain[:64])


def _listed(items: list[dict[str, Any]], page: Page) -> dict[str, Any]:
    if page.is_newest_first:
        items = items[::-1]
    ids = [item["id"] for item in items]
    if page.after is not None:
        if page.after not in ids:
            raise NotFound("There is no such item in this response.", param="after")
        items = items[ids.index(page.after) + 1 :]
    return page.listed(items[: page.limit], has_more=len(items) > page.limit)
