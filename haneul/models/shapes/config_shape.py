"""From the config.json of a repository to the measures that a plan needs.

A config says how a model is built, not how large its files are, so parameters are the sum of the
matrices that follow from it, without norms, biases, an extra prediction layer or a part that sees
or hears. Against what the makers of 28 models tell, the sum was within 2 %.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from msgspec import Struct

from haneul.base.errors import BrokenFile
from haneul.chips.shape import Layers, Shape
from haneul.models.shapes.config_attention import attention, key_value_heads
from haneul.models.shapes.config_experts import Experts, dense_width, experts, feed_forward
from haneul.models.shapes.config_fields import (
    LAYERS_MAX,
    Attention,
    Fields,
    head_size,
    heads,
    writes,
)
from haneul.models.shapes.config_kinds import blocks, kinds
from haneul.models.shapes.config_weights import Weights, weights

# What llama.cpp calls a family, so that a plan from a config and one from a file say the same.
ARCHITECTURES = {
    "bert": "bert",
    "deepseek_v2": "deepseek2",
    "deepseek_v3": "deepseek2",
    "glm4_moe": "glm4moe",
    "gpt_oss": "gpt-oss",
    "hunyuan_v1_dense": "hunyuan-dense",
    "hunyuan_v1_moe": "hunyuan-moe",
    "kimi_k2": "deepseek2",
    "minimax_m2": "minimax-m2",
    "mixtral": "llama",
    "qwen2_moe": "qwen2moe",
    "qwen3_moe": "qwen3moe",
    "qwen3_next": "qwen3next",
    "xlm-roberta": "bert",
}
BYTES_FACTOR = 1.4  # from what a config says to what there is; parts that see make up for a third


class _Counts(Struct, frozen=True):
    """Parameters by how they are stored: the tables, what every token meets, the experts."""

    tables: int
    always: int
    experts: int


def shape_of_config(config: dict[str, Any], *, weight_bytes: int | None = None) -> Shape:
    """The shape of the model that a config.json describes. Raises BrokenFile.

    weight_bytes is what the repository's tensors take, if that is known; otherwise it is the
    parameters by the bits in which the config says they are stored. Where the two cannot both be
    true the quantisation is unknown: some repositories state it in another file.
    """
    if not isinstance(config, dict):
        raise BrokenFile("config.json holds no object.")
    fields = Fields(config)
    layers = _layers(fields)
    each = [attention(fields, kind, at) for at, kind in enumerate(kinds(fields, layers))]
    mixture = experts(fields)
    counts = _counts(fields, each, mixture)
    parameters = counts.tables + counts.always + counts.experts
    stored = weights(config)
    total, active = _bytes(counts, mixture, stored, _head(fields))
    quantisation = stored.name
    if weight_bytes is not None and total:
        is_other = not 1 / BYTES_FACTOR < weight_bytes / total < BYTES_FACTOR
        quantisation = "unknown" if is_other else stored.name
        active, total = round(active * weight_bytes / total), weight_bytes
    idle = counts.experts - counts.experts * mixture.used // max(1, mixture.count)
    is_latent = fields.number("kv_lora_rank", default=0) > 0
    rank = fields.number("kv_lora_rank", default=0)
    rotated = fields.number("qk_rope_head_dim", default=0)
    key = head_size(fields)
    return Shape(
        architecture=_architecture(fields.model_type),
        layers=layers,
        hidden=fields.number("hidden_size"),
        heads=heads(fields),
        kv_heads=1 if is_latent else key_value_heads(fields),
        key_size=rank + rotated if is_latent else key,
        value_size=rank if is_latent else fields.number("v_head_dim", default=key),
        feed_forward=mixture.width or dense_width(fields),
        vocabulary=fields.number("vocab_size"),
        context_tokens=fields.number("max_position_embeddings", "max_sequence_length"),
        parameters=parameters,
        active_parameters=parameters - idle,
        weight_bytes=total,
        active_bytes=active,
        quantisation=quantisation,
        experts=mixture.count,
        experts_used=mixture.used,
        memory=_memory(each),
    )


def _architecture(model_type: str) -> str:
    plain = model_type.removesuffix("_text")
    return ARCHITECTURES.get(plain, plain) or "unknown"


def _layers(fields: Fields) -> int:
    layers = fields.number("num_hidden_layers", default=len(blocks(fields)))
    if not 0 < layers <= LAYERS_MAX:
        raise BrokenFile(f"config.json has {layers} layers, not 1 to {LAYERS_MAX}.")
    return layers


def _counts(fields: Fields, each: list[Attention], mixture: Experts) -> _Counts:
    parts = [feed_forward(fields, mixture, at) for at in range(len(each))]
    return _Counts(
        tables=fields.number("vocab_size") * fields.number("hidden_size")
        + _head(fields)
        + _positions(fields)
        + _by_layer(fields, len(each)),
        always=sum(one.parameters for one in each) + sum(part.always for part in parts),
        experts=sum(part.experts for part in parts),
    )


def _head(fields: Fields) -> int:
    """Parameters of an output head that is not the embedding table."""
    if fields.flag("tie_word_embeddings") or not writes(fields):
        return 0
    return fields.number("vocab_size") * fields.number("hidden_size")


def _positions(fields: Fields) -> int:
    """Encoders learn a vector of each position."""
    if writes(fields):
        return 0
    return fields.number("max_position_embeddings") * fields.number("hidden_size")


def _by_layer(fields: Fields, layers: int) -> int:
    """Some families look each token up once more for every layer (Gemma 3n)."""
    width = fields.number("hidden_size_per_layer_input", default=0)
    return layers * width * fields.number("vocab_size_per_layer_input", default=0)


def _bytes(counts: _Counts, mixture: Experts, stored: Weights, head: int) -> tuple[int, int]:
    """Bytes of all weights, and of those that decoding one token reads."""
    tables = counts.tables * stored.table_bits
    always = counts.always * stored.other_bits
    every = counts.experts * stored.expert_bits
    used = every * mixture.used / mixture.count if mixture.count else 0.0
    looked_up = counts.tables - head if head else 0  # a tied table is the output head as well
    read = tables - looked_up * stored.table_bits + always + used
    return round((tables + always + every) / 8), round(read / 8)


def _memory(each: list[Attention]) -> tuple[Layers, ...]:
    """Layers that remember alike, together, in the order in which the first of them stands."""
    alike = Counter(msgspec.structs.replace(one, parameters=0) for one in each)
    return tuple(
        Layers(
            count=count,
            numbers=one.numbers,
            window=one.window,
            every=one.every,
            state_bytes=one.state_bytes,
        )
        for one, count in alike.items()
    )
