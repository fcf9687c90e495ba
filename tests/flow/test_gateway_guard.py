"""Guards in the gateway: no engine sees what is personal, the client sees it all."""

from __future__ import annotations

import asyncio

import msgspec
import openai
import pytest
import pytest_asyncio

from haneul.services.rules import MODEL, TENANT, decide
from haneul.services.tenants import create
from haneul.store.database import open_database

pytestmark = pytest.mark.asyncio(loop_scope="module")

MASKED = "x-haneul-masked"
TEXT = "I am bob@x.io, call 010-1234-5678."


async def rule(cloud, kind, owner, value, name="guard"):
    await cloud.cloud.database.call(
        lambda connection: decide(connection, kind, owner, name, value, actor="test")
    )
    await cloud.cloud.rules.refresh()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(cloud):
    """A key of a tenant whose personal data is masked."""
    await cloud.cloud.database.call(lambda connection: create(connection, "careful", "", actor="t"))
    await rule(cloud, TENANT, "careful", "mask")
    return await cloud.make_key(tenant_id="careful")


async def test_an_engine_sees_placeholders_and_the_client_what_they_stand_for(cloud, guarded):
    fake = await cloud.add_engine(words=["Mail", "[EMAIL_1],", "[PHONE_1]", "[EMAIL_7]"])
    answer = await cloud.chat(guarded.secret, fake.models[0], TEXT, user="bob@x.io")
    content = answer.json()["choices"][0]["message"]["content"]
    assert content == "Mail bob@x.io, 010-1234-5678 [EMAIL_7] "
    assert answer.headers[MASKED] == "2"
    sent = fake.seen.bodies[-1]
    assert sent["messages"][0]["content"] == "I am [EMAIL_1], call [PHONE_1]."
    assert sent["user"] == "[EMAIL_1]"
    row = await cloud.row(answer.id)
    assert (row.masked, row.end_user) == (2, "bob@x.io")
    nothing = await cloud.chat(guarded.secret, fake.models[0], "hello")
    assert nothing.headers[MASKED] == "0"
    assert (await cloud.row(nothing.id)).masked == 0


async def test_a_stream_keeps_its_order_and_holds_back_no_more_than_a_placeholder(cloud, guarded):
    words = ["Ask", "[EMA", "IL", "_1", "] or", "[0]", "then", "[PHO"]
    pieces = [
        b"data: "
        + msgspec.json.encode({"id": "c", "choices": [{"index": 0, "delta": {"content": word}}]})
        + b"\n\n"
        for word in words
    ]
    end = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    pieces += [b"data: " + msgspec.json.encode(end) + b"\n\n", b"data: [DONE]\n\n"]
    fake = await cloud.add_engine(pieces=tuple(pieces))
    stream = await cloud.client(guarded.secret).chat.completions.create(
        model=fake.models[0], messages=[{"role": "user", "content": TEXT}], stream=True
    )
    said = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert said == ["Ask", "", "", "", "bob@x.io or", "[0]", "then", "", "[PHO"]


async def test_every_protocol_is_guarded(cloud, guarded):
    fake = await cloud.add_engine(words=["To", "[EMAIL_1]"])
    asked = {
        "/v1/messages": {"max_tokens": 9, "messages": [{"role": "user", "content": TEXT}]},
        "/api/chat": {"messages": [{"role": "user", "content": TEXT}]},
        "/api/generate": {"prompt": TEXT},
        "/v1/responses": {"input": TEXT, "store": False},
        "/v1/completions": {"prompt": TEXT, "stream": True},
    }
    for path, body in asked.items():
        answer = await cloud.ask(
            "POST", path, {"model": fake.models[0], **body}, secret=guarded.secret
        )
        assert answer.status == 200, answer.data
        assert answer.headers[MASKED] == "2"
        assert b"bob@x.io" in answer.data
        assert b"bob@x.io" not in fake.seen.raw[-1]
        assert b"010-1234-5678" not in fake.seen.raw[-1]


async def test_a_models_guard_holds_whoever_asks_and_refusing_is_the_stricter(cloud, key, guarded):
    fake = await cloud.add_engine()
    await rule(cloud, MODEL, fake.models[0], "refuse")
    for one in (key, guarded):
        answer = await cloud.chat(one.secret, fake.models[0], TEXT)
        assert (answer.status, answer.error()["code"]) == (400, "personal_data")
        assert "1 EMAIL, 1 PHONE" in answer.error()["message"]
        assert "bob" not in answer.error()["message"]
        row = (await cloud.rows(one.key.id))[-1]
        assert (row.state, row.error_code) == ("refused", "personal_data")
    assert fake.seen.requests == 0
    assert (await cloud.chat(key.secret, fake.models[0], "hello")).status == 200
    other = await cloud.add_engine()
    assert MASKED not in (await cloud.chat(key.secret, other.models[0], TEXT)).headers


async def test_a_models_guard_holds_under_each_of_its_names(cloud, key):
    fake = await cloud.add_engine(name="named", models=("plain",))
    await rule(cloud, MODEL, "plain", "refuse")
    try:
        for name in ("plain", "named/plain"):
            assert (await cloud.chat(key.secret, name, TEXT)).status == 400, name
    finally:
        await rule(cloud, MODEL, "plain", "none")
    assert fake.seen.requests == 0


async def test_what_differs_only_in_what_is_masked_shares_a_kept_answer(cloud, guarded):
    fake = await cloud.add_engine(words=["For", "[EMAIL_1]"])
    await rule(cloud, TENANT, "careful", "deterministic", name="cache")
    try:
        answers = [
            await cloud.chat(guarded.secret, fake.models[0], f"I am {who}@x.io", temperature=0)
            for who in ("ann", "bob")
        ]
    finally:
        await rule(cloud, TENANT, "careful", "none", name="cache")
    said = [answer.json()["choices"][0]["message"]["content"] for answer in answers]
    assert said == ["For ann@x.io ", "For bob@x.io "]
    assert [answer.headers["x-haneul-cache"] for answer in answers] == ["miss", "hit"]
    assert fake.seen.requests == 1


async def test_a_long_prompt_is_looked_through_without_holding_up_others(cloud, guarded, key):
    fake = await cloud.add_engine()
    long = asyncio.create_task(
        cloud.chat(guarded.secret, fake.models[0], f"{'words and 1234 ' * 20_000}{TEXT}")
    )
    short = await cloud.chat(key.secret, fake.models[0])
    assert short.status == 200
    assert (await long).headers[MASKED] == "2"
    assert b"bob@x.io" not in fake.seen.raw[-1] + fake.seen.raw[0]


async def test_what_is_nested_too_deep_to_be_looked_through_is_refused(cloud, guarded):
    fake = await cloud.add_engine()
    deep = b"[" * 900 + b'"bob@x.io"' + b"]" * 900
    body = b'{"model": "%b", "messages": [{"role": "user", "content": "x"}], "x": %b}'
    answer = await cloud.ask(
        "POST",
        "/v1/chat/completions",
        body % (fake.models[0].encode(), deep),
        secret=guarded.secret,
    )
    assert (answer.status, answer.error()["code"]) == (400, "unsupported_value")
    assert fake.seen.requests == 0


async def test_kinds_are_counted_for_prometheus_and_nothing_else_is_said(cloud, guarded):
    fake = await cloud.add_engine()
    before = await count(cloud)
    await cloud.chat(guarded.secret, fake.models[0], TEXT)
    assert await count(cloud) == before + 1
    page = (await cloud.ask("GET", "/metrics")).data
    assert b"bob" not in page
    assert b'haneul_masked_total{kind="PHONE"}' in page


async def count(cloud):
    page = (await cloud.ask("GET", "/metrics")).data.decode()
    lines = [
        line for line in page.splitlines() if line.startswith('haneul_masked_total{kind="EMAIL')
    ]
    return float(lines[0].split()[-1]) if lines else 0.0


@pytest.mark.slow
async def test_without_the_extra_guarded_requests_are_refused_and_none_is_passed(
    process, cloud, tmp_path
):
    shim = tmp_path / "phonenumbers.py"
    shim.write_text("raise ImportError")  # as where it is not installed
    fake = await cloud.add_engine()
    made = process.prepare(fake.url, fake.models)
    database = open_database("", process.home)
    database.run(lambda c: decide(c, TENANT, "default", "guard", "mask", actor="test"))
    database.close()
    await process.start(PYTHONPATH=str(tmp_path))
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{process.port}/v1", api_key=made.secret, max_retries=0
    ) as client:
        with pytest.raises(openai.InternalServerError) as refused:
            await client.chat.completions.create(
                model=fake.models[0], messages=[{"role": "user", "content": "hello"}]
            )
    assert (refused.value.status_code, refused.value.code) == (503, "guard_unavailable")
    assert "haneul[guard]" in refused.value.message
    assert fake.seen.requests == 0
