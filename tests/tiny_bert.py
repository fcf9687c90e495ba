"""Writes a deterministic encoder of random weights: `tiny_bert.py OUT cls|mean|rank [SEED]`.

For vectors and scores: small enough that a test can compute them by itself.
"""

from __future__ import annotations

import sys

import gguf
import numpy as np

LAYERS, WIDTH, HIDDEN, HEADS, CONTEXT = 2, 32, 64, 4, 256
WORDS = ["the", "sky", "is", "blue", "and", "sea", "green", "what", "colour", "has"]
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOKENS += [f"\u2581{word}" for word in [*WORDS, *LETTERS]] + LETTERS
POOLING = {"mean": 1, "cls": 2, "rank": 4}
ATTENTION = ["attn_q", "attn_k", "attn_v", "attn_output"]


def write(path: str, pooling: str, seed: int = 5) -> None:
    """Writes the model; the same seed gives the same bytes."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "bert")
    _describe(writer, pooling)

    def matrix(*shape: int, scale: float = 0.3) -> np.ndarray:
        return (random.standard_normal(shape) * scale).astype(np.float32)

    writer.add_tensor("token_embd.weight", matrix(len(TOKENS), WIDTH))
    writer.add_tensor("token_types.weight", np.zeros((2, WIDTH), np.float32))
    writer.add_tensor("position_embd.weight", matrix(CONTEXT, WIDTH, scale=0.02))
    _norm(writer, "token_embd_norm")
    for layer in range(LAYERS):
        for name in ATTENTION:
            writer.add_tensor(f"blk.{layer}.{name}.weight", matrix(WIDTH, WIDTH))
            writer.add_tensor(f"blk.{layer}.{name}.bias", np.zeros(WIDTH, np.float32))
        writer.add_tensor(f"blk.{layer}.ffn_up.weight", matrix(HIDDEN, WIDTH))
        writer.add_tensor(f"blk.{layer}.ffn_up.bias", np.zeros(HIDDEN, np.float32))
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", matrix(WIDTH, HIDDEN))
        writer.add_tensor(f"blk.{layer}.ffn_down.bias", np.zeros(WIDTH, np.float32))
        _norm(writer, f"blk.{layer}.attn_output_norm")
        _norm(writer, f"blk.{layer}.layer_output_norm")
    if pooling == "rank":
        writer.add_tensor("cls.weight", matrix(WIDTH, WIDTH))
        writer.add_tensor("cls.bias", np.zeros(WIDTH, np.float32))
        writer.add_tensor("cls.output.weight", matrix(1, WIDTH, scale=1.0))
        writer.add_tensor("cls.output.bias", np.zeros(1, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _norm(writer: gguf.GGUFWriter, name: str) -> None:
    writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.add_tensor(f"{name}.bias", np.zeros(WIDTH, np.float32))


def _describe(writer: gguf.GGUFWriter, pooling: str) -> None:
    writer.add_name("tiny-bert")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType(POOLING[pooling]))
    if pooling == "rank":
        writer.add_classifier_output_labels(["relevance"])
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * 5 + [1] * (len(TOKENS) - 5))
    writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_token_type_count(2)
    for name, token in (("pad", 0), ("unk", 1), ("bos", 2), ("eos", 3), ("sep", 3), ("mask", 4)):
        getattr(writer, f"add_{name}_token_id")(token)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2], *(int(text) for text in sys.argv[3:]))
