"""Lists that come in pages, as OpenAI's clients turn them: after an id, so many, in an order."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from msgspec import Struct

from haneul.base.errors import BadRequest


class Page(Struct, frozen=True):
    """Which part of a list is asked for."""

    after: str | None
    limit: int
    is_newest_first: bool

    def listed(self, data: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
        """The part as an answer."""
        return {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": has_more,
        }


def read_page(query: str, *, usual: int, most: int) -> Page:
    """The part that a query asks for, the newest first unless it says so. Raises BadRequest."""
    said = {name: values[-1] for name, values in parse_qs(query).items()}
    limit = said.get("limit", str(usual))
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= most:
        raise BadRequest(f"'limit' is a whole number from 1 to {most}.", param="limit")
    order = said.get("order", "desc")
    if order not in ("asc", "desc"):
        raise BadRequest("'order' is asc or desc.", param="order")
    return Page(said.get("after"), int(limit), order == "desc")
