"""Every address of the server, against every kind of key, as its description says."""

from __future__ import annotations

import json
import re

import pytest

from haneul.console.pages import read_pages
from haneul.openapi.addresses import OPERATIONS
from haneul.openapi.operation import ANY, OPEN
from haneul.services import tenants
from haneul.services.roles import SCOPES
from haneul.store import engines
from haneul.store.engines import EngineRow
from haneul.testing.raw import RawEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAYS = [{"role": "user", "content": "two words"}]
# What answers are generated at: metered, and a body for it.
GENERATING = {
    "/v1/chat/completions": {"messages": SAYS},
    "/v1/completions": {"prompt": "two words"},
    "/v1/embeddings": {"input": "two words"},
    "/v1/rerank": {"query": "q", "documents": ["a", "b"]},
    "/v2/rerank": {"query": "q", "documents": ["a", "b"]},
    "/rerank": {"query": "q", "texts": ["a", "b"]},
    "/v1/messages": {"messages": SAYS, "max_tokens": 9},
    "/v1/responses": {"input": "two words"},
    "/api/chat": {"messages": SAYS, "stream": False},
    "/api/generate": {"prompt": "two words", "stream": False},
    "/api/embed": {"input": "two words"},
    "/api/embeddings": {"prompt": "two words"},
}
# All others: the scope that their description says. An address ending in "/" takes all below it.
OTHERS = {
    (each.method, each.address.partition("{")[0]): each.scope
    for each in OPERATIONS
    if each.address not in GENERATING
}


def served(cloud):
    """Every method and address there is, but the page's own files."""
    found = {
        (method, path) for path, methods in cloud.cloud.api.routes().items() for method in methods
    }
    pages = {("GET", path) for path in read_pages()}
    return (found - pages) | {("POST", path) for path in cloud.cloud.dialects.at}


def needed(method, path):
    return "infer" if path in GENERATING else OTHERS[method, path]


async def status(cloud, method, path, secret=""):
    """Of an empty request: 400, 404 and 405 are answers to somebody who was let in."""
    below = "none" if path.endswith("/") else ""
    body = None if method == "GET" else {}
    answer = await cloud.ask(method, path + below, body, secret=secret, **{"x-haneul-page": "1"})
    assert answer.status < 500 or path in ("/readyz", "/api/create", "/api/push"), answer.data
    return answer.status


async def test_every_address_is_metered_or_listed_with_the_scope_it_needs(cloud):
    listed = OTHERS.keys() | {("POST", path) for path in GENERATING}
    assert served(cloud) == listed, "an address without description, or the other way round"


async def test_every_address_refuses_those_it_is_not_for(cloud):
    """Nobody, a stranger's key, one with every scope but the needed, one with only that."""
    unknown = "sk-hn-" + "0" * 57
    with_only = {scope: (await cloud.make_key(scopes=(scope,))).secret for scope in SCOPES}
    without = {
        scope: (await cloud.make_key(scopes=tuple(SCOPES.keys() - {scope}))).secret
        for scope in SCOPES
    }
    for method, path in sorted(served(cloud)):
        scope = needed(method, path)
        where = f"{method} {path}"
        nobody = await status(cloud, method, path)
        if scope == OPEN:
            assert nobody not in (401, 403), where
            continue
        assert nobody == 401, where
        assert await status(cloud, method, path, unknown) == 401, where
        if scope == ANY:
            for secret in with_only.values():
                assert await status(cloud, method, path, secret) not in (401, 403), where
            continue
        assert await status(cloud, method, path, without[scope]) == 403, where
        assert await status(cloud, method, path, with_only[scope]) not in (401, 403), where


@pytest.mark.parametrize("path", GENERATING)
async def test_what_is_generated_is_metered_once(cloud, key, path):
    engine = await cloud.add_engine()
    body = {"model": engine.models[0], **GENERATING[path]}
    answer = await cloud.ask("POST", path, body, secret=key.secret)
    (row,) = await cloud.rows(key.key.id)
    assert (row.id, row.key_id, row.status) == (answer.id, key.key.id, answer.status)
    assert path == "/rerank" or engine.seen.requests == 1, "the one that names no model has another"
    if "rerank" not in path:  # the fake engine knows nothing of it
        assert (row.state, row.prompt_tokens) == ("done", 2)
        assert row.cost_nano > 0


async def test_another_tenants_key_finds_nothing_of_this_one(cloud):
    tenant = await cloud.cloud.database.call(
        lambda connection: tenants.create(connection, "others", "", actor="test")
    )
    everything = tuple(SCOPES.keys() - {"admin"})
    mine = await cloud.make_key(scopes=everything)
    other = await cloud.make_key(scopes=everything, tenant_id=tenant.id)
    engine = await cloud.add_engine()
    chat = await cloud.chat(mine.secret, engine.models[0])
    kept = await cloud.ask(
        "POST", "/v1/responses", {"model": engine.models[0], "input": "x"}, secret=mine.secret
    )
    await cloud.settle()
    paths = [
        ("GET", f"/haneul/v1/requests/{chat.id}"),
        ("GET", f"/v1/responses/{kept.json()['id']}"),
        ("DELETE", f"/v1/responses/{kept.json()['id']}"),
        ("DELETE", f"/haneul/v1/keys/{mine.key.id}"),
    ]
    for method, path in paths:
        answer = await cloud.ask(method, path, secret=other.secret)
        assert answer.status == 404, (method, path, answer.data)
    for path in ("/haneul/v1/usage", "/haneul/v1/keys", "/v1/files", "/v1/batches"):
        answer = await cloud.ask("GET", path, secret=other.secret)
        assert answer.status == 200
        assert mine.key.id.encode() not in answer.data
        assert chat.id.encode() not in answer.data
    for method, path in paths[:2]:
        assert (await cloud.ask(method, path, secret=mine.secret)).status == 200


@pytest.mark.parametrize("code", [400, 401, 429, 500, 200])
async def test_what_an_engine_repeats_of_our_key_or_of_a_prompt_reaches_nobody_else(
    start_cloud, tmp_path, log, code
):
    """The engine echoes its authorization; no log line, error, metric or audit row has it."""
    provider_key, prompt = "pk-canary-0123456789", "canary-of-a-prompt"

    async def play(exchange):
        sent = exchange.head.partition(b"authorization: ")[2].partition(b"\r\n")[0].decode()
        assert provider_key in sent
        error = {"message": f"no good: {sent} {prompt}", "code": sent, "param": sent}
        exchange.whole(json.dumps({"error": error}).encode(), code)

    (tmp_path / "key").write_text(provider_key)
    cloud = await start_cloud()
    key = await cloud.make_key()
    async with RawEngine(play) as engine:
        row = EngineRow(
            name="echoes",
            url=engine.url,
            key_file=str(tmp_path / "key"),
            models='["echoing"]',
            created_us=1,
        )
        await cloud.cloud.database.call(engines.put, row)
        await cloud.cloud.roster.refresh()
        answers = [await cloud.chat(key.secret, "echoing", prompt, stream=s) for s in (True, False)]
        assert len(engine.exchanges) == 2
        answers.append(await cloud.ask("GET", "/metrics"))
        answers.append(await cloud.ask("GET", "/haneul/v1/usage", secret=key.secret))
    rows = await cloud.rows(key.key.id)
    assert len(rows) == 2

    def dump(connection):
        tables = ("audit", "request", "engine")
        return [str(connection.exec_driver_sql(f"SELECT * FROM {t}").fetchall()) for t in tables]

    audit, requests, engine_rows = await cloud.cloud.database.ask(dump)
    for answer in answers:
        assert provider_key not in answer.data.decode() + repr(dict(answer.headers))
    for text in (*log.lines, audit, requests, engine_rows):
        assert provider_key not in text
        assert prompt not in text
        assert key.secret not in text


@pytest.mark.parametrize("address", sorted({each.address for each in OPERATIONS}))
async def test_a_method_that_an_address_does_not_take_is_405_with_those_it_takes(
    cloud, key, address
):
    taken = {each.method for each in OPERATIONS if each.address == address}
    path = re.sub(r"{\w+}", "x", address)
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - taken:
        answer = await cloud.ask(method, path, secret=key.secret)
        assert answer.status == 405, (method, path, answer.data)
        allowed = set(answer.headers["allow"].split(", "))
        assert allowed == taken | ({"HEAD"} if "GET" in taken else set()), path
