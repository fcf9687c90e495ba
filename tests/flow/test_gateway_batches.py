"""Files and batches, as OpenAI's own client puts, runs and reads them."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections import Counter

import openai
import pytest

from haneul.base.units import now_us
from haneul.services import keys
from haneul.services.flights import Flights
from haneul.store import batches as batch_queries
from haneul.testing.engine import FakeEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENDED = ("completed", "failed", "expired", "cancelled")


def line(custom_id, model, url="/v1/chat/completions", **body):
    if not body:
        body = {"messages": [{"role": "user", "content": "two words"}], "max_tokens": 3}
    whole = {"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": model, **body}}
    return json.dumps(whole)


async def put(client, lines, name="in.jsonl"):
    data = "\n".join(lines).encode() + b"\n"
    return await client.files.create(file=(name, data), purpose="batch")


async def start(client, lines, endpoint="/v1/chat/completions", **fields):
    file = await put(client, lines)
    return await client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", **fields
    )


async def finished(client, batch, within_s=20.0):
    """The batch once it has ended."""
    async with asyncio.timeout(within_s * 3):
        while batch.status not in ENDED:
            await asyncio.sleep(0.05)
            batch = await client.batches.retrieve(batch.id)
    return batch


async def read(client, file_id):
    """The lines of a result file by their custom ids."""
    if file_id is None:
        return {}
    content = await client.files.content(file_id)
    told = [json.loads(text) for text in content.text.splitlines()]
    assert len({one["custom_id"] for one in told}) == len(told)
    assert all(one["id"].startswith("batch_req_") for one in told)
    return {one["custom_id"]: one for one in told}


async def test_files_are_put_listed_read_and_deleted(cloud, key):
    client = cloud.client(key.secret)
    first = await client.files.create(
        file=("../odd name.jsonl", b'{"a": 1}\n'),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 7200},
    )
    assert (first.object, first.bytes, first.filename) == ("file", 9, "odd name.jsonl")
    assert (first.purpose, first.status) == ("batch", "processed")
    assert first.expires_at == first.created_at + 7200
    second = await client.files.create(file=("b", b""), purpose="batch")
    assert [file.id async for file in client.files.list(limit=1)] == [second.id, first.id]
    assert [file.id async for file in client.files.list(order="asc")] == [first.id, second.id]
    assert [file.id async for file in client.files.list(purpose="batch_output")] == []
    assert (await client.files.content(first.id)).content == b'{"a": 1}\n'
    assert (await client.files.content(second.id)).content == b""
    path = cloud.cloud.config.home / "files" / first.id
    assert path.stat().st_mode & 0o777 == 0o600
    assert (await client.files.delete(first.id)).deleted
    assert not path.exists()
    with pytest.raises(openai.NotFoundError):
        await client.files.retrieve(first.id)


async def test_a_large_file_comes_back_byte_for_byte(cloud, key):
    client = cloud.client(key.secret)
    data = random.Random(5).randbytes(3_000_000)
    file = await client.files.create(file=("big", data), purpose="batch")
    assert (await client.files.content(file.id)).content == data


async def test_files_and_batches_are_there_for_their_own_key_alone(cloud, key):
    engine = await cloud.add_engine()
    mine, other = cloud.client(key.secret), cloud.client((await cloud.make_key()).secret)
    batch = await start(mine, [line("a", engine.models[0])])
    for attempt in (
        other.files.retrieve(batch.input_file_id),
        other.files.content(batch.input_file_id),
        other.files.delete(batch.input_file_id),
        other.batches.retrieve(batch.id),
        other.batches.cancel(batch.id),
        other.batches.create(
            input_file_id=batch.input_file_id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
        ),
    ):
        with pytest.raises(openai.NotFoundError):
            await attempt
    assert [one async for one in other.files.list()] == []
    assert [one async for one in other.batches.list()] == []
    await finished(mine, batch)


async def test_a_key_has_room_for_so_many_bytes_of_files(start_cloud):
    cloud = await start_cloud(files_max_bytes=1 << 20, file_max_bytes=600_000)
    client = cloud.client((await cloud.make_key()).secret)
    await client.files.create(file=("a", b"x" * 600_000), purpose="batch")
    for size in (600_001, 600_000, 900_000):
        with pytest.raises(openai.APIStatusError) as raised:
            await client.files.create(file=("b", b"x" * size), purpose="batch")
        assert raised.value.status_code == 413


FORM = "multipart/form-data; boundary=b"
FORM_BEFORE = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
)
FORM_BEHIND = b"\r\n--b--\r\n"


async def upload(cloud, key, size):
    """A connection on which the head of an upload has been sent, and what comes before the file."""
    reader, writer = await asyncio.open_connection("127.0.0.1", cloud.cloud.port)
    length = len(FORM_BEFORE) + size + len(FORM_BEHIND)
    head = (
        f"POST /v1/files HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key.secret}\r\n"
        f"content-type: {FORM}\r\ncontent-length: {length}\r\n\r\n"
    )
    writer.write(head.encode() + FORM_BEFORE)
    return reader, writer


async def test_an_upload_is_on_the_disk_as_far_as_it_has_come(cloud, key):
    folder, data = cloud.cloud.config.home / "files", random.Random(1).randbytes(6 << 20)
    there = set(folder.iterdir())
    reader, writer = await upload(cloud, key, len(data))
    writer.write(data[: 4 << 20])
    await cloud.until(lambda: written(folder, there) > 3 << 20, 20)
    writer.write(data[4 << 20 :] + FORM_BEHIND)
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 30)
    writer.close()
    file_id = json.loads(answer.partition(b"\r\n\r\n")[2])["id"]
    content = await cloud.client(key.secret).files.content(file_id)
    assert content.content == data


async def test_of_an_upload_that_is_called_off_nothing_stays(cloud, key):
    folder = cloud.cloud.config.home / "files"
    there = set(folder.iterdir())
    _, writer = await upload(cloud, key, 6 << 20)
    writer.write(b"y" * (4 << 20))
    await cloud.until(lambda: written(folder, there) > 3 << 20, 20)
    writer.transport.abort()
    await cloud.until(lambda: set(folder.iterdir()) <= there, 20)


def written(folder, before):
    """Bytes of the files that were not there before."""
    return sum(path.stat().st_size for path in set(folder.iterdir()) - before)


@pytest.mark.parametrize(
    ("kind", "body", "param"),
    [
        ("application/json", b"{}", None),
        (FORM, b"--b\r\n", None),
        (
            FORM,
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b--',
            "purpose",
        ),
        (
            FORM,
            b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--',
            "file",
        ),
        (
            FORM,
            b'--b\r\nContent-Disposition: form-data; name="colour"\r\n\r\nred\r\n--b--',
            "colour",
        ),
    ],
)
async def test_what_is_no_upload_is_refused(cloud, key, kind, body, param):
    headers = {"content-type": kind}
    answer = await cloud.ask("POST", "/v1/files", body, secret=key.secret, **headers)
    assert (answer.status, answer.error()["param"]) == (400, param)
    with pytest.raises(openai.BadRequestError) as raised:
        await cloud.client(key.secret).files.create(file=("a", b"x"), purpose="fine-tune")
    assert raised.value.param == "purpose"


async def test_a_batch_is_answered_line_by_line_at_half_the_price(cloud, key):
    engine = await cloud.add_engine(words=["a", "b", "c", "d", "e"], cached_tokens=1)
    client = cloud.client(key.secret)
    model = engine.models[0]
    texts = [line(f"id-{number}", model) for number in range(12)]
    texts[3] = line("id-3", model, messages="nonsense")
    texts[7] = line("id-7", "no-such-model")
    texts[9] = line("id-9", model, messages=[{"role": "user", "content": "x"}], stream=True)
    batch = await start(client, texts, metadata={"job": "nightly"})
    assert (batch.object, batch.status, batch.completion_window) == ("batch", "validating", "24h")
    assert batch.expires_at == batch.created_at + 86_400
    batch = await finished(client, batch)
    assert (batch.status, batch.model, batch.metadata) == ("completed", model, {"job": "nightly"})
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (12, 9, 3)
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    good = await read(client, batch.output_file_id)
    bad = await read(client, batch.error_file_id)
    assert list(good) == [f"id-{number}" for number in range(12) if number not in (3, 7, 9)]
    assert list(bad) == ["id-3", "id-7", "id-9"]
    codes = [bad[name]["response"]["body"]["error"]["code"] for name in bad]
    assert codes == ["invalid_request_error", "model_not_found", "invalid_request_error"]
    assert [bad[name]["response"]["status_code"] for name in bad] == [400, 404, 400]
    rows = {row.id: row for row in await cloud.rows(key.key.id)}
    cost = half(2, 3, cached=1)
    for told in good.values():
        response = told["response"]
        assert (response["status_code"], told["error"]) == (200, None)
        assert response["body"]["choices"][0]["message"]["content"] == "a b c "
        row = rows[response["request_id"]]
        assert (row.route, row.state, row.status) == ("batch.chat", "done", 200)
        assert (row.prompt_tokens, row.cached_tokens, row.completion_tokens) == (2, 1, 3)
        assert (row.share_millionths, row.cost_nano) == (500_000, cost)
        assert response["body"]["usage"]["cost_nano"] == cost
    assert Counter(row.state for row in rows.values()) == {"done": 9, "refused": 3}
    me = await cloud.me(key.secret)
    assert (me["spent_nano"], me["reserved_nano"]) == (9 * cost, 0)
    assert (batch.usage.input_tokens, batch.usage.output_tokens) == (18, 27)
    assert batch.usage.input_tokens_details.cached_tokens == 9
    assert engine.seen.completion_tokens == 27
    flights = cloud.cloud.gateway.biller.flights
    assert flights.in_flight == 0


def half(prompt, completion, cached=0):
    """Half of the exact cost, rounded once, by hand from the prices of the fixtures."""
    nano = (prompt - cached) * 103 + cached * 11 + completion * 407
    return (nano + 1) // 2


async def test_every_endpoint_can_be_batched(cloud, key):
    engine = await cloud.add_engine(words=["yes"])
    client, model = cloud.client(key.secret), engine.models[0]
    for endpoint, body in (
        ("/v1/completions", {"prompt": "go on"}),
        ("/v1/embeddings", {"input": "two words"}),
        ("/v1/responses", {"input": "hi", "instructions": "Be kind."}),
    ):
        batch = await start(client, [line("one", model, endpoint, **body)], endpoint)
        batch = await finished(client, batch)
        assert (batch.status, batch.request_counts.completed) == ("completed", 1), endpoint
        told = await read(client, batch.output_file_id)
        answer = told["one"]["response"]["body"]
    assert (answer["object"], answer["status"]) == ("response", "completed")
    kept = await client.responses.retrieve(answer["id"])
    assert kept.output_text == "yes "
    routes = [row.route for row in await cloud.rows(key.key.id)]
    assert routes == ["batch.completions", "batch.embeddings", "batch.responses"]


@pytest.mark.parametrize(
    ("texts", "code", "number"),
    [
        ([], "empty_file", None),
        (["{"], "invalid_json_line", 1),
        (["[]"], "invalid_request", 1),
        ([line("a", "m"), "", line("a", "m")], "duplicate_custom_id", 2),
        ([line("a", "m", url="/v1/embeddings", input="x")], "mismatched_url", 1),
        ([line("a", "m").replace("POST", "GET")], "invalid_method", 1),
        ([line("a", "m").replace('"model": "m", ', "")], "invalid_request", 1),
    ],
)
async def test_a_file_that_cannot_be_run_fails_its_batch(cloud, key, texts, code, number):
    client = cloud.client(key.secret)
    batch = await finished(client, await start(client, texts))
    assert batch.status == "failed"
    assert batch.failed_at
    error = batch.errors.data[0]
    assert (error.code, error.line) == (code, number)
    assert error.message
    assert batch.output_file_id is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"endpoint": "/v1/moderations"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 3600}},
            "output_expires_after",
        ),
        ({"input_file_id": 7}, "input_file_id"),
        ({"metadata": []}, "metadata"),
    ],
)
async def test_a_batch_of_what_is_not_done_is_refused_by_name(cloud, key, fields, param):
    file = await put(cloud.client(key.secret), [line("a", "m")])
    usual = {"input_file_id": file.id, "endpoint": "/v1/responses", "completion_window": "24h"}
    answer = await cloud.ask("POST", "/v1/batches", {**usual, **fields}, secret=key.secret)
    assert (answer.status, answer.error()["param"]) == (400, param)


async def test_a_cancelled_batch_gives_what_is_done_and_names_what_is_not(cloud, key):
    engine = await cloud.add_engine(delay_s=0.1)
    client = cloud.client(key.secret)
    batch = await start(client, [line(f"id-{n}", engine.models[0]) for n in range(40)])
    await cloud.until(lambda: engine.seen.requests >= 6, 20)
    with pytest.raises(openai.ConflictError):
        await client.files.delete(batch.input_file_id)
    batch = await client.batches.cancel(batch.id)
    assert batch.status in ("cancelling", "cancelled")
    batch = await finished(client, batch)
    assert (batch.status, batch.request_counts.total) == ("cancelled", 40)
    assert batch.cancelling_at <= batch.cancelled_at
    good = await read(client, batch.output_file_id)
    bad = await read(client, batch.error_file_id)
    assert len(good) == batch.request_counts.completed == engine.seen.requests
    assert len(good) + len(bad) == 40
    assert {told["error"]["code"] for told in bad.values()} == {"batch_cancelled"}
    assert {told["response"] for told in bad.values()} == {None}
    with pytest.raises(openai.ConflictError):
        await client.batches.cancel(batch.id)
    await client.files.delete(batch.input_file_id)


async def test_a_batch_whose_time_is_over_ends_with_what_is_done(cloud, key):
    engine = await cloud.add_engine(delay_s=0.1)
    client = cloud.client(key.secret)
    batch = await start(client, [line(f"id-{n}", engine.models[0]) for n in range(40)])
    await cloud.until(lambda: engine.seen.requests >= 2, 20)
    await cloud.cloud.batches.aclose()
    early = {"expires_us": now_us() + 700_000}
    await cloud.cloud.database.call(batch_queries.move, batch.id, ["in_progress"], early)
    cloud.cloud.batches = type(cloud.cloud.batches)(cloud.cloud.batches._tools)
    batch = await finished(client, batch)
    assert (batch.status, batch.request_counts.total) == ("expired", 40)
    assert batch.expired_at
    bad = await read(client, batch.error_file_id)
    assert {told["error"]["code"] for told in bad.values()} == {"batch_expired"}
    good = await read(client, batch.output_file_id)
    assert len(good) + len(bad) == 40
    await cloud.cloud.batches.aclose()
    cloud.cloud.batches = type(cloud.cloud.batches)(cloud.cloud.batches._tools)


async def test_a_batch_waits_while_others_do_and_leaves_them_a_place(start_cloud):
    cloud = await start_cloud(slots=1, batch_at_once=8)
    made = await cloud.make_key()
    engine = await cloud.add_engine(delay_s=0.02, words=["w"] * 5)
    client = cloud.client(made.secret)
    target = cloud.cloud.targets.find(engine.models[0])[0]
    target.gate.inside_max = 3
    batch = await start(client, [line(f"id-{n}", engine.models[0]) for n in range(30)])
    await cloud.until(lambda: engine.seen.running > 0, 20)
    most = 0
    for _ in range(30):
        most = max(most, engine.seen.running)
        await asyncio.sleep(0.01)
    assert most == 2, "one of three places is left for whoever comes"
    busy = [asyncio.create_task(cloud.chat(made.secret, engine.models[0])) for _ in range(12)]
    await cloud.until(lambda: target.gate.waiting > 0, 20)
    before = engine.seen.requests
    assert [answer.status for answer in await asyncio.gather(*busy)] == [200] * 12
    assert engine.seen.requests - before <= 12 + 2, "no line went before those who waited"
    assert (await finished(client, batch)).request_counts.completed == 30


async def test_a_line_is_held_to_the_keys_budget_and_its_rates(cloud):
    engine = await cloud.add_engine(words=["a", "b", "c"])
    poor = await cloud.make_key(budget_nano=half(2, 3) + 1)
    client = cloud.client(poor.secret)
    batch = await finished(client, await start(client, [line("x", engine.models[0], **long())]))
    assert batch.request_counts.failed == 1
    told = (await read(client, batch.error_file_id))["x"]["response"]
    assert (told["status_code"], told["body"]["error"]["code"]) == (429, "insufficient_quota")

    slow = await cloud.make_key(requests_per_minute=60)
    client = cloud.client(slow.secret)
    texts = [line(f"id-{number}", engine.models[0]) for number in range(62)]
    batch = await finished(client, await start(client, texts), within_s=30)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (62, 0)


def long():
    return {"messages": [{"role": "user", "content": "x"}], "max_tokens": 10_000}


async def test_the_lines_of_a_revoked_key_are_refused(cloud):
    engine = await cloud.add_engine(delay_s=0.1)
    made = await cloud.make_key()
    batch = await start(
        cloud.client(made.secret), [line(f"id-{n}", engine.models[0]) for n in range(20)]
    )
    await cloud.until(lambda: engine.seen.requests > 0, 20)
    await cloud.cloud.database.call(
        lambda connection: keys.revoke(connection, made.key.id, actor="test")
    )

    async def has_ended():
        row = await cloud.cloud.database.ask(batch_queries.of_id, batch.id)
        return row.state == "completed"

    await cloud.until(has_ended, 20)
    row = await cloud.cloud.database.ask(batch_queries.of_id, batch.id)
    assert row.completed + row.failed == 20
    assert row.failed > 0


async def test_an_engine_that_fails_for_a_while_costs_no_line(cloud, key):
    engine = await cloud.add_engine(status=503, retry_after_s=1)
    client = cloud.client(key.secret)
    batch = await start(client, [line(f"id-{n}", engine.models[0]) for n in range(6)])
    await cloud.until(lambda: engine.seen.requests >= 2, 20)
    engine.faults = type(engine.faults)()
    batch = await finished(client, batch)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (6, 0)


@pytest.mark.parametrize("at", range(4))
@pytest.mark.timeout(180)
async def test_kills_lose_no_line_and_bill_none_twice(process, at):
    words = [f"w{number}" for number in range(12)]
    async with FakeEngine(words=words, delay_s=0.004) as engine:
        made = process.prepare(engine.url, engine.models)
        await process.start()
        texts = [
            line(f"id-{n}", "echo", messages=[{"role": "user", "content": "a b"}], user=f"id-{n}")
            for n in range(120)
        ]
        client = openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{process.port}/v1", api_key=made.secret, max_retries=0
        )
        batch = await start(client, texts)
        await client.close()
        dice = random.Random(100 + at)
        for _ in range(4):
            await asyncio.sleep(dice.uniform(0.1, 0.9))
            await process.end(signal.SIGKILL)
            await process.start()
        async with openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{process.port}/v1", api_key=made.secret, max_retries=0
        ) as client:
            batch = await finished(client, batch, within_s=30)
            told = await read(client, batch.output_file_id)
        await process.end(signal.SIGTERM)
    assert (batch.status, batch.request_counts.completed) == ("completed", 120)
    assert len(told) == 120
    rows = process.rows()
    done = {row["id"]: row for row in rows if row["state"] == "done"}
    assert {one["response"]["request_id"] for one in told.values()} == done.keys()
    assert Counter(row["end_user"] for row in done.values()) == {f"id-{n}": 1 for n in range(120)}
    assert {row["cost_nano"] for row in done.values()} == {half(2, 12)}
    others = [row for row in rows if row["state"] != "done"]
    assert others, "no kill hit a running line"
    assert engine.seen.requests >= 120 + len({row["id"] for row in others} - done.keys()) / 2
    assert {row["cost_nano"] for row in others} <= {0}, "what was cut off costs nothing"
    with Flights(process.home / "flights", 512) as flights:
        assert flights.in_flight == 0
