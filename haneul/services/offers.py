"""What a target would answer a request for, and what is kept of it before it is asked.

Most of that is the same for all requests of one payer by one route: it is put together once, as
long as the target and its price stand, and each request adds what is its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from haneul.services.ask import Ask
from haneul.services.call import Call
from haneul.services.flights import Opened
from haneul.services.keys import Key
from haneul.services.openai import prompt_max
from haneul.services.prices import Rates, rates_of
from haneul.services.targets import Target
from haneul.store.ledger import RequestRow
from haneul.store.prices import PriceRow

NAME_MAX_BYTES = 208  # of what users and engines say and the ledger keeps
CLIENT_CLOSED = 499  # the status of a request whose client went away, as nginx writes it
TERMS_MAX = 4096
# of terms: the key, the app, the route, the share of the price, what is billed beside tokens
Place = tuple[str, str | None, str, int, str | None]


class Offer(Struct, frozen=True, eq=False):
    """One engine that may answer, on the terms of the moment the request was accepted."""

    target: Target
    opened: Opened
    prompt_max: int


class Terms(NamedTuple):
    """What all requests of one payer by one route to one target have in common."""

    price: PriceRow | None
    row: RequestRow  # of no request
    rates: Rates
    hour_nano: int


def offer_of(call: Call, key: Key, ask: Ask, target: Target, currency: str) -> Offer:
    """What a target would answer the request for, and what a page keeps of it."""
    at_us = call.received_us
    price = target.price_at(at_us) if target.upcoming else target.price
    place = (key.id, key.app, ask.name, ask.share_millionths, ask.unit)
    terms: Terms | None = target.terms.get(place)
    if terms is None or terms.price is not price or not _pays(key, terms.row):
        terms = _remember(place, key, ask, target, price, currency)
    row = replace(
        terms.row,
        id=call.id,
        is_stream=1 if ask.is_stream else 0,
        end_user=kept(ask.end_user) if ask.end_user else ask.end_user,
        thinking_max=ask.thinking_max if ask.is_thinking_kept else None,
        masked=ask.masked,
        received_us=at_us,
        finished_us=at_us,
    )
    opened = Opened(row=row, rates=terms.rates, hour_nano=terms.hour_nano)
    return Offer(target, opened, prompt_max(ask, target.context_tokens))


def _remember(
    place: Place, key: Key, ask: Ask, target: Target, price: PriceRow | None, currency: str
) -> Terms:
    """What is the same for all requests at a place; as long as its price holds."""
    row = RequestRow(
        **payer(key, ask.name, currency),
        id="",
        received_us=0,
        finished_us=0,
        model=kept(target.model),
        digest=target.digest,
        engine=kept(target.engine),
        engine_version=target.engine_version,
        chip=target.chip,
        state="aborted",
        status=CLIENT_CLOSED,
        price_id=price.id if price else None,
        share_millionths=ask.share_millionths,
        unit=ask.unit,
    )
    rates = rates_of(price, ask.share_millionths, unit=ask.unit)
    terms = Terms(price, row, rates, target.hour_nano)
    if len(target.terms) >= TERMS_MAX:
        target.terms.clear()
    target.terms[place] = terms
    return terms


def payer(key: Key, route: str, currency: str) -> dict[str, Any]:
    """Who pays for a request and how it came, as a row says it."""
    return {
        "key_id": key.id,
        "tenant_id": key.tenant_id,
        "user_id": key.user_id,
        "app": key.app,
        "route": route,
        "currency": currency,
    }


def _pays(key: Key, row: RequestRow) -> bool:
    """Whether the row is of who pays for the key's requests now."""
    return row.tenant_id == key.tenant_id and row.user_id == key.user_id


def kept(text: str | None, most_bytes: int = NAME_MAX_BYTES) -> str | None:
    """What the ledger keeps of a text that somebody else chose.

    So much that it fits a page of `flights`, and no NUL, which PostgreSQL does not take.
    """
    if text is None or (len(text) <= most_bytes and text.isascii() and "\0" not in text):
        return text
    return text.replace("\0", "\ufffd").encode()[:most_bytes].decode(errors="ignore")
