"""The gateway before the real embedded engine: exact counts also where an answer is cut."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import pytest
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "Count to a hundred."}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(cloud, tiny_model):
    """The target of a tiny model of random weights that this cloud has loaded."""
    target = await cloud.cloud.serve(str(tiny_model))
    assert target.price is not None
    return target


def cost(target, row):
    """At the price of the record, by hand."""
    price = target.price
    total = (
        (row.prompt_tokens - row.cached_tokens) * price.input_nano
        + row.cached_tokens * price.cached_nano
        + row.completion_tokens * price.output_nano
    )
    return (total + 500_000) // 1_000_000


async def test_whole_and_streamed_answers_are_billed_the_same(cloud, key, served):
    client = cloud.client(key.secret)
    fields = {"model": served.model, "messages": MESSAGES, "temperature": 0, "max_tokens": 12}
    whole = await client.chat.completions.create(**fields, extra_body={"ignore_eos": True})
    stream = await client.chat.completions.create(
        **fields,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert all(chunk.usage is None for chunk in chunks[:-1])
    first, second = await cloud.rows(key.key.id)
    for row, usage in ((first, whole.usage), (second, chunks[-1].usage)):
        assert (row.state, row.metering, row.engine) == ("done", "engine", "embedded")
        assert row.completion_tokens == usage.completion_tokens == 12
        assert row.prompt_tokens == usage.prompt_tokens
        assert row.cost_nano == usage.cost_nano == cost(served, row)
        assert row.digest == served.digest
        assert row.busy_us > 0
    assert first.prompt_tokens == second.prompt_tokens


@pytest.mark.parametrize("address", ["images/generations", "audio/speech", "audio/transcriptions"])
async def test_a_model_of_text_is_no_model_of_pictures_or_sound(cloud, key, served, address):
    said = {"model": served.model, "prompt": "a cloud", "input": "a cloud"}
    body, kind = json.dumps(said).encode(), "application/json"
    if address == "audio/transcriptions":
        parts = (f'name="model"\r\n\r\n{served.model}', 'name="file"; filename="a"\r\n\r\nRIFF')
        body = b"".join(f"--b\r\ncontent-disposition: form-data; {p}\r\n".encode() for p in parts)
        body, kind = body + b"--b--\r\n", "multipart/form-data; boundary=b"
    fields = {"secret": key.secret, "content-type": kind}
    answer = await cloud.ask("POST", f"/v1/{address}", body, **fields)
    error = answer.json()["error"]
    assert (answer.status, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert (await cloud.rows(key.key.id))[-1].cost_nano == 0


@pytest.mark.parametrize("count", [1, 20])
async def test_a_hang_up_is_billed_by_the_engines_own_count(cloud, key, served, count):
    stream = await cloud.client(key.secret).chat.completions.create(
        model=served.model, messages=MESSAGES, stream=True, extra_body={"ignore_eos": True}
    )
    read = 0
    async for chunk in stream:
        read += bool(chunk.choices and chunk.choices[0].delta.content)
        if read == count:
            break
    await stream.close()
    row = await cloud.row(stream.response.headers["x-request-id"])
    assert (row.state, row.metering) == ("aborted", "engine")
    # A tiny model says a thousand tokens a second: some are under way when the client leaves.
    assert count <= row.completion_tokens <= count + 600
    assert row.prompt_tokens > 0
    assert row.cost_nano == cost(served, row)
    await cloud.until(lambda: served.gate.busy.inside == 0)
    assert (await cloud.me(key.secret))["reserved_nano"] == 0


async def test_an_engine_that_is_killed_ends_its_stream_and_comes_back(cloud, key, served):
    running = asyncio.create_task(
        cloud.chat(
            key.secret, served.model, stream=True, ignore_eos=True, max_tokens=2000, temperature=0
        )
    )
    await cloud.until(lambda: served.gate.busy.inside == 1)
    await asyncio.sleep(0.2)
    os.kill(served.replica.process.pid, signal.SIGKILL)
    answer = await running
    assert "[DONE]" not in answer.events()
    row = await cloud.row(answer.id)
    assert (row.state, row.status) == ("failed", 503)
    assert row.cost_nano == cost(served, row)

    async def answers():
        return (await cloud.chat(key.secret, served.model, max_tokens=3)).status == 200

    await cloud.until(answers, 10, "the engine is back")
    assert served.replica.restarts == 1


async def test_a_budget_caps_an_answer_of_the_embedded_engine(cloud, served):
    price = served.price
    afford = 50
    nano = (price.input_nano * 700 + price.output_nano * afford) // 1_000_000
    key = await cloud.make_key(budget_nano=nano)
    answer = await cloud.chat(key.secret, served.model, ignore_eos=True)
    row = await cloud.row(answer.id)
    assert answer.status == 200
    assert afford <= row.completion_tokens
    assert row.cost_nano <= nano


async def test_a_response_of_the_embedded_engine_is_streamed_kept_and_continued(cloud, key, served):
    client = cloud.client(key.secret)
    fields = {
        "model": served.model,
        "max_output_tokens": 8,
        "temperature": 0,
        "extra_body": {"ignore_eos": True},
    }
    whole = await client.responses.create(input="Count to a hundred.", **fields)
    stream = await client.responses.create(input="Count to a hundred.", stream=True, **fields)
    *_, last = [event async for event in stream]
    assert last.type == "response.incomplete"
    assert last.response.output_text == whole.output_text
    assert last.response.usage.output_tokens == whole.usage.output_tokens == 8
    more = await client.responses.create(input="Go on.", previous_response_id=whole.id, **fields)
    assert more.usage.input_tokens > whole.usage.input_tokens
    rows = await cloud.rows(key.key.id)
    assert [row.metering for row in rows] == ["engine"] * 3
    assert [row.cost_nano for row in rows] == [cost(served, row) for row in rows]


async def test_a_batch_runs_on_the_embedded_engine_at_half_the_price(cloud, key, served):
    client = cloud.client(key.secret)
    body = {"model": served.model, "messages": MESSAGES, "max_tokens": 6, "ignore_eos": True}
    url = "/v1/chat/completions"
    texts = [
        json.dumps({"custom_id": str(number), "method": "POST", "url": url, "body": body})
        for number in range(5)
    ]
    file = await client.files.create(file=("in.jsonl", "\n".join(texts).encode()), purpose="batch")
    batch = await client.batches.create(
        input_file_id=file.id, endpoint=url, completion_window="24h"
    )

    async def has_ended():
        return (await client.batches.retrieve(batch.id)).status == "completed"

    await cloud.until(has_ended, 20)
    batch = await client.batches.retrieve(batch.id)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (5, 0)
    assert batch.usage.output_tokens == 30
    assert len((await client.files.content(batch.output_file_id)).text.splitlines()) == 5
    rows = await cloud.rows(key.key.id)
    assert [(row.route, row.state, row.completion_tokens) for row in rows] == [
        ("batch.chat", "done", 6)
    ] * 5
    price = served.price
    for row in rows:
        uncached = row.prompt_tokens - row.cached_tokens
        whole = (
            uncached * price.input_nano
            + row.cached_tokens * price.cached_nano
            + row.completion_tokens * price.output_nano
        )
        assert row.cost_nano == (whole + 1_000_000) // 2_000_000
