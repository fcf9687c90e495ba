"""Documents are put in order through the gateway, in Jina's, Cohere's and TEI's forms."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
from pathlib import Path

import ollama
import pytest
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="module")

WRITE = Path(__file__).parent.parent / "tiny_bert.py"
DOCUMENTS = ["the sky is blue", "the sea is green", "what has a colour"]
ASKED = {"query": "what colour", "documents": DOCUMENTS}


async def serve(cloud, folder, pooling):
    """The target of a tiny encoder of random weights that this cloud has loaded."""
    path = folder / f"tiny-{pooling}.gguf"
    write = [sys.executable, WRITE, path, pooling]
    await asyncio.to_thread(subprocess.run, write, check=True)
    return await cloud.cloud.serve(str(path))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def reranker(cloud, tmp_path_factory):
    return await serve(cloud, tmp_path_factory.mktemp("rank"), "rank")


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
async def test_documents_come_in_order_and_are_billed_by_their_prompts(cloud, key, reranker, path):
    body = {"model": reranker.model, **ASKED, "top_n": 2, "return_documents": True}
    answer = await cloud.ask("POST", path, body, secret=key.secret)
    told = answer.json()
    assert answer.status == 200, told
    scores = [one["relevance_score"] for one in told["results"]]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
    for one in told["results"]:
        assert one["document"] == {"text": DOCUMENTS[one["index"]]}
    (row,) = await cloud.rows(key.key.id)
    assert (row.route, row.state, row.metering, row.engine) == (
        "rerank",
        "done",
        "engine",
        "embedded",
    )
    assert row.prompt_tokens == told["usage"]["prompt_tokens"] > 0
    assert row.completion_tokens == 0
    assert row.cost_nano == told["usage"]["cost_nano"]


async def test_teis_clients_get_scores_between_0_and_1_or_raw_ones(cloud, key, reranker):
    plain = await cloud.ask(
        "POST", "/v1/rerank", {"model": reranker.model, **ASKED}, secret=key.secret
    )
    raw = {one["index"]: one["relevance_score"] for one in plain.json()["results"]}
    only = await cloud.make_key(models=(reranker.model,))
    asked = {"query": ASKED["query"], "texts": DOCUMENTS}
    for more, expected in (
        ({}, {index: 1 / (1 + math.exp(-score)) for index, score in raw.items()}),
        ({"raw_scores": True, "return_text": True}, raw),
    ):
        answer = await cloud.ask("POST", "/rerank", {**asked, **more}, secret=only.secret)
        told = answer.json()
        assert {one["index"]: one["score"] for one in told} == pytest.approx(expected)
        assert [one["score"] for one in told] == sorted(expected.values(), reverse=True)
        assert [one.get("text") for one in told] == [
            DOCUMENTS[one["index"]] if "return_text" in more else None for one in told
        ]
    rows = await cloud.rows(only.key.id)
    assert [row.route for row in rows] == ["tei_rerank"] * 2
    assert all(row.cost_nano == plain.json()["usage"]["cost_nano"] for row in rows)


@pytest.mark.parametrize(
    ("usage", "tokens", "metering"),
    [
        ({"total_tokens": 30}, 30, "engine"),
        ({"prompt_tokens": 20, "total_tokens": 20}, 20, "engine"),
        (None, None, "counted"),
    ],
)
async def test_a_remote_engine_is_billed_as_it_counts_or_by_the_bytes(
    cloud, key, usage, tokens, metering
):
    said = {"results": [{"index": 1, "relevance_score": 0.9}]}
    whole = json.dumps({**said, "usage": usage} if usage else said).encode()
    engine = await cloud.add_engine(whole=whole)
    asked = {"model": engine.models[0], **ASKED, "rank_fields": ["text"]}
    answer = await cloud.ask("POST", "/v1/rerank", asked, secret=key.secret)
    assert answer.json()["results"] == said["results"]
    (row,) = await cloud.rows(key.key.id)
    assert row.metering == metering
    assert row.prompt_tokens == tokens if tokens else row.prompt_tokens > 0
    assert row.cost_nano == cloud.cost(row.prompt_tokens, 0)
    assert engine.seen.bodies[0] == asked, "what haneul does not know goes on as it came"


WRONG = [
    ("/v1/rerank", {"query": ""}, "query"),
    ("/v1/rerank", {"documents": []}, "documents"),
    ("/v1/rerank", {"documents": [{"title": "a"}]}, "documents[0]"),
    ("/v1/rerank", {"documents": [1]}, "documents[0]"),
    ("/v1/rerank", {"top_n": 0}, "top_n"),
]


@pytest.mark.parametrize(("path", "change", "param"), WRONG, ids=[wrong[2] for wrong in WRONG])
async def test_what_is_no_question_is_refused_by_name(cloud, key, path, change, param):
    engine = await cloud.add_engine()
    body = {"model": engine.models[0], **ASKED, **change}
    answer = await cloud.ask("POST", path, body, secret=key.secret)
    assert answer.status == 400
    assert answer.error()["param"].startswith(param.partition("[")[0])
    assert engine.seen.requests == 0


async def test_tei_is_refused_in_its_own_shape(cloud, key):
    engine = await cloud.add_engine()
    asked = {"query": "a", "texts": ["b"]}
    for change, named in (
        ({}, "model"),
        ({"model": engine.models[0]}, "raw_scores"),
        ({"model": engine.models[0], "raw_scores": True, "truncate": True}, "truncate"),
        ({"model": engine.models[0], "top_n": 1}, "top_n"),
    ):
        answer = await cloud.ask("POST", "/rerank", {**asked, **change}, secret=key.secret)
        assert answer.status == 400
        assert answer.json()["error_type"] == "Validation"
        assert named in answer.json()["error"]
    assert engine.seen.requests == 0


async def test_embeddings_of_the_embedded_engine_come_to_ollamas_clients(
    cloud, key, tmp_path, reranker
):
    target = await serve(cloud, tmp_path, "mean")
    headers = {"authorization": f"Bearer {key.secret}"}
    async with ollama.AsyncClient(host=cloud.root, headers=headers) as client:
        many = await client.embed(target.model, DOCUMENTS)
        one = await client.embeddings(target.model, DOCUMENTS[1])
        shown = [await client.show(name) for name in (target.model, reranker.model)]
        with pytest.raises(ollama.ResponseError, match="dimensions"):
            await client.embed(target.model, "a", dimensions=3)
    assert len(many.embeddings) == 3
    assert one.embedding == pytest.approx(many.embeddings[1], abs=1e-3)
    assert math.hypot(*many.embeddings[0]) == pytest.approx(1, abs=1e-3)
    rows = await cloud.rows(key.key.id)
    assert rows[0].prompt_tokens == many.prompt_eval_count
    assert [one.capabilities for one in shown] == [["embedding"], ["rerank"]]
