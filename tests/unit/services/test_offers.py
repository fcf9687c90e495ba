"""What is put together once for all requests of a payer stands only as long as all of it is so."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec

from haneul.services import openai
from haneul.services.gate import Gate
from haneul.services.keys import LOCAL
from haneul.services.offers import TERMS_MAX, offer_of
from haneul.services.targets import Target, always_ready
from haneul.store.prices import PriceRow

KEY = msgspec.structs.replace(LOCAL, id="k", tenant_id="t", user_id="u")


def price(number, from_us=0):
    return PriceRow(
        id=f"p{number}",
        model="m",
        engine="e",
        currency="USD",
        input_nano=number,
        cached_nano=0,
        output_nano=number,
        created_us=0,
        from_us=from_us,
    )


def target(**fields):
    gate = Gate(inside_max=4, queue_max=4, queue_s=1)
    known = {"model": "e/m", "engine": "e", "upstream_model": "m", "transport": None}
    return Target(
        **known, gate=gate, ready=always_ready, currency="USD", **{"price": price(1), **fields}
    )


def ask(**fields):
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return openai.read(openai.CHAT, msgspec.json.encode(body))


def row_of(at, key=KEY, asked=None, *, request="r", at_us=5):
    call = SimpleNamespace(id=request, received_us=at_us)
    return offer_of(call, key, asked or ask(), at, "USD").opened


def test_each_request_adds_what_is_its_own():
    at = target()
    first = row_of(at, asked=ask(user="ann", stream=True), request="r1", at_us=7)
    second = row_of(at, request="r2", at_us=9)
    assert (first.row.id, first.row.end_user, first.row.is_stream) == ("r1", "ann", 1)
    assert (second.row.id, second.row.end_user, second.row.is_stream) == ("r2", None, 0)
    assert (first.row.received_us, second.row.received_us) == (7, 9)
    assert (first.row.tenant_id, first.row.user_id, first.row.price_id) == ("t", "u", "p1")


def test_a_new_price_holds_from_the_next_request_and_a_coming_one_from_its_moment():
    at = target()
    assert row_of(at).rates.input_nano == 1
    at.price = price(2)
    assert (row_of(at).row.price_id, row_of(at).rates.input_nano) == ("p2", 2)
    at.upcoming = (price(3, from_us=100),)
    found = [row_of(at, at_us=moment).row.price_id for moment in (99, 100, 99)]
    assert found == ["p2", "p3", "p2"]


def test_who_pays_is_who_pays_now():
    at = target()
    assert row_of(at).row.user_id == "u"
    moved = msgspec.structs.replace(KEY, tenant_id="other", user_id=None)
    assert (row_of(at, moved).row.tenant_id, row_of(at, moved).row.user_id) == ("other", None)
    assert row_of(at, msgspec.structs.replace(KEY, app="a")).row.app == "a"
    assert row_of(at, asked=msgspec.structs.replace(ask(), share_millionths=5)).rates == (
        msgspec.structs.replace(row_of(at).rates, share_millionths=5)
    )


def test_so_many_payers_are_remembered_and_no_more():
    at = target()
    for number in range(TERMS_MAX + 10):
        row_of(at, msgspec.structs.replace(KEY, id=f"k{number}"))
    assert len(at.terms) <= TERMS_MAX
