"""The hub over plain HTTP: what is there, files and their parts, who may, uploads, hang-ups."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import os
import random
from contextlib import suppress

import pytest
from hub_models import a_name, put_model

from haneul.base.units import now_us
from haneul.models import revisions as hub
from haneul.services import keys, tenants
from haneul.store import revisions, shelf
from haneul.store.revisions import AliasRow
from haneul.testing.gguf import gguf_bytes
from haneul.testing.safetensors import safetensors_bytes

pytestmark = pytest.mark.asyncio(loop_scope="module")
GGUF = gguf_bytes()
CARD = b"---\nlicense: mit\n---\n# A card\n"


@pytest.fixture
async def reader(cloud):
    return (await cloud.make_key(scopes=("pull",))).secret


@pytest.fixture
async def writer(cloud):
    return (await cloud.make_key(scopes=("pull", "push"))).secret


async def a_model(cloud, **files):
    """A model with a card, and the repository that it is."""
    name = a_name()
    files = {path.replace("__", "."): content for path, content in files.items()}
    made = await put_model(cloud, name, files or {"m.gguf": GGUF, "README.md": CARD})
    return f"haneul/{name}", made


async def ask(cloud, path, secret, **headers):
    return await cloud.ask("GET", f"/hub{path}", secret=secret, **headers)


async def test_a_repository_tells_its_commit_its_files_and_what_it_was_made_of(cloud, reader):
    repository, made = await a_model(cloud)
    answer = await ask(cloud, f"/api/models/{repository}?blobs=true", reader)
    told = answer.json()
    assert (told["id"], told["sha"]) == (repository, made.revision[:40])
    assert told["haneul"]["revision"] == made.revision
    files = {file["rfilename"]: file["lfs"]["sha256"] for file in told["siblings"]}
    assert files == {file.path: file.sha256 for file in made.files}
    for revision in ("main", "master", made.revision, made.revision[:40], made.revision[:9]):
        same = await ask(cloud, f"/api/models/{repository}/revision/{revision}", reader)
        assert same.json()["sha"] == told["sha"]
    few = await ask(cloud, f"/api/models/{repository}?expand=sha&expand[]=tags", reader)
    assert few.json().keys() == {"id", "_id", "sha", "tags"}


async def test_main_is_the_newest_that_stands_and_aliases_are_branches(cloud, reader):
    repository, first = await a_model(cloud)
    model = repository.removeprefix("haneul/")
    second = await put_model(cloud, model, {"m.gguf": GGUF + b"\0" * 32})
    third = await put_model(cloud, model, {"m.gguf": GGUF + b"\0" * 64})
    alias = AliasRow(
        id=a_name(),
        model=model,
        alias="prod",
        revision=first.revision,
        actor="test",
        created_us=now_us(),
    )
    await cloud.cloud.database.call(revisions.move, alias)
    await cloud.cloud.database.call(
        lambda connection: revisions.withdraw(connection, model, third.revision, 1, "wrong")
    )
    refs = (await ask(cloud, f"/api/models/{repository}/refs", reader)).json()
    named = {ref["name"]: ref["targetCommit"] for ref in refs["branches"]}
    assert named == {"main": second.revision[:40], "prod": first.revision[:40]}
    gone = await ask(cloud, f"/api/models/{repository}/revision/{third.revision}", reader)
    assert (gone.status, gone.headers["x-error-code"]) == (404, "RevisionNotFound")
    listed = await ask(cloud, f"/api/models/{repository}/commits/main", reader)
    assert [commit["id"] for commit in listed.json()] == [
        *(second.revision[:40], first.revision[:40])
    ]


async def test_a_tree_comes_in_pages_with_its_folders(cloud, reader):
    texts = {f"{number:02d}.txt": b"x" for number in range(7)}
    name = a_name()
    await put_model(cloud, name, {**texts, "m.gguf": GGUF, "1_Pooling/config.json": b"{}"})
    path = f"/api/models/haneul/{name}/tree/main?recursive=true&limit=4"
    found = []
    while path:
        answer = await ask(cloud, path, reader)
        found += [(entry["path"], entry["type"]) for entry in answer.json()]
        link = answer.headers.get("link")
        assert link is None or link.endswith('>; rel="next"')
        path = link.partition(">")[0].removeprefix(f"<{cloud.root}/hub") if link else ""
    assert found == sorted(found)
    assert ("1_Pooling", "directory") in found
    assert len(found) == 10
    flat = await ask(cloud, f"/api/models/haneul/{name}/tree/main", reader)
    assert "1_Pooling/config.json" not in {entry["path"] for entry in flat.json()}
    below = await ask(cloud, f"/api/models/haneul/{name}/tree/main/1_Pooling", reader)
    assert [entry["path"] for entry in below.json()] == ["1_Pooling/config.json"]


async def test_paths_are_told_as_json_and_as_a_form_and_missing_ones_are_left_out(cloud, reader):
    repository, _ = await a_model(cloud)
    path = f"/hub/api/models/{repository}/paths-info/main"
    answers = [
        await cloud.ask("POST", path, {"paths": ["README.md", "nothing"]}, secret=reader),
        await cloud.ask(
            "POST",
            path,
            b"paths=README.md&paths=nothing&expand=False",
            secret=reader,
            **{"content-type": "application/x-www-form-urlencoded"},
        ),
    ]
    for answer in answers:
        assert [entry["path"] for entry in answer.json()] == ["README.md"]


async def test_a_file_comes_whole_in_parts_and_not_at_all_where_it_is_known(cloud, reader):
    content = random.Random(5).randbytes(3_000_001)
    repository, made = await a_model(cloud, m__gguf=content)
    path = f"/{repository}/resolve/main/m.gguf"
    whole = await ask(cloud, path, reader)
    assert (whole.status, whole.data) == (200, content)
    sha256 = hashlib.sha256(content).hexdigest()
    assert whole.headers["etag"] == whole.headers["x-linked-etag"] == f'"{sha256}"'
    assert whole.headers["x-repo-commit"] == made.revision[:40]
    part = await ask(cloud, path, reader, range="bytes=2999990-")
    assert (part.status, part.data) == (206, content[2999990:])
    assert part.headers["content-range"] == "bytes 2999990-3000000/3000001"
    head = await cloud.ask("HEAD", f"/hub{path}", secret=reader)
    assert (head.status, head.data, head.headers["content-length"]) == (200, b"", "3000001")
    beyond = await ask(cloud, path, reader, range="bytes=3000001-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */3000001")
    known = await ask(cloud, path, reader, **{"if-none-match": whole.headers["etag"]})
    assert (known.status, known.data) == (304, b"")
    fixed = await ask(cloud, f"/{repository}/resolve/{made.revision[:40]}/m.gguf", reader)
    assert ("immutable" in fixed.headers["cache-control"], fixed.data) == (True, content)
    assert "immutable" not in whole.headers["cache-control"]


async def test_parts_put_together_are_the_file_wherever_it_is_cut(cloud, reader):
    content = random.Random(6).randbytes(100_003)
    repository, _ = await a_model(cloud, m__gguf=content)
    path = f"/{repository}/resolve/main/m.gguf"
    marks = sorted({0, *random.Random(7).sample(range(len(content)), 12), len(content)})
    parts = [
        (await ask(cloud, path, reader, range=f"bytes={first}-{last - 1}")).data
        for first, last in itertools.pairwise(marks)
    ]
    assert b"".join(parts) == content


async def test_an_empty_file_is_a_file(cloud, reader):
    repository, _ = await a_model(cloud, m__gguf=GGUF, added__txt=b"")
    answer = await ask(cloud, f"/{repository}/resolve/main/added.txt", reader)
    assert (answer.status, answer.data) == (200, b"")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/models/no/such", "RepoNotFound"),
        ("/no/such/resolve/main/x", "RepoNotFound"),
        ("/api/models/{repository}/revision/v9", "RevisionNotFound"),
        ("/{repository}/resolve/v9/m.gguf", "RevisionNotFound"),
        ("/{repository}/resolve/main/no.txt", "EntryNotFound"),
        ("/{repository}/resolve/main/../../../../haneul.db", "EntryNotFound"),
        ("/{repository}/resolve/main/..%2f..%2fpepper", "EntryNotFound"),
        ("/api/models/{repository}/tree/main/no", "EntryNotFound"),
    ],
)
async def test_what_is_missing_is_told_by_the_code_that_clients_know(cloud, reader, path, code):
    repository, _ = await a_model(cloud)
    line = f"GET /hub{path.format(repository=repository)} HTTP/1.1\r\n"
    head = f"{line}host: 127.0.0.1\r\nauthorization: Bearer {reader}\r\nconnection: close\r\n\r\n"
    reading, writing = await asyncio.open_connection("127.0.0.1", cloud.cloud.port)
    writing.write(head.encode())
    answer = await reading.read()
    writing.close()
    assert answer.startswith(b"HTTP/1.1 404"), answer[:200]
    assert f"x-error-code: {code}\r\n".encode() in answer


async def test_a_blob_that_was_removed_is_503_and_told_before_the_head(cloud, reader):
    repository, made = await a_model(cloud, m__gguf=os.urandom(64))
    home = cloud.cloud.config.home
    (home / "models" / "blobs" / f"sha256-{made.files[0].sha256}").unlink()
    answer = await ask(cloud, f"/{repository}/resolve/main/m.gguf", reader)
    assert (answer.status, answer.json()["code"]) == (503, "service_unavailable")


# who may
async def test_a_key_for_some_models_finds_no_others(cloud):
    mine, _ = await a_model(cloud)
    other, _ = await a_model(cloud)
    name = mine.removeprefix("haneul/")
    key = await cloud.make_key(scopes=("pull", "push"), models=(name,))
    listed = (await ask(cloud, "/api/models", key.secret)).json()
    assert [one["id"] for one in listed] == [mine]
    assert (await ask(cloud, f"/api/models/{mine}", key.secret)).status == 200
    assert (await ask(cloud, f"/{other}/resolve/main/m.gguf", key.secret)).status == 404
    put = f"/hub/api/models/{other}/preupload/main"
    refused = await cloud.ask("POST", put, {"files": []}, secret=key.secret)
    assert (refused.status, refused.json()["code"]) == (403, "permission_denied")


async def test_a_wrong_key_is_told_in_the_words_that_clients_know(cloud):
    repository, _ = await a_model(cloud)
    answer = await ask(cloud, f"/api/models/{repository}", "hf_wrong")
    assert answer.status == 401
    assert answer.headers["x-error-message"] == "Invalid credentials in Authorization header"


async def test_a_key_of_a_tenant_may_pull_but_never_push(cloud):
    tenant = await cloud.cloud.database.call(
        lambda connection: tenants.create(connection, a_name(), "", actor="test")
    )
    key = await cloud.make_key(scopes=("pull", "push"), tenant_id=tenant.id)
    assert (await ask(cloud, "/api/models", key.secret)).status == 200
    refused = await cloud.ask("POST", "/hub/api/repos/create", {"name": "x"}, secret=key.secret)
    assert refused.status == 403


async def test_a_keys_rate_holds_for_the_hub_too(cloud):
    repository, _ = await a_model(cloud)
    key = await cloud.make_key(scopes=("pull",), requests_per_minute=3)
    answers = [await ask(cloud, f"/api/models/{repository}", key.secret) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1


async def test_modelscopes_cookie_is_a_key_for_what_only_reads(cloud, writer):
    repository, _ = await a_model(cloud)
    cookie = {"cookie": f"m_session_id={writer}"}
    path = f"/hub/api/v1/models/{repository}/repo/files?Revision=master&Recursive=True"
    answer = await cloud.ask("GET", path, **cookie)
    assert {file["Path"] for file in answer.json()["Data"]["Files"]} == {"m.gguf", "README.md"}
    refused = await cloud.ask("POST", "/hub/api/repos/create", {"name": "x"}, **cookie)
    assert refused.status == 401


async def test_pulls_are_counted_by_model_and_key(cloud):
    repository, _ = await a_model(cloud, m__gguf=b"\1" * 1000, README__md=CARD)
    key = await cloud.make_key(scopes=("pull",))
    for path, headers in (
        ("m.gguf", {}),
        ("m.gguf", {"range": "bytes=0-99"}),
        ("m.gguf", {"range": "bytes=100-"}),
        ("README.md", {}),
    ):
        await ask(cloud, f"/{repository}/resolve/main/{path}", key.secret, **headers)
    await cloud.settle()
    await cloud.cloud.hub.counts.flush()
    name = repository.removeprefix("haneul/")
    (row,) = await cloud.cloud.database.ask(shelf.pulls_of, name)
    assert (row.key_id, row.pulls, row.bytes) == (key.key.id, 2, 2000 + len(CARD))
    told = (await ask(cloud, f"/api/models/{repository}", key.secret)).json()
    assert told["downloads"] == 2


# many at once, and those that go away
async def begin(cloud, secret, path):
    """A download of which only the head was read."""
    reading, writing = await asyncio.open_connection("127.0.0.1", cloud.cloud.port, limit=1 << 16)
    head = f"GET /hub{path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {secret}\r\n\r\n"
    writing.write(head.encode())
    answer = await reading.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return reading, writing


def files_open():
    return len(os.listdir("/proc/self/fd"))


async def test_clients_that_go_away_leave_no_file_and_no_place_behind(cloud, reader):
    repository, _ = await a_model(cloud, m__gguf=bytes(30 << 20))
    path = f"/{repository}/resolve/main/m.gguf"
    before = files_open()
    begun = await asyncio.gather(*(begin(cloud, reader, path) for _ in range(40)))
    assert files_open() > before + 40
    for number, (_, writing) in enumerate(begun):
        if number % 2:
            writing.transport.abort()
        else:
            writing.close()
    await cloud.settle()
    await cloud.until(lambda: files_open() <= before + 3, what="every file is closed")
    whole = await ask(cloud, path, reader)
    assert len(whole.data) == 30 << 20


async def test_a_client_that_takes_nothing_is_cut_off(start_cloud):
    cloud = await start_cloud(idle_s=1.0)
    repository, _ = await a_model(cloud, m__gguf=bytes(30 << 20))
    key = await cloud.make_key(scopes=("pull",))
    reading, writing = await begin(cloud, key.secret, f"/{repository}/resolve/main/m.gguf")
    await cloud.settle(10.0)
    rest = 0
    with suppress(ConnectionError):
        while piece := await reading.read(1 << 20):
            rest += len(piece)
    assert rest < 30 << 20
    writing.transport.abort()


async def test_a_file_is_followed_by_the_next_answer_on_its_connection(cloud, reader):
    content = random.Random(8).randbytes(1_000_000)
    repository, _ = await a_model(cloud, m__gguf=content)
    line = f"GET /hub/{repository}/resolve/main/m.gguf HTTP/1.1\r\n"
    head = f"host: 127.0.0.1\r\nauthorization: Bearer {reader}\r\n\r\n"
    reading, writing = await asyncio.open_connection("127.0.0.1", cloud.cloud.port)
    writing.write((line + head).encode() * 3)  # sent ahead
    for _ in range(3):
        answer = await reading.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200")
        assert await reading.readexactly(len(content)) == content
    writing.close()


# uploads
def lines(*operations):
    return b"\n".join(json.dumps(operation).encode() for operation in operations)


def small(path, content):
    value = {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}
    return {"key": "file", "value": value}


def large(path, content):
    oid = hashlib.sha256(content).hexdigest()
    return {"key": "lfsFile", "value": {"path": path, "oid": oid, "size": len(content)}}


async def place_for(cloud, secret, repository, content):
    """Where a large file is to be put; None where it is here."""
    told = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
    answer = await cloud.ask(
        "POST",
        f"/hub/{repository}.git/info/lfs/objects/batch",
        {"operation": "upload", "objects": [told]},
        secret=secret,
    )
    assert answer.headers["content-type"] == "application/vnd.git-lfs+json"
    (one,) = answer.json()["objects"]
    if "actions" not in one:
        return None
    return one["actions"]["upload"]["href"].removeprefix(cloud.root)


async def commit(cloud, secret, repository, *operations, branch="main"):
    path = f"/hub/api/models/{repository}/commit/{branch}"
    return await cloud.ask("POST", path, lines(*operations), secret=secret)


async def test_a_large_file_is_put_by_its_address_and_committed(cloud, writer):
    repository = f"acme/{a_name()}"
    content = gguf_bytes(fill=os.urandom(64))
    place = await place_for(cloud, writer, repository, content)
    put = await cloud.ask("PUT", place, content)  # as clients do: without a key
    assert put.status == 200, put.data
    assert await place_for(cloud, writer, repository, content) is None, "it is here now"
    made = await commit(
        cloud, writer, repository, large("m.gguf", content), small("README.md", CARD)
    )
    assert made.status == 200, made.data
    told = (await ask(cloud, f"/api/models/{repository}", writer)).json()
    assert told["sha"] == made.json()["commitOid"]
    assert told["cardData"] == {"license": "mit"}
    pulled = await ask(cloud, f"/{repository}/resolve/main/m.gguf", writer)
    assert pulled.data == content


@pytest.mark.parametrize("sent", ["other", "short", "long", "none"])
async def test_what_was_not_announced_is_not_kept(cloud, writer, sent):
    content = os.urandom(5000)
    place = await place_for(cloud, writer, f"acme/{a_name()}", content)
    other = {"other": os.urandom(5000), "short": content[:-1], "long": content + b"x", "none": b""}
    answer = await cloud.ask("PUT", place, other[sent])
    assert answer.status == (413 if sent == "long" else 400)
    folder = cloud.cloud.config.home / "models"
    assert not (folder / "blobs" / f"sha256-{hashlib.sha256(content).hexdigest()}").exists()
    assert list((folder / "partial").glob("push-*")) == []


async def test_an_upload_that_breaks_off_leaves_nothing(cloud, writer):
    content = os.urandom(4 << 20)
    place = await place_for(cloud, writer, f"acme/{a_name()}", content)
    _, writing = await asyncio.open_connection("127.0.0.1", cloud.cloud.port)
    head = f"PUT {place} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(content)}\r\n\r\n"
    writing.write(head.encode() + content[: 1 << 20])
    await writing.drain()
    partial = cloud.cloud.config.home / "models" / "partial"
    await cloud.until(lambda: any(partial.glob("push-*")), what="it is written as it comes")
    writing.transport.abort()
    await cloud.settle()
    await cloud.until(lambda: not any(partial.glob("push-*")), what="nothing is left")


async def test_a_revoked_keys_address_takes_nothing(cloud):
    key = await cloud.make_key(scopes=("push",))
    content = os.urandom(100)
    place = await place_for(cloud, key.secret, f"acme/{a_name()}", content)
    await cloud.cloud.database.call(
        lambda connection: keys.revoke(connection, key.key.id, actor="test")
    )
    assert (await cloud.ask("PUT", place, content)).status == 404


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (small("pytorch_model.bin", b"x"), "pickle"),
        (small("modeling_x.py", b"x"), "code"),
        (small("m.gguf", GGUF[:-40]), "m.gguf"),
        (small("README.md", CARD), "weights"),
        (large("m.gguf", b"never put"), "was not put"),
        (small("../m.gguf", GGUF), "../m.gguf"),
    ],
)
async def test_what_a_pull_would_refuse_does_not_become_a_revision(cloud, writer, operation, why):
    repository = f"acme/{a_name()}"
    refused = await commit(cloud, writer, repository, operation)
    assert refused.status == 400, refused.data
    assert why in refused.json()["error"]
    assert (await ask(cloud, f"/api/models/{repository}", writer)).status == 404


async def test_code_is_dropped_from_a_configuration_that_is_put(cloud, writer):
    repository = f"acme/{a_name()}"
    weights = safetensors_bytes({"w": ("F32", [2, 2])})
    config = b'{"auto_map": {"AutoModel": "evil.Model"}, "hidden_size": 2}'
    made = await commit(
        cloud,
        writer,
        repository,
        small("model.safetensors", weights),
        small("config.json", config),
    )
    assert made.status == 200, made.data
    kept = await ask(cloud, f"/{repository}/resolve/main/config.json", writer)
    assert kept.json() == {"hidden_size": 2}


async def test_two_who_commit_at_once_do_not_overwrite_each_other(cloud, writer):
    repository = f"acme/{a_name()}"
    first = await commit(cloud, writer, repository, small("m.gguf", GGUF))
    parent = {"key": "header", "value": {"parentCommit": first.json()["commitOid"]}}
    second = await commit(cloud, writer, repository, parent, small("README.md", CARD))
    assert second.status == 200
    late = await commit(cloud, writer, repository, parent, small("LICENSE", b"x"))
    assert (late.status, late.json()["code"]) == (409, "conflict")


async def test_a_commit_to_an_alias_moves_what_serves_and_so_takes_an_admin(cloud, writer):
    repository = f"acme/{a_name()}"
    first = (await commit(cloud, writer, repository, small("m.gguf", GGUF))).json()["commitOid"]
    admin = (await cloud.make_key(scopes=("pull", "push", "admin"))).secret
    nowhere = await commit(cloud, admin, repository, small("LICENSE", b"x"), branch="prod")
    assert nowhere.status == 404

    def point(connection):
        row = revisions.of_model(connection, repository)[0]
        hub.point(connection, repository, "prod", row, actor="test")

    await cloud.cloud.database.call(point)
    refused = await commit(cloud, writer, repository, small("LICENSE", b"x"), branch="prod")
    assert refused.status == 403
    made = await commit(cloud, admin, repository, small("LICENSE", b"x"), branch="prod")
    refs = await ask(cloud, f"/api/models/{repository}/refs", writer)
    told = {ref["name"]: ref["targetCommit"] for ref in refs.json()["branches"]}
    assert told["prod"] == made.json()["commitOid"] != first
    await cloud.cloud.refresh()
    listed = (await cloud.ask("GET", "/v1/models", secret=admin)).json()["data"]
    (route,) = [one for one in listed if one["id"] == f"{repository}@prod"]
    assert route["members"][0]["model"] == f"{repository}@{told['prod'][:12]}"


async def test_a_key_for_one_model_cannot_claim_another_ones_file(cloud, writer):
    hidden = gguf_bytes(fill=os.urandom(64))
    await commit(cloud, writer, f"acme/{a_name()}", small("m.gguf", hidden))
    name = f"acme/{a_name()}"
    key = await cloud.make_key(scopes=("pull", "push"), models=(name,))
    assert await place_for(cloud, key.secret, name, hidden) is not None, "not told that it is here"
    stolen = await commit(cloud, key.secret, name, large("m.gguf", hidden))
    assert stolen.status == 400
    own = gguf_bytes(fill=os.urandom(64))
    await cloud.ask("PUT", await place_for(cloud, key.secret, name, own), own)
    assert (await commit(cloud, key.secret, name, large("m.gguf", own))).status == 200


async def test_who_put_what_is_in_the_audit(cloud, writer):
    repository = f"acme/{a_name()}"
    made = await commit(cloud, writer, repository, small("m.gguf", GGUF))

    def acts(connection):
        told = connection.exec_driver_sql("SELECT action, subject, request_id FROM audit")
        return [tuple(row) for row in told]

    assert ("revision.add", repository, made.id) in await cloud.cloud.database.ask(acts)
