"""Several processes that answer on one port and share their limits: the real processes."""

from __future__ import annotations

import asyncio
import io
import os
import random
import signal
import time
from contextlib import closing

import msgspec
import pytest
import pytest_asyncio
from crowd import PROMPT, PROMPT_MAX, RATES, WORKERS, crowd_at, is_gone, requests_in

from haneul.services.budgets import set_limit
from haneul.services.prices import worst_nano
from haneul.store.audit import Actor
from haneul.testing.engine import FakeEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine():
    async with FakeEngine() as fake:
        yield fake


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowd(lasting_process, engine):
    """One cloud for all tests; keys of their own keep them apart."""
    async with crowd_at(lasting_process) as found:
        found.prepare(engine)
        await found.start()
        yield found


async def test_a_budget_is_never_overshot_and_all_of_it_can_be_used(crowd, engine):
    worst = worst_nano(RATES, prompt_max=PROMPT_MAX, completion_max=4)
    made = crowd.make_key(budget_nano=10 * worst)
    begun = engine.seen.requests
    while (await crowd.me(made.secret))["spent_nano"] + worst <= 10 * worst:
        answers = await asyncio.gather(*(crowd.chat(made.secret, max_tokens=4) for _ in range(30)))
        assert {status for status, _ in answers} <= {200, 429}
    statuses = [(await crowd.chat(made.secret, max_tokens=4))[0] for _ in range(12)]
    assert set(statuses) == {429}
    me, rows = await crowd.me(made.secret), await crowd.rows(made)
    cost = sum(row.cost_nano for row in rows)
    assert (me["spent_nano"], me["reserved_nano"]) == (cost, 0)
    assert 9 * worst < cost <= 10 * worst
    assert engine.seen.requests - begun == sum(row.state == "done" for row in rows)
    assert min(await crowd.counted()) > 0, "every worker took some"


async def test_requests_per_minute_are_right_within_one_percent(crowd, engine):
    made = crowd.make_key(requests_per_minute=600)
    begun = engine.seen.requests
    statuses, began = [], time.monotonic()

    async def ask():
        while len(statuses) < 1000:
            status, _ = await crowd.chat(made.secret, max_tokens=1)
            statuses.append(status)

    await asyncio.gather(*(ask() for _ in range(24)))
    most = 600 * (1 + (time.monotonic() - began) / 60)
    assert set(statuses) == {200, 429}
    assert most * 0.99 - 10 <= statuses.count(200) <= most * 1.01 + 1
    assert engine.seen.requests - begun == statuses.count(200)
    assert min(await crowd.counted()) > 100


async def test_tokens_per_minute_are_right_within_one_percent(crowd, engine):
    made = crowd.make_key(tokens_per_minute=6000)
    begun = engine.seen.requests
    began, each = time.monotonic(), 2 + 4  # of the prompt, of the answer
    is_over = False

    async def ask():
        nonlocal is_over
        while not is_over:
            status, _ = await crowd.chat(made.secret, max_tokens=4)
            is_over = is_over or time.monotonic() - began > 2.5
            refused.append(status == 429)

    refused = []
    await asyncio.gather(*(ask() for _ in range(24)))
    most = 6000 * (1 + (time.monotonic() - began) / 60)
    used = sum(row.prompt_tokens + row.completion_tokens for row in await crowd.rows(made))
    assert used == each * (engine.seen.requests - begun)
    reserved = PROMPT_MAX // 4 + 4  # more than is used: so much can be left over at the end
    assert most * 0.99 - 24 * reserved <= used <= most * 1.01
    assert sum(refused) > 100


async def test_so_many_run_at_once_and_no_more(crowd):
    async with FakeEngine(words=["w"] * 40, delay_s=0.02, models=("slow",)) as slow:
        made = crowd.make_key()
        with closing(crowd.store()) as store:
            store.run(
                lambda connection: set_limit(
                    connection,
                    tenant_id=made.key.tenant_id,
                    kind="key",
                    owner_id=made.key.id,
                    measure="concurrency",
                    period="",
                    amount=3,
                    actor=Actor("test"),
                )
            )
        await crowd.add(slow)
        for _ in range(2):
            answers = await asyncio.gather(
                *(crowd.chat(made.secret, model="slow") for _ in range(12))
            )
            assert [status for status, _ in answers].count(200) == 3
            assert [status for status, _ in answers].count(429) == 9
        assert slow.seen.requests == 6


async def test_places_at_an_engine_are_shared(crowd):
    async with FakeEngine(delay_s=0.005, models=("narrow",)) as narrow:
        made = crowd.make_key()
        await crowd.add(narrow, own_slots=2)
        chats = (crowd.chat(made.secret, model="narrow") for _ in range(40))
        tasks = [asyncio.create_task(chat) for chat in chats]
        most = 0
        while not all(task.done() for task in tasks):
            most = max(most, narrow.seen.running)
            await asyncio.sleep(0.002)
        assert {task.result()[0] for task in tasks} == {200}
        assert most == 2


async def test_every_address_works_whichever_worker_takes_it(crowd):
    made = crowd.make_key(scopes=("infer", "usage", "admin"))
    for _ in range(4 * WORKERS):
        answer, data = await crowd.get("/v1/models", made.secret)
        assert answer.status == 200
        assert b'"fake/echo"' in data
        assert len(answer.headers.getall("x-request-id")) == 1
        head, data = await crowd.get("/healthz", made.secret, "HEAD")
        assert (head.status, data) == (200, b"")
        lost, data = await crowd.get("/no/such?x=%20y", made.secret)
        assert lost.status == 404
        assert msgspec.json.decode(data)["error"]["code"] == "not_found"
        wrong, _ = await crowd.get("/haneul/v1/status", "sk-hn-no")
        assert wrong.status == 401
        _, data = await crowd.get("/haneul/v1/status", made.secret)
        assert len(msgspec.json.decode(data)["workers"]) == WORKERS - 1
        page, data = await crowd.get("/", made.secret)
        assert page.content_type == "text/html"
        assert int(page.headers["content-length"]) == len(data) > 1000


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_file_is_put_at_every_worker_and_comes_back_byte_for_byte(crowd, is_chunked):
    made, data = crowd.make_key(), random.Random(2).randbytes(3 << 20)
    address, head = f"{crowd.root}/v1/files", {"authorization": f"Bearer {made.secret}"}
    form = FORM_BEFORE + data + FORM_BEHIND
    kind = {"content-type": "multipart/form-data; boundary=b"}
    for _ in range(2 * WORKERS):
        sent = in_pieces(form) if is_chunked else io.BytesIO(form)
        async with crowd.web.post(address, data=sent, headers=head | kind) as answer:
            told = await answer.json()
            assert (answer.status, told["bytes"]) == (200, len(data))
        async with crowd.web.get(f"{address}/{told['id']}/content", headers=head) as answer:
            is_same = await answer.read() == data
            assert is_same
        async with crowd.web.delete(f"{address}/{told['id']}", headers=head) as answer:
            assert answer.status == 200


FORM_BEFORE = (
    b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
)
FORM_BEHIND = b"\r\n--b--\r\n"


async def in_pieces(data):
    for at in range(0, len(data), 100_000):
        yield data[at : at + 100_000]


async def test_an_upload_that_is_refused_is_told_so_whichever_worker_takes_it(crowd):
    made = crowd.make_key()
    large = b"x" * (900 << 10)
    for secret, kind, status in (
        (made.secret, "application/json", 400),
        (made.secret[:-1] + "!", "application/json", 401),
    ):
        head = {"authorization": f"Bearer {secret}", "content-type": kind}
        for _ in range(2 * WORKERS):
            async with crowd.web.post(f"{crowd.root}/v1/files", data=large, headers=head) as answer:
                assert answer.status == status


async def test_the_page_is_logged_in_at_every_worker(crowd):
    made = crowd.make_key()
    page = {"x-haneul-page": "1"}
    async with crowd.web.post(
        f"{crowd.root}/haneul/v1/session", json={"key": made.secret}, headers=page
    ) as answer:
        assert answer.status == 200
        cookie = answer.headers["set-cookie"].partition(";")[0]
    page["cookie"] = cookie
    body = {"model": "echo", "messages": PROMPT, "stream": True}
    for _ in range(3 * WORKERS):
        async with crowd.web.get(f"{crowd.root}/haneul/v1/me", headers=page) as answer:
            assert answer.status == 200
        async with crowd.web.post(
            f"{crowd.root}/v1/chat/completions", json=body, headers=page
        ) as answer:
            assert (await answer.text()).endswith("data: [DONE]\n\n")


async def test_a_request_sent_again_gets_its_answer_from_every_worker(crowd, engine):
    made = crowd.make_key()
    begun = engine.seen.requests
    body = {"model": "echo", "messages": PROMPT}
    found = set()
    for _ in range(3 * WORKERS):
        answer, data = await crowd.get(
            "/v1/chat/completions",
            made.secret,
            "POST",
            json=body,
            headers={"idempotency-key": "once"},
        )
        assert answer.status == 200
        found.add(data)
    assert len(found) == 1
    assert engine.seen.requests - begun == 1


async def test_metrics_are_the_sum_over_the_workers(crowd):
    made = crowd.make_key()

    async def counted():
        _, page = await crowd.get("/metrics", made.secret)
        return requests_in(page)

    before = await counted()
    answers = await asyncio.gather(*(crowd.chat(made.secret) for _ in range(60)))
    assert {status for status, _ in answers} == {200}
    assert 0 < sum(await crowd.counted()) <= before + 60
    assert await counted() == before + 60
    killed = (await crowd.workers())[0]["pid"]
    os.kill(killed, signal.SIGKILL)
    await crowd.process.until(lambda: is_gone(killed), 10, "it is gone")
    await crowd.all_up()
    assert await counted() == before + 60, "what a dead worker had told is kept"
