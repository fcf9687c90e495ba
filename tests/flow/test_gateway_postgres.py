"""The same cloud with its store in PostgreSQL: the same answers, the same rows."""

from __future__ import annotations

import asyncio

import openai
import pytest
import pytest_asyncio

from haneul.base.errors import AlreadyRunning
from haneul.services import keys
from haneul.services.prices import Rates, worst_nano

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "three small words"}]
RATES = Rates(input_nano=103_000_000, cached_nano=11_000_000, output_nano=407_000_000)


@pytest_asyncio.fixture(loop_scope="module")
async def cloud(start_cloud, postgres):
    url = await asyncio.to_thread(postgres.new_database)
    return await start_cloud(database_url=url)


@pytest_asyncio.fixture(loop_scope="module")
async def key(cloud):
    return await cloud.make_key()


async def test_answers_hang_ups_and_refusals_leave_their_rows(cloud, key):
    engine = await cloud.add_engine(words=["w"] * 100, delay_s=0.01)
    client = cloud.client(key.secret)
    whole = await client.chat.completions.create(
        model=engine.models[0], messages=MESSAGES, max_tokens=3
    )
    assert whole.usage.cost_nano == cloud.cost(3, 3)
    stream = await client.chat.completions.create(
        model=engine.models[0], messages=MESSAGES, stream=True
    )
    async for _ in stream:
        if engine.seen.completion_tokens > 10:
            break
    await stream.close()
    await cloud.until(lambda: engine.seen.running == 0)
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(model="no\0pe", messages=MESSAGES)
    odd = await cloud.chat(key.secret, engine.models[0], max_tokens=1, user="\0" + "하" * 500)
    assert odd.status == 200
    rows = await cloud.rows(key.key.id)
    assert [row.state for row in rows] == ["done", "aborted", "refused", "done"]
    assert rows[1].cost_nano == cloud.cost(rows[1].prompt_tokens, rows[1].completion_tokens)
    me = await cloud.me(key.secret)
    assert (me["spent_nano"], me["reserved_nano"]) == (sum(row.cost_nano for row in rows), 0)
    usage = (await cloud.ask("GET", "/haneul/v1/usage", secret=key.secret)).json()["usage"]
    assert sum(line["cost_nano"] for line in usage) == me["spent_nano"]


async def test_a_budget_holds_under_many_requests_at_once(cloud):
    engine = await cloud.add_engine(delay_s=0.002)
    prompt = len('[{"role":"user","content":"say it"}]') + 512
    budget = 5 * worst_nano(RATES, prompt_max=prompt, completion_max=4)
    key = await cloud.make_key(budget_nano=budget)
    answers = await asyncio.gather(
        *(cloud.chat(key.secret, engine.models[0], max_tokens=4) for _ in range(30))
    )
    statuses = {answer.status for answer in answers}
    assert statuses == {200, 429}
    assert engine.seen.requests == sum(answer.status == 200 for answer in answers)
    assert sum(row.cost_nano for row in await cloud.rows(key.key.id)) <= budget


async def test_a_revocation_takes_effect(cloud, key):
    assert (await cloud.ask("GET", "/v1/models", secret=key.secret)).status == 200
    await cloud.cloud.database.call(
        lambda connection: keys.revoke(connection, key.key.name, actor="test")
    )

    async def is_refused():
        return (await cloud.ask("GET", "/v1/models", secret=key.secret)).status == 401

    await cloud.until(is_refused)


async def test_a_record_is_found_and_odd_ids_are_not(cloud, key):
    engine = await cloud.add_engine()
    answer = await cloud.chat(key.secret, engine.models[0])
    found = await cloud.ask("GET", f"/haneul/v1/requests/{answer.id}", secret=key.secret)
    assert found.json()["id"] == answer.id
    odd = await cloud.ask("GET", "/haneul/v1/requests/a%00b", secret=key.secret)
    assert odd.status == 400


async def test_a_second_cloud_on_the_same_database_is_refused(cloud, key, start_cloud):
    engine = await cloud.add_engine()
    with pytest.raises(AlreadyRunning, match="on this database already"):
        await start_cloud(database_url=cloud.cloud.config.database_url)
    assert (await cloud.chat(key.secret, engine.models[0])).status == 200


async def test_a_server_that_goes_away_delays_records_and_loses_none(cloud, key, postgres):
    engine = await cloud.add_engine(words=["w"] * 60, delay_s=0.02)
    running = asyncio.create_task(cloud.chat(key.secret, engine.models[0], stream=True))
    await cloud.until(lambda: engine.seen.completion_tokens > 5)
    await asyncio.to_thread(postgres.stop)
    answer = await running
    assert answer.events()[-1] == "[DONE]"
    await asyncio.sleep(1.1)
    refused = await cloud.chat(key.secret, engine.models[0])
    assert (refused.status, refused.error()["code"]) == (503, "service_unavailable")
    assert refused.headers["retry-after"] == "5"
    assert cloud.cloud.gateway.biller.flights.in_flight == 1
    await asyncio.to_thread(postgres.start)
    row = await cloud.row(answer.id)
    assert (row.state, row.completion_tokens) == ("done", 60)
    assert cloud.cloud.gateway.biller.flights.in_flight == 0
    assert (await cloud.chat(key.secret, engine.models[0], max_tokens=1)).status == 200
