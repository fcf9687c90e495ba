"""A safetensors repository made of a GGUF file: weights, vocabulary and configuration put back.

For models whose repositories cannot be had: the way back is written after Hugging Face's layout and
shares nothing with the converter.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from tests.checkpoints import CUTS, write_safetensors

NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
WHOLE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
MAKES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}


def rebuild(source: Path, folder: Path) -> None:
    """Writes the repository, its weights in F16."""
    reader = gguf.GGUFReader(source)
    said = {name: field.contents() for name, field in reader.fields.items()}
    kind = said["general.architecture"]
    heads, shared = (said[f"{kind}.attention.head_count{end}"] for end in ("", "_kv"))
    weights: dict[str, np.ndarray] = {}
    for tensor in reader.tensors:
        numbers = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        rows = {"attn_q": heads, "attn_k": shared}.get(tensor.name.split(".")[-2])
        if kind == "llama" and rows:
            size = len(numbers) // rows
            numbers = numbers.reshape(rows, size // 2, 2, -1).swapaxes(1, 2).reshape(numbers.shape)
        weights[_name(tensor.name)] = numbers
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "model.safetensors", weights, "F16")
    config = {
        "architectures": [MAKES[kind]],
        "hidden_size": said[f"{kind}.embedding_length"],
        "intermediate_size": said[f"{kind}.feed_forward_length"],
        "num_hidden_layers": said[f"{kind}.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": shared,
        "max_position_embeddings": said[f"{kind}.context_length"],
        "rms_norm_eps": said[f"{kind}.attention.layer_norm_rms_epsilon"],
        "rope_theta": said[f"{kind}.rope.freq_base"],
        "tie_word_embeddings": "lm_head.weight" not in weights,
        "vocab_size": len(said["tokenizer.ggml.tokens"]),
    }
    (folder / "config.json").write_text(json.dumps(config))
    _vocabulary(said, folder)


def _name(name: str) -> str:
    if name in WHOLE:
        return WHOLE[name]
    _, layer, part, end = name.split(".")
    return f"model.layers.{layer}.{NAMES[part]}.{end}"


def _vocabulary(said: dict[str, Any], folder: Path) -> None:
    tokens, kinds = said["tokenizer.ggml.tokens"], said["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ", 1)) for merge in said["tokenizer.ggml.merges"]]
    plain = {token: place for place, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=plain, merges=merges))
    cut = said["tokenizer.ggml.pre"]
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=cut not in CUTS)
    first: Any = pre_tokenizers.Digits(individual_digits=True)
    if cut in CUTS:
        first = pre_tokenizers.Split(Regex(CUTS[cut]), "isolated")
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([first, whole])
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == 3]
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        f"{name}_token": tokens[said[f"tokenizer.ggml.{name}_token_id"]]
        for name in ("bos", "eos")
        if f"tokenizer.ggml.{name}_token_id" in said
    }
    settings["chat_template"] = said.get("tokenizer.chat_template", "")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
