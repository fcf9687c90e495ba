"""The kinds of models that are converted: how their configurations and tensors are called in GGUF.

Names come from the `gguf` package's own maps. What it does not hold is what each architecture asks
for beside them, as llama.cpp's converter writes it (conversion/, b11549).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from haneul.base.errors import BadRequest, BrokenFile
from haneul.engine.derive.gguf_copy import Value

Config = Mapping[str, Any]
Pairs = dict[str, Value]
LAYER = re.compile(r"\b(?:layers|layer)\.(\d+)\.")
EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(.*)")
DROPPED: tuple[str, ...] = (".rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias")
DROPPED += ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")
DROPPED_FROM = ("cls.predictions", "cls.seq_relationship", "lm_head.")
PLACES = "embeddings.position_embeddings.weight"
HEADS = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
MOST = {"num_hidden_layers": 1 << 12, "num_experts": 1 << 12, "head_dim": 1 << 16}
POOLINGS = {"mean": 1, "cls": 2, "lasttoken": 3}  # llama_pooling_type


class Family(Struct, frozen=True):
    """One architecture. `turns`: rows of queries and keys lie in pairs here, in halves there."""

    architecture: str
    is_bert: bool = False
    turns: bool = False
    has_experts: bool = False
    names_vocabulary: bool = False
    has_padding_first: bool = False  # the first places stand for padding and are left out


FAMILIES = {
    "LlamaForCausalLM": Family("llama", turns=True, names_vocabulary=True),
    "MistralForCausalLM": Family("llama", turns=True, names_vocabulary=True),
    "Qwen2ForCausalLM": Family("qwen2"),
    "Qwen2Model": Family("qwen2"),
    "Qwen3ForCausalLM": Family("qwen3"),
    "Qwen3Model": Family("qwen3"),
    "Qwen3MoeForCausalLM": Family("qwen3moe", has_experts=True),
    "BertModel": Family("bert", is_bert=True),
    "BertForMaskedLM": Family("bert", is_bert=True),
    "XLMRobertaModel": Family("bert", is_bert=True, has_padding_first=True),
    "XLMRobertaForMaskedLM": Family("bert", is_bert=True, has_padding_first=True),
}


def family(config: Config) -> Family:
    """The family that a configuration names. Raises BadRequest for one that is not converted."""
    named = config.get("architectures") or []
    for name in named if isinstance(named, list) else []:
        if isinstance(name, str) and name in FAMILIES:
            return FAMILIES[name]
    said = str(named[0])[:64] if isinstance(named, list) and named else "no architecture"
    raise BadRequest(
        f"{said} is not converted here; {', '.join(FAMILIES)} are. Look for a GGUF of its makers, "
        "or convert it with llama.cpp's convert_hf_to_gguf.py."
    )


def plain_name(name: str, config: Config) -> str:
    """A tensor's name as its whole model has it; "": it is not needed."""
    name = name.removeprefix("bert.").removeprefix("roberta.")
    name = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))
    is_decoder = not family(config).is_bert
    if name.endswith(DROPPED) or (name.startswith(DROPPED_FROM) and not is_decoder):
        return ""
    if name == "lm_head.weight" and config.get("tie_word_embeddings"):
        return ""
    if str((config.get("architectures") or [""])[0]) in ("Qwen2Model", "Qwen3Model"):
        name = f"model.{name}"
    return name


def first_row(kind: Family, name: str, config: Config) -> int:
    """From which row on a tensor is taken."""
    if kind.has_padding_first and name == PLACES:
        return number(config, "pad_token_id") + 1
    return 0


def turned_heads(kind: Family, name: str, config: Config) -> int:
    """How many heads of rows lie in pairs in that tensor; 0: none."""
    for part, key in HEADS.items():
        if kind.turns and name.endswith((f"{part}.weight", f"{part}.bias")):
            return number(config, key, default=number(config, "num_attention_heads"))
    return 0


def number(config: Config, key: str, *, default: int | None = None) -> int:
    """A whole number above nought of a configuration. Raises BrokenFile."""
    value = config.get(key)
    value = default if value is None else value
    most = MOST.get(key, 1 << 31)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
        raise BrokenFile(f"config.json has no proper {key}.")
    return value


def fraction(config: Config, key: str, default: float, *, most: float = 1e9) -> float:
    """A number above nought of a configuration. Raises BrokenFile."""
    value = config.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise BrokenFile(f"config.json has no proper {key}.")
    return float(value)


def measures(kind: Family, config: Config, pooling: str) -> Pairs:
    """The pairs of metadata that describe the architecture. Raises BrokenFile and BadRequest."""
    name = kind.architecture
    heads = number(config, "num_attention_heads")
    places = number(config, "max_position_embeddings") - first_row(kind, PLACES, config)
    if places < 1:
        raise BrokenFile("config.json has no proper max_position_embeddings.")
    said: Pairs = {
        "block_count": number(config, "num_hidden_layers"),
        "context_length": places,
        "embedding_length": number(config, "hidden_size"),
        "feed_forward_length": number(config, "intermediate_size"),
        "attention.head_count": heads,
    }
    if kind.is_bert:
        said["attention.layer_norm_epsilon"] = fraction(config, "layer_norm_eps", 1e-12, most=1)
        said["attention.causal"] = False
    else:
        said["attention.head_count_kv"] = number(config, "num_key_value_heads", default=heads)
        said["attention.layer_norm_rms_epsilon"] = fraction(config, "rms_norm_eps", 1e-6, most=1)
        said |= _rotation(config)
    if config.get("head_dim") is not None:
        width = number(config, "head_dim")
        said["attention.key_length"] = said["attention.value_length"] = width
    if kind.names_vocabulary:
        said["vocab_size"] = number(config, "vocab_size")
        said["rope.dimension_count"] = _head_width(config)
    if kind.has_experts:
        said["expert_count"] = number(config, "num_experts")
        said["expert_used_count"] = number(config, "num_experts_per_tok")
        said["expert_feed_forward_length"] = number(config, "moe_intermediate_size")
    if pooling:
        if pooling not in POOLINGS:
            raise BadRequest(f"Pooling by {pooling} is not known.")
        said["pooling_type"] = POOLINGS[pooling]
    if config.get("use_sliding_window"):
        raise BadRequest("Models with windows of attention are not converted here.")
    return {f"{name}.{key}": value for key, value in said.items()}


def frequencies(config: Config) -> list[float]:
    """Factors of rotation for each pair of a head's numbers, as Llama 3 has them; [] for none.

    Source: transformers' _compute_llama3_parameters, which llama.cpp's converter repeats.
    """
    rope = _rope(config)
    if str(rope.get("rope_type", rope.get("type"))).lower() != "llama3":
        return []
    base, width = _base(config), _head_width(config)
    factor, low = fraction(rope, "factor", 8.0), fraction(rope, "low_freq_factor", 1.0)
    high = fraction(rope, "high_freq_factor", 4.0)
    trained = fraction(rope, "original_max_position_embeddings", 8192.0)
    if high <= low:
        raise BrokenFile("config.json has no proper high_freq_factor.")
    factors = []
    for place in range(0, width, 2):
        length = 2 * math.pi * base ** (place / width)
        if length < trained / high:
            factors.append(1.0)
        elif length > trained / low:
            factors.append(factor)
        else:
            smooth = (trained / length - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors


def _rotation(config: Config) -> Pairs:
    said: Pairs = {"rope.freq_base": _base(config)}
    rope = _rope(config)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind in ("default", "llama3", None):
        return said
    if kind not in ("linear", "yarn"):
        raise BadRequest(f"Rotation of the kind {str(kind)[:32]!r} is not converted here.")
    said["rope.scaling.type"] = kind
    said["rope.scaling.factor"] = fraction(rope, "factor", 1.0)
    if kind == "yarn":
        said["rope.scaling.original_context_length"] = number(
            rope, "original_max_position_embeddings"
        )
        if rope.get("attention_factor") is not None:
            said["rope.scaling.yarn_attn_factor"] = fraction(rope, "attention_factor", 1.0)
    return said


def _rope(config: Config) -> Config:
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return found if isinstance(found, dict) else {}


def _base(config: Config) -> float:
    stated = config if config.get("rope_theta") is not None else _rope(config)
    return fraction(stated, "rope_theta", 10_000.0, most=1e12)


def _head_width(config: Config) -> int:
    if config.get("head_dim") is not None:
        return number(config, "head_dim")
    return number(config, "hidden_size") // number(config, "num_attention_heads")
