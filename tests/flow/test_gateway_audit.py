"""Every act of administration over HTTP leaves its row: a walk over all addresses.

An address that is in none of the tables below fails, as does one that acts without a row, and one
that only reads and leaves one. The commands have the same walk in unit/cli/test_audit_commands.py.
"""

from __future__ import annotations

import json

import pytest
import pytest_asyncio
from sqlalchemy import insert

from haneul.base.units import now_us
from haneul.services.sessions import COOKIE
from haneul.store import audit, schema
from haneul.store.database import open_database
from haneul.testing.hub import FakeHub

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUDIT = "/haneul/v1/audit"
# Acts that users do on their own things, or that ask models: the ledger has those.
OWN = {
    *(("POST", f"/v1/{name}") for name in ("files", "batches", "batches/")),
    *(("POST", f"/api/{name}") for name in ("chat", "generate", "embed", "embeddings", "show")),
    *(("DELETE", f"/v1/{name}") for name in ("files/", "responses/")),
    ("POST", "/v1/messages/count_tokens"),
    ("POST", "/mcp"),
    ("POST", "/haneul/v1/plan/serve"),
}
ASKING = ("/v1/audio/", "/v1/images/")  # what is below these asks models
REFUSED = {("POST", "/api/create"), ("POST", "/api/push"), ("POST", "/api/blobs/")}
HUB = {  # a commit leaves a row, which the tests of the hub look at; the others only bring files
    *(("POST", f"/hub/{name}") for name in ("", "api/models/", "api/repos/create")),
    ("POST", "/hub/api/validate-yaml"),
    ("PUT", "/hub/lfs/"),
}
ACTS = {  # and the action each leaves
    ("POST", "/haneul/v1/keys"): "key.create",
    ("DELETE", "/haneul/v1/keys/"): "key.revoke",
    ("POST", "/haneul/v1/models/start"): "model.start",
    ("POST", "/haneul/v1/models/stop"): "model.stop",
    ("POST", "/haneul/v1/session"): "session.open",
    ("DELETE", "/haneul/v1/session"): "session.close",
    ("POST", "/api/pull"): "model.pull",
    ("POST", "/api/copy"): "model.copy",
    ("DELETE", "/api/delete"): "model.remove",
}


async def acts(cloud, **asked):
    """What the audit holds, newest first."""
    return await cloud.cloud.database.ask(lambda connection: audit.find(connection, **asked))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def operator(cloud):
    return await cloud.make_key(scopes=("infer", "usage", "billing", "manage", "admin"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(cloud, tiny_model):
    return await cloud.cloud.serve(str(tiny_model))


async def test_every_address_that_changes_something_is_in_one_of_the_tables(cloud):
    addresses = {
        (method, path)
        for path, methods in cloud.cloud.api.routes().items()
        for method in methods
        if method not in ("GET", "HEAD") and not path.startswith(ASKING)
    }
    unknown = sorted(addresses - OWN - REFUSED - HUB - set(ACTS))
    assert not unknown, f"does it act? then it leaves a row: {unknown}"


async def test_every_act_over_http_leaves_its_row_with_its_request(
    cloud, operator, served, tiny_model, tmp_path, monkeypatch
):
    page = {"x-haneul-page": "1"}
    seen = {}

    async def act(method, path, body=None, **headers):
        before = len(await acts(cloud, limit=1000))
        secret = "" if "cookie" in headers else operator.secret
        answer = await cloud.ask(method, path, body, secret=secret, **headers)
        assert answer.status == 200, (path, answer.data)
        new = (await acts(cloud, limit=1000))[: len(await acts(cloud, limit=1000)) - before]
        row, *others = new
        assert [other.action for other in others] in ([], ["revision.add"]), (method, path, new)
        assert {other.request_id for other in others} <= {row.request_id}
        assert row.actor == f"key {operator.key.id}"
        is_page = "x-haneul-page" in headers
        assert row.origin == ("page at 127.0.0.1" if is_page else "127.0.0.1")
        assert row.request_id == answer.id
        below = path if (method, path) in ACTS else path.rpartition("/")[0] + "/"
        seen[method, below] = row.action
        return answer, row

    made, row = await act("POST", "/haneul/v1/keys", {"name": "made"})
    assert json.loads(row.after)["name"] == "made"
    assert made.json()["key"] not in repr(row)
    await act("DELETE", f"/haneul/v1/keys/{made.json()['id']}")
    await act("POST", "/haneul/v1/models/stop", {"model": served.model})
    await act("POST", "/haneul/v1/models/start", {"model": served.model})
    opened, _ = await act("POST", "/haneul/v1/session", {"key": operator.secret}, **page)
    cookie = opened.headers["set-cookie"].partition(";")[0]
    assert cookie.startswith(COOKIE)
    await act("DELETE", "/haneul/v1/session", cookie=cookie, **page)
    repository = tmp_path / "hub" / "models" / "org" / "small"
    repository.mkdir(parents=True)
    (repository / "small.gguf").write_bytes(tiny_model.read_bytes() + b"\0" * 64)
    async with FakeHub(tmp_path / "hub") as hub:
        for name, value in hub.environ.items():
            monkeypatch.setenv(name, value)
        name = "hf:org/small:small.gguf"
        _, row = await act("POST", "/api/pull", {"model": name, "stream": False})
        assert json.loads(row.after)["digest"] == row.detail
        await act("POST", "/api/copy", {"source": name, "destination": "mine:latest"})
        await act("DELETE", "/api/delete", {"model": "mine:latest"})
    assert seen == ACTS


async def test_what_is_refused_and_what_only_reads_leaves_no_row(cloud, key, operator):
    before = await acts(cloud, limit=1000)
    for path, methods in cloud.cloud.api.routes().items():
        for method in methods:
            for secret in (key.secret, "") if method != "GET" else (operator.secret,):
                await cloud.ask(method, path, b"{}" if method == "POST" else None, secret=secret)
    assert await acts(cloud, limit=1000) == before


async def test_the_address_of_the_audit_is_for_operators_and_filters(cloud, key, operator):
    assert (await cloud.ask("GET", AUDIT, secret=key.secret)).status == 403
    assert (await cloud.ask("GET", AUDIT)).status == 401
    made = (
        await cloud.ask("POST", "/haneul/v1/keys", {"name": "k"}, secret=operator.secret)
    ).json()
    await cloud.ask("DELETE", f"/haneul/v1/keys/{made['id']}", secret=operator.secret)

    async def ask(query):
        answer = await cloud.ask("GET", f"{AUDIT}?{query}", secret=operator.secret)
        assert answer.status == 200, answer.data
        return answer.json()["acts"]

    both = await ask(f"subject={made['id']}")
    assert [act["action"] for act in both] == ["key.revoke", "key.create"]
    assert both[0]["before"]["name"] == "k"
    assert both[1]["after"]["scopes"] == '["infer","usage"]'
    assert await ask(f"subject={made['id']}&before_us={both[0]['at_us']}") == both[1:]
    assert await ask(f"subject={made['id']}&action=key.create&days=1") == both[1:]
    assert await ask(f"subject={made['id']}&limit=1") == both[:1]
    assert await ask("request_id=req_none") == []
    for query in ("limit=0", "limit=1001", "days=x", "days=-1", "what=1", "actor=" + "a" * 300):
        answer = await cloud.ask("GET", f"{AUDIT}?{query}", secret=operator.secret)
        assert (answer.status, answer.error()["param"]) == (400, query.partition("=")[0])


async def test_what_a_proxy_says_of_its_client_is_noted_as_said(cloud, operator):
    headers = {"x-forwarded-for": "203.0.113.7"}
    await cloud.ask("POST", "/haneul/v1/keys", {"name": "f"}, secret=operator.secret, **headers)
    assert (await acts(cloud, limit=1))[0].origin == "127.0.0.1, says for 203.0.113.7"


async def test_acts_go_when_their_days_are_over(start_cloud, short_folder):
    long_ago = now_us() - 100 * 86_400_000_000
    row = {"id": "aud_old", "at_us": long_ago, "actor": "a", "action": "b", "subject": "c"}
    opened = open_database("", short_folder)
    opened.run(lambda connection: connection.execute(insert(schema.audit), [row]))
    opened.close()
    cloud = await start_cloud(home=short_folder, audit_days=99)

    async def is_gone():
        return [each.action for each in await acts(cloud)] == ["audit.forget"]

    await cloud.until(is_gone, 5, "the old act is forgotten")
