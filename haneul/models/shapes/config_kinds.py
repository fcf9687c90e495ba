"""Which layer of a model is of which kind, as its config.json says it in one of a dozen ways."""

from __future__ import annotations

from typing import Any

from haneul.base.errors import BrokenFile
from haneul.models.shapes.config_fields import Fields

KINDS = {
    "full_attention": "full",
    "sliding_attention": "window",
    "chunked_attention": "window",
    "linear_attention": "delta",
    "attention": "full",
    "mamba": "mamba",
    "moe": "none",
    "mlp": "none",
}
BLOCKS = {"*": "attention", "M": "mamba", "E": "moe", "-": "mlp"}  # of Nemotron's pattern
LATER = ("interleave_moe_layer_step", "decoder_sparse_step")  # every so many layers has experts


def kinds(fields: Fields, layers: int) -> list[str]:
    """What kind of attention each layer has: full, window, delta, lightning, mamba or none."""
    found = _named(fields) or _patterned(fields, layers) or ["full"] * layers
    if len(found) < layers:
        raise BrokenFile(f"config.json describes {len(found)} of its {layers} layers.")
    return found[:layers]


def blocks(fields: Fields) -> list[str]:
    """What each layer is where a layer is either attention or feed-forward; empty elsewhere."""
    pattern = fields.text("hybrid_override_pattern")
    if pattern:
        return [BLOCKS.get(sign, "attention") for sign in pattern]
    return [str(name) for name in fields.each("layers_block_type")]


def _named(fields: Fields) -> list[str]:
    """The kinds where the config has a list of them."""
    if fields.each("block_configs"):
        return [_of_block(block) for block in fields.each("block_configs")]
    if fields.each("attn_type_list"):
        return ["full" if one else "lightning" for one in fields.whole_each("attn_type_list")]
    if fields.each("hybrid_layer_pattern"):
        return ["window" if one else "full" for one in fields.whole_each("hybrid_layer_pattern")]
    names = blocks(fields) or fields.each("layer_types")
    return [KINDS.get(str(name), "full") for name in names]


def _of_block(block: Any) -> str:
    attention = block.get("attention", {}) if isinstance(block, dict) else {}
    is_out = not isinstance(attention, dict) or attention.get("no_op")
    return "none" if is_out else "full"


def _patterned(fields: Fields, layers: int) -> list[str]:
    """The kinds where the config says how often a layer looks at everything."""
    every = fields.number("full_attention_interval", default=0)
    if every:
        return _every(every, "delta", layers)
    if fields.inside("linear_attn_config").each("full_attn_layers"):
        full = set(fields.inside("linear_attn_config").whole_each("full_attn_layers"))
        return ["full" if at + 1 in full else "delta" for at in range(layers)]
    if fields.number("no_rope_layer_interval", default=0):
        return _every(fields.number("no_rope_layer_interval"), "window", layers)
    if not fields.number("sliding_window", default=0) or not _is_windowed(fields):
        return []
    spelt = fields.text("sliding_window_pattern")  # such as LLLG: three local layers, one global
    if spelt:
        return ["full" if spelt[at % len(spelt)] == "G" else "window" for at in range(layers)]
    every = fields.number("sliding_window_pattern", "_sliding_window_pattern", default=0)
    if every:
        return _every(every, "window", layers)
    first = fields.number("max_window_layers", default=0) if fields.has("use_sliding_window") else 0
    return ["window" if at >= first else "full" for at in range(layers)]


def _every(nth: int, others: str, layers: int) -> list[str]:
    return ["full" if (at + 1) % nth == 0 else others for at in range(layers)]


def _is_windowed(fields: Fields) -> bool:
    """Some families state a window and say with another field that it is not used."""
    return fields.flag("use_sliding_window", default=True) and not fields.each("compress_ratios")
