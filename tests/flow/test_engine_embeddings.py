"""Embeddings with a real engine."""

from __future__ import annotations

import base64
import math
import struct

import pytest


async def embed(engine, text, **fields):
    body = {"model": engine.model, "input": text, **fields}
    return await engine.ask("POST", "/v1/embeddings", body)


def cosine(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_embeddings_have_the_published_shape_and_unit_length(engine):
    status, answer = await embed(engine, ["one", "two words"])
    assert status == 200
    assert answer["object"] == "list"
    assert [(row["object"], row["index"]) for row in answer["data"]] == [
        ("embedding", 0),
        ("embedding", 1),
    ]
    for row in answer["data"]:
        assert len(row["embedding"]) == 64
        assert math.isclose(math.hypot(*row["embedding"]), 1, abs_tol=1e-4)


async def test_usage_is_the_sum_of_the_inputs_tokens(engine):
    texts = ["one", "two words", "and three of them"]
    counts = []
    for text in texts:
        _, told = await engine.ask("POST", "/tokenize", {"prompt": text})
        counts.append(told["count"])
    _, answer = await embed(engine, texts)
    assert answer["usage"] == {"prompt_tokens": sum(counts), "total_tokens": sum(counts)}


async def test_every_form_of_an_input_gives_the_same_vector(engine):
    _, told = await engine.ask("POST", "/tokenize", {"prompt": "one two"})
    rows = [
        (await embed(engine, form))[1]["data"][0]["embedding"]
        for form in ("one two", ["one two"], told["tokens"], [told["tokens"]])
    ]
    for row in rows[1:]:
        assert cosine(rows[0], row) > 0.999999


async def test_base64_holds_the_same_floats(engine):
    _, plain = await embed(engine, "one", encoding_format="float")
    _, packed = await embed(engine, "one", encoding_format="base64")
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(
        plain["data"][0]["embedding"], abs=1e-6
    )


async def test_texts_of_like_meaning_are_closer(smol_engine):
    texts = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "Stock prices fell 3 %."]
    _, answer = await embed(smol_engine, texts)
    cat, kitten, stocks = [row["embedding"] for row in answer["data"]]
    assert cosine(cat, kitten) > cosine(cat, stocks)


async def test_only_the_models_own_width_can_be_had(engine):
    assert (await embed(engine, "one", dimensions=64))[0] == 200
    status, answer = await embed(engine, "one", dimensions=32)
    assert (status, answer["error"]["param"]) == (400, "dimensions")


@pytest.mark.parametrize("empty", ["", [], [""], [[]], ["one", ""]])
async def test_an_empty_input_is_refused(engine, empty):
    status, answer = await embed(engine, empty)
    assert (status, answer["error"]["param"]) == (400, "input")


async def test_an_input_beyond_the_context_is_refused(engine):
    status, answer = await embed(engine, "word " * 3000)
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    assert "2048" in answer["error"]["message"]
    assert answer["error"]["param"] == "input"
