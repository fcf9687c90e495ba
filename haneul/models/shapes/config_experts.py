"""What each layer's feed-forward part weighs, with or without experts, read from a config.json."""

from __future__ import annotations

import math
from typing import Any

from msgspec import Struct

from haneul.models.shapes.config_fields import Fields, writes
from haneul.models.shapes.config_kinds import LATER, blocks

ROUND_TO = 256  # widths of blocks that are given as a share of the hidden size


class Experts(Struct, frozen=True, kw_only=True):
    """How many experts there are, how many one token meets, and how wide one is."""

    count: int = 0
    used: int = 0
    width: int = 0


class FeedForward(Struct, frozen=True):
    """One layer's parameters: those every token meets, and those of all experts together."""

    always: int = 0
    experts: int = 0


def experts(fields: Fields) -> Experts:
    """The experts of a mixture; none of a dense model."""
    count = fields.number(
        "num_local_experts", "n_routed_experts", "moe_num_experts", "num_experts", default=0
    )
    used = fields.number(
        "num_experts_per_tok",
        "num_experts_per_token",
        "experts_per_token",
        "top_k_experts",
        "moe_top_k",
        "moe_topk",
        default=0,
    )
    if count < 2 or not used:
        return Experts()
    width = fields.number("moe_intermediate_size", "intermediate_size", default=0)
    return Experts(count=count, used=min(used, count), width=width)


def feed_forward(fields: Fields, mixture: Experts, at: int) -> FeedForward:
    """The feed-forward part of layer `at`. Raises BrokenFile."""
    block = blocks(fields)
    if block and block[at] not in ("moe", "mlp"):
        return FeedForward()
    if fields.each("block_configs"):
        return FeedForward(_of_block(fields, at))
    is_mixed = block[at] == "moe" if block else bool(mixture.count) and has_experts(fields, at)
    if not is_mixed:
        return FeedForward(_matrices(fields) * fields.number("hidden_size") * dense_width(fields))
    beside = 0
    if fields.flag("enable_moe_block"):  # a dense part stands beside the experts
        beside = _matrices(fields) * fields.number("hidden_size") * dense_width(fields)
    both = _mixed(fields, mixture)
    return FeedForward(both.always + beside, both.experts)


def dense_width(fields: Fields) -> int:
    """How wide a layer without experts is, the widest where they differ."""
    if fields.each("block_configs"):
        return max(_width(fields, at) for at in range(len(fields.each("block_configs"))))
    return fields.number("dense_intermediate_size", "intermediate_size_mlp", "intermediate_size")


def has_experts(fields: Fields, at: int) -> bool:
    """Whether that layer of a mixture has experts."""
    named = fields.each("mlp_layer_types")
    if named:
        return bool(named[min(at, len(named) - 1)] == "sparse")
    often = fields.whole_each("moe_layer_freq")
    if often:
        return bool(often[min(at, len(often) - 1)])
    if at < fields.number("first_k_dense_replace", default=0):
        return False
    if at in fields.whole_each("mlp_only_layers"):
        return False
    step = fields.number(*LATER, default=1)
    return (at + 1) % max(1, step) == 0


def _mixed(fields: Fields, mixture: Experts) -> FeedForward:
    """Experts, the router that chooses them, and what all tokens share."""
    hidden = fields.number("hidden_size")
    inner = fields.number("moe_latent_size", "routed_expert_hidden_size", default=0)
    around = 2 * hidden * inner if inner else 0
    shared = _matrices(fields) * hidden * _shared_width(fields, mixture)
    one = _matrices(fields) * (inner or hidden) * mixture.width
    return FeedForward(hidden * mixture.count + around + shared, one * mixture.count)


def _shared_width(fields: Fields, mixture: Experts) -> int:
    """How wide the part is that every token meets beside its experts."""
    width = fields.number(
        "shared_expert_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "shared_intermediate_size",
        "share_expert_dim",
        default=-1,
    )
    if width >= 0:
        return width
    if fields.model_type.startswith("llama4"):
        return mixture.width  # always one
    names = ("n_shared_experts", "num_shared_experts", "num_shared_expert")
    return fields.number(*names, default=0) * mixture.width


def _matrices(fields: Fields) -> int:
    """Three where a gate multiplies, two where there is none."""
    is_plain = fields.text("mlp_hidden_act").startswith("relu")
    return 2 if is_plain or not writes(fields) else 3


def _of_block(fields: Fields, at: int) -> int:
    """Parameters of a block that states what it is."""
    block = _block(fields, at)
    hidden = fields.number("hidden_size")
    if block.get("replace_with_linear"):
        return hidden * hidden
    return 3 * hidden * _width(fields, at)


def _width(fields: Fields, at: int) -> int:
    """How wide that block is, which it states as a share of the hidden size."""
    block = _block(fields, at)
    share = block.get("ffn_mult")
    if block.get("no_op") or not isinstance(share, int | float) or not 0 < share < ROUND_TO:
        return 0
    return math.ceil(int(2 * share * fields.number("hidden_size") / 3) / ROUND_TO) * ROUND_TO


def _block(fields: Fields, at: int) -> dict[str, Any]:
    block = fields.each("block_configs")[at]
    found = block.get("ffn") if isinstance(block, dict) else None
    return found if isinstance(found, dict) else {}
