"""Aliases lead requests to revisions of a model, and moving one loses none of them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from haneul.base import places
from haneul.chips.estimate import exactly
from haneul.models import hub, revisions, serving
from haneul.models.folder.blobs import Blobs, file_sha256
from haneul.models.manifest import File, manifest
from haneul.models.quality import Measures
from haneul.models.revisions import Facts
from haneul.services import rules
from haneul.services.routes import parse, row_of
from haneul.store import models, routes

pytestmark = pytest.mark.asyncio(loop_scope="module")

TESTS = Path(__file__).parent.parent


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def family(cloud, tiny_model, tmp_path_factory):
    """Two revisions of a model, of which the first is served."""
    await cloud.cloud.serve(str(tiny_model))
    other = tmp_path_factory.mktemp("other") / "other.gguf"
    script = TESTS / "tiny_gguf.py"
    await asyncio.to_thread(
        subprocess.run, [sys.executable, script, other, "11"], check=True, timeout=60
    )
    blobs = Blobs(places.blobs(cloud.cloud.config.home))
    row = await cloud.cloud.database.ask(models.get, hub.name_of(str(tiny_model)))
    facts = Facts(shape=hub.shape(row))
    first = await add(cloud, blobs, Path(row.path), facts)
    second = await add(cloud, blobs, other, facts)
    await cloud.cloud.database.call(lambda c: serving.serve(c, first, blobs))
    return first, second


async def add(cloud, blobs, path, facts):
    sha256 = file_sha256(path)
    size = path.stat().st_size
    if not blobs.path(sha256).exists():
        blobs.path(sha256).hardlink_to(path)
    files = manifest("gguf", [File(path="tiny.gguf", sha256=sha256, bytes=size)])
    return await cloud.cloud.database.call(
        lambda c: revisions.register(
            c, "family", files, digest=sha256, source="test", facts=facts, actor="test"
        )
    )


async def point(cloud, alias, revision):
    blobs = Blobs(places.blobs(cloud.cloud.config.home))

    def move(connection):
        revisions.point(connection, "family", alias, revision, actor="test")
        serving.settle(connection, "family", blobs)

    await cloud.cloud.database.call(move)
    await cloud.cloud.refresh()


async def test_an_alias_is_asked_like_a_model_and_the_ledger_says_which_revision(
    cloud, key, family
):
    first, second = family
    await point(cloud, "prod", first)
    await point(cloud, "canary", second)
    answers = [
        await cloud.chat(key.secret, f"family@{alias}", max_tokens=8, temperature=0)
        for alias in ("prod", "canary")
    ]
    assert [answer.status for answer in answers] == [200, 200], answers[1].data
    texts = [answer.json()["choices"][0]["message"]["content"] for answer in answers]
    assert texts[0] != texts[1]
    rows = [await cloud.row(answer.id) for answer in answers]
    assert [row.digest for row in rows] == [first.digest, second.digest]
    listed = (await cloud.ask("GET", "/v1/models", secret=key.secret)).json()["data"]
    names = {model["id"] for model in listed}
    assert {"family", "family@prod", "family@canary", revisions.named(second)} <= names


async def test_a_wrong_alias_is_told_the_right_one(cloud, key, family):
    await point(cloud, "prod", family[0])
    answer = await cloud.chat(key.secret, "family@prob")
    assert answer.status == 404
    assert "family@prod" in answer.error()["message"]


async def test_no_request_is_lost_while_an_alias_moves(cloud, key, family):
    first, second = family
    await point(cloud, "moving", first)
    digests = set()

    async def ask_on():
        for _ in range(12):
            answer = await cloud.chat(key.secret, "family@moving", max_tokens=4)
            assert answer.status == 200, answer.data
            digests.add((await cloud.row(answer.id)).digest)

    asking = [asyncio.create_task(ask_on()) for _ in range(3)]
    await asyncio.sleep(0.2)
    await point(cloud, "moving", second)
    await asyncio.gather(*asking)
    answer = await cloud.chat(key.secret, "family@moving", max_tokens=4)
    assert (await cloud.row(answer.id)).digest == second.digest
    assert digests <= {first.digest, second.digest}


async def test_a_tenant_is_not_served_what_lost_more_than_it_allows(cloud, key, family):
    first, second = family
    await point(cloud, "prod", first)
    await point(cloud, "canary", second)
    said = Measures(
        perplexity_ratio=exactly(1.2, "×", source="test"),
        kl_nats=exactly(0.1, "nat", source="test"),
        agreement=exactly(0.8, "share", source="test"),
        parent_perplexity=9.0,
        tokens=1000,
    )

    def decide(connection, most):
        revisions.derived(
            connection,
            second,
            [first.id],
            relation="quantized",
            recipe={"type": "Q4_0"},
            tools={},
            actor="test",
        )
        revisions.measured(connection, second.id, first.id, "text", said)
        rules.decide(connection, "tenant", "default", "quality_loss_max", most, actor="test")

    try:
        await cloud.cloud.database.call(decide, "5%")
        await cloud.cloud.rules.refresh()
        refused = await cloud.chat(key.secret, "family@canary", max_tokens=4)
        assert (refused.status, refused.error()["code"]) == (403, "permission_denied")
        assert "20.0%" in refused.error()["message"]
        assert (await cloud.row(refused.id)).cost_nano == 0
        assert (await cloud.chat(key.secret, "family@prod", max_tokens=4)).status == 200
        assert "x-haneul-scarcity" not in (await scarce(cloud, second)).headers
        await cloud.cloud.database.call(decide, "25%")
        await cloud.cloud.rules.refresh()
        assert (await cloud.chat(key.secret, "family@canary", max_tokens=4)).status == 200
        assert (await scarce(cloud, second)).headers["x-haneul-scarcity"].startswith("model")
    finally:
        await cloud.cloud.database.call(decide, "none")
        await cloud.cloud.rules.refresh()
    tree = await cloud.ask("GET", "/haneul/v1/lineage/family@canary", secret=key.secret)
    assert tree.status == 200, tree.data
    assert tree.json()["subject"]["loss"] == pytest.approx(0.2)
    assert [node["id"] for node in tree.json()["up"]] == [first.id]
    assert "the alias family@canary points at it" in tree.json()["breaks"]


async def scarce(cloud, smaller):
    """An answer to one whose budget is nearly spent, where `smaller` is named for such a time."""
    row = row_of(parse("when-scarce", ("family@prod",), (), (revisions.named(smaller),)))
    await cloud.cloud.database.call(routes.put, row)
    await cloud.cloud.roster.refresh()
    key = await cloud.make_key(budget_nano=10**12)
    assert (await cloud.chat(key.secret, "when-scarce", max_tokens=4)).status == 200
    await budget_share(cloud, "0.9999999999")
    try:
        return await cloud.chat(key.secret, "when-scarce", max_tokens=4)
    finally:
        await budget_share(cloud, "none")


async def budget_share(cloud, share):
    await cloud.cloud.database.call(
        lambda connection: rules.decide(
            connection, "tenant", "default", "scarcity_budget", share, actor="test"
        )
    )
    await cloud.cloud.rules.refresh()


async def test_a_tree_is_not_shown_to_whom_it_does_not_concern(cloud, family):
    limited = await cloud.make_key(models=("family",))
    answer = await cloud.ask("GET", "/haneul/v1/lineage/family", secret=limited.secret)
    assert answer.status == 403
    assert (await cloud.ask("GET", "/haneul/v1/lineage/family")).status == 401
