"""Prices in a running cloud: one model's own, one that begins later, one for reasoning."""

from __future__ import annotations

import asyncio

import pytest

from haneul.base.ids import new_id
from haneul.base.units import now_us, parse_money
from haneul.services.prices import set_price
from haneul.store.prices import PriceRow

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def put(cloud, engine, model, price_in, price_out, *, after_s=0.0, reasoning=None):
    """What `haneul prices set` does."""
    now = now_us()
    row = PriceRow(
        id=new_id("prc"),
        model=model,
        engine=engine,
        currency="USD",
        input_nano=parse_money(price_in),
        cached_nano=parse_money(price_in),
        output_nano=parse_money(price_out),
        reasoning_nano=None if reasoning is None else parse_money(reasoning),
        created_us=now,
        from_us=now + round(after_s * 1e6),
    )
    await cloud.cloud.database.call(lambda c: set_price(c, row, actor="test"))
    await cloud.cloud.roster.refresh()
    return row


async def test_a_models_own_price_holds_for_it_alone(cloud, key):
    engine = await cloud.add_engine(name="two", models=("own", "other"))
    own = await put(cloud, "two", "own", "1", "2")
    row = await cloud.row((await cloud.chat(key.secret, "two/own")).id)
    assert (row.price_id, row.cost_nano) == (
        own.id,
        1000 * row.prompt_tokens + 2000 * row.completion_tokens,
    )
    row = await cloud.row((await cloud.chat(key.secret, "two/other")).id)
    assert row.price_id != own.id
    assert row.cost_nano == cloud.cost(row.prompt_tokens, row.completion_tokens)
    assert engine.seen.requests == 2


async def test_a_later_price_takes_effect_by_itself_at_its_moment(cloud, key):
    engine = await cloud.add_engine(name="later")
    later = await put(cloud, "later", engine.models[0], "3", "4", after_s=1.0)
    rows = []
    while not rows or rows[-1].price_id != later.id:
        rows.append(await cloud.row((await cloud.chat(key.secret, engine.models[0])).id))
        await asyncio.sleep(0.05)
        assert len(rows) < 100
    assert len(rows) > 3
    for row in rows:
        assert (row.price_id == later.id) == (row.received_us >= later.from_us)


async def test_a_request_is_reserved_for_at_the_dearest_token_it_may_give(cloud):
    engine = await cloud.add_engine(name="thinking")
    await put(cloud, "thinking", engine.models[0], "0", "1", reasoning="1000")
    poor = await cloud.make_key(budget="0.05")
    refused = await cloud.chat(poor.secret, engine.models[0], max_tokens=100)
    assert (refused.status, refused.error()["code"]) == (429, "insufficient_quota")
    taken = await cloud.chat(poor.secret, engine.models[0], max_tokens=40)
    row = await cloud.row(taken.id)
    assert (row.reasoning_tokens, row.cost_nano) == (0, 1000 * row.completion_tokens)
