"""Models that make vectors or scores, against the same arithmetic done here with numpy."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from tests import tiny_bert

TEXT = "the sky is blue"
DOCUMENTS = ["the sea is green", "the sky is blue", "what colour has the sky"]


def weights(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}


def tokens(text: str, second: str = "") -> list[int]:
    """[CLS] words [SEP]; of a pair, as llama.cpp writes it: and [SEP] words [SEP]."""
    words = ["[CLS]", *(f"\u2581{word}" for word in text.split()), "[SEP]"]
    if second:
        words += ["[SEP]", *(f"\u2581{word}" for word in second.split()), "[SEP]"]
    return [tiny_bert.TOKENS.index(word) for word in words]


def norm(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def forward(w: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """One row a token: BERT as it was published."""
    x = w["token_embd.weight"][ids] + w["token_types.weight"][0]
    x = norm(x + w["position_embd.weight"][: len(ids)], w, "token_embd_norm")
    heads, size = tiny_bert.HEADS, tiny_bert.WIDTH // tiny_bert.HEADS
    for layer in range(tiny_bert.LAYERS):
        at = f"blk.{layer}"
        q, k, v = (
            (x @ w[f"{at}.attn_{name}.weight"].T).reshape(-1, heads, size).swapaxes(0, 1)
            for name in "qkv"
        )
        scores = q @ k.swapaxes(1, 2) / np.sqrt(size)
        share = np.exp(scores - scores.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        mixed = (share @ v).swapaxes(0, 1).reshape(len(ids), -1)
        x = norm(x + mixed @ w[f"{at}.attn_output.weight"].T, w, f"{at}.attn_output_norm")
        up = x @ w[f"{at}.ffn_up.weight"].T
        up = 0.5 * up * (1 + np.tanh(np.sqrt(2 / np.pi) * (up + 0.044715 * up**3)))
        x = norm(x + up @ w[f"{at}.ffn_down.weight"].T, w, f"{at}.layer_output_norm")
    return x


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


async def serve(start_engine, folder: Path, pooling: str):
    path = folder / f"{pooling}.gguf"
    tiny_bert.write(str(path), pooling)
    engine = start_engine(path)
    await engine.ready()
    return engine, weights(path)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
async def test_vectors_are_pooled_as_the_file_says(start_engine, tmp_path, pooling):
    engine, w = await serve(start_engine, tmp_path, pooling)
    status, answer = await engine.ask(
        "POST", "/v1/embeddings", {"model": engine.model, "input": TEXT}
    )
    assert status == 200
    rows = forward(w, tokens(TEXT))
    expected = unit(rows[0] if pooling == "cls" else rows.mean(0))
    assert np.allclose(answer["data"][0]["embedding"], expected, atol=2e-3)


async def test_documents_are_scored_with_the_query_and_ordered(start_engine, tmp_path):
    engine, w = await serve(start_engine, tmp_path, "rank")
    asked = {"model": engine.model, "query": "what colour", "documents": DOCUMENTS}
    status, answer = await engine.ask("POST", "/v1/rerank", asked)
    assert status == 200
    expected = []
    for document in DOCUMENTS:
        first = forward(w, tokens("what colour", document))[0]
        pooled = np.tanh(w["cls.weight"] @ first + w["cls.bias"])
        expected.append(float((w["cls.output.weight"] @ pooled + w["cls.output.bias"])[0]))
    found = {one["index"]: one["relevance_score"] for one in answer["results"]}
    assert [found[index] for index in range(3)] == pytest.approx(expected, abs=1e-2)
    scores = [one["relevance_score"] for one in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    pairs = sum(len(tokens("what colour", document)) for document in DOCUMENTS)
    assert answer["usage"]["prompt_tokens"] == pairs


async def test_the_best_few_come_with_their_texts(start_engine, tmp_path):
    engine, _ = await serve(start_engine, tmp_path, "rank")
    documents = [DOCUMENTS[0], {"text": DOCUMENTS[1]}]
    asked = {"query": "sky", "documents": documents, "top_n": 1, "return_documents": True}
    _, answer = await engine.ask("POST", "/v1/rerank", {"model": engine.model, **asked})
    (only,) = answer["results"]
    assert only["document"] == {"text": DOCUMENTS[only["index"]]}


@pytest.mark.parametrize(
    ("pooling", "path", "fields"),
    [
        ("cls", "/v1/rerank", {"query": "a", "documents": ["b"]}),
        ("rank", "/v1/embeddings", {"input": "a"}),
        ("cls", "/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
        ("rank", "/v1/completions", {"prompt": "a"}),
        ("rank", "/v1/rerank", {"query": "a", "documents": []}),
        ("rank", "/v1/rerank", {"query": "a", "documents": ["b"], "threshold": 1}),
        ("rank", "/v1/rerank", {"query": "a", "documents": [{"text": "b", "title": "c"}]}),
    ],
)
async def test_what_a_model_cannot_do_is_refused(start_engine, tmp_path, pooling, path, fields):
    engine, _ = await serve(start_engine, tmp_path, pooling)
    status, answer = await engine.ask("POST", path, {"model": engine.model, **fields})
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"
