"""What each layer's attention weighs and remembers, read from a config.json.

Parameters are those of the matrices; norms and biases, well under a thousandth, are not counted.
Remembered numbers are counted at 16 bits, those of an index by which tokens are chosen at fewer.
"""

from __future__ import annotations

from haneul.models.shapes.config_fields import Attention, Fields, head_size, heads, writes
from haneul.models.shapes.config_linear import STATE_BYTES, delta, kimi_delta, lightning, mamba

NUMBER_BYTES = 2


def attention(fields: Fields, kind: str, at: int) -> Attention:
    """The attention of layer `at`, which is of that kind. Raises BrokenFile."""
    if kind == "none":
        return Attention(parameters=0)
    if kind == "mamba":
        return mamba(fields)
    if kind == "lightning":
        return lightning(fields)
    if kind == "delta":
        linear = fields.inside("linear_attn_config")
        return kimi_delta(fields, linear) if linear.has("num_heads") else delta(fields)
    ratios = fields.whole_each("compress_ratios")
    if at < len(ratios):
        return _compressed(fields, ratios[at])
    if fields.number("kv_lora_rank", default=0):
        return _latent(fields, at)
    return _grouped(fields, kind, at)


def key_value_heads(fields: Fields) -> int:
    """Heads that keep keys and values in an ordinary layer."""
    return fields.number("num_key_value_heads", default=heads(fields))


def _grouped(fields: Fields, kind: str, at: int) -> Attention:
    """Ordinary attention; windowed layers may have heads of their own."""
    prefix = "swa_" if kind == "window" and fields.has("swa_num_key_value_heads") else ""
    queries = fields.number(f"{prefix}num_attention_heads", "num_attention_heads")
    kv_heads = fields.number(f"{prefix}num_key_value_heads", default=key_value_heads(fields))
    key = fields.number(f"{prefix}head_dim", default=head_size(fields))
    value = fields.number(f"{prefix}v_head_dim", "v_head_dim", default=key)
    shares_key = False
    if kind == "full" and fields.has("global_head_dim"):
        key = value = fields.number("global_head_dim")
        kv_heads = fields.number("num_global_key_value_heads", default=kv_heads)
        shares_key = fields.flag("attention_k_eq_v")
    if fields.each("block_configs"):
        kv_heads = _heads_of_block(fields, at, queries)
    hidden = fields.number("hidden_size")
    gate = 2 if fields.flag("attn_output_gate") or fields.model_type == "qwen3_next" else 1
    projected = kv_heads * (key if shares_key else key + value)
    width = queries * (key * gate + value) + projected
    keeps = 1 if _keeps(fields, at) else 0
    index, index_parameters = _block_index(fields, at)
    return Attention(
        parameters=hidden * width + index_parameters,
        numbers=(kv_heads * (key + value) + index) * keeps,
        window=_window(fields) if kind == "window" else 0,
    )


def _window(fields: Fields) -> int:
    return fields.number("sliding_window", "attention_chunk_size", "sliding_window_size")


def _keeps(fields: Fields, at: int) -> bool:
    """Whether the layer keeps keys and values itself, and neither none nor those of another."""
    if fields.flag("use_cla"):
        return at % max(1, fields.number("cla_share_factor", default=1)) == 0
    shared = fields.number("num_kv_shared_layers", default=0)
    if shared:  # the last ones read an earlier one's
        return at < fields.number("num_hidden_layers") - shared
    return writes(fields)


def _heads_of_block(fields: Fields, at: int, queries: int) -> int:
    block = fields.each("block_configs")[at]
    said = block.get("attention") if isinstance(block, dict) else None
    group = Fields(said if isinstance(said, dict) else {}).number("n_heads_in_group", default=1)
    return queries // max(1, group)


def _block_index(fields: Fields, at: int) -> tuple[int, int]:
    """Numbers and parameters of an index by which blocks are chosen, where the layer has one."""
    sparse = fields.inside("sparse_attention_config")
    size = sparse.number("sparse_index_dim", default=0)
    where = sparse.whole_each("sparse_attention_freq")
    if not size or (where and not where[min(at, len(where) - 1)]):
        return 0, 0
    queries = sparse.number("sparse_num_index_heads", default=1)
    return size, fields.number("hidden_size") * size * (queries + 1)


def _latent(fields: Fields, at: int) -> Attention:
    """Latent attention (MLA): one compressed vector and one rotated key for all heads."""
    hidden, count = fields.number("hidden_size"), heads(fields)
    rank, rope = fields.number("kv_lora_rank"), fields.number("qk_rope_head_dim")
    plain, value = fields.number("qk_nope_head_dim"), fields.number("v_head_dim")
    q_rank = fields.number("q_lora_rank", default=0)
    queries = count * (plain + rope)
    asking = hidden * q_rank + q_rank * queries if q_rank else hidden * queries
    keeping = hidden * (rank + rope) + rank * count * (plain + value)
    gate = hidden * count * value if fields.flag("mla_use_output_gate") else 0
    index, index_parameters = _index(fields, q_rank, at)
    return Attention(
        parameters=asking + keeping + count * value * hidden + gate + index_parameters,
        numbers=rank + rope + index,
    )


def _index(fields: Fields, q_rank: int, at: int) -> tuple[int, int]:
    """Numbers and parameters of the index of sparse attention; shared ones lie in other layers."""
    size = fields.number("index_head_dim", default=0)
    owners = fields.each("indexer_types")
    if not size or (at < len(owners) and owners[at] != "full"):
        return 0, 0
    count, hidden = fields.number("index_n_heads"), fields.number("hidden_size")
    return _at_8_bits(size), q_rank * count * size + hidden * (size + count)


def _at_8_bits(size: int) -> int:
    """So many numbers of 16 bits take the place of `size` of 8 bits and their scale of 32."""
    return size // 2 + 2


def _compressed(fields: Fields, ratio: int) -> Attention:
    """Attention to a window, and to one entry of every `ratio` tokens (DeepSeek V4).

    The window and what is being compressed do not grow: they count as a state.
    """
    hidden, count, size = fields.number("hidden_size"), heads(fields), head_size(fields)
    q_rank, o_rank = fields.number("q_lora_rank"), fields.number("o_lora_rank")
    groups = fields.number("o_groups", default=1)
    asking = hidden * q_rank + q_rank * count * size
    telling = count * size * o_rank + groups * o_rank * hidden
    window = fields.number("sliding_window", default=0)
    if not ratio:
        parameters = asking + hidden * size + telling
        return Attention(parameters=parameters, numbers=size, window=window)
    overlap = 2 if ratio == 4 else 1
    index = fields.number("index_head_dim", default=0) if ratio == 4 else 0
    index_heads = fields.number("index_n_heads", default=0)
    indexing = q_rank * index_heads * index + hidden * (index_heads + 4 * index) if index else 0
    being_made = 2 * ratio * overlap * (size + index) * STATE_BYTES
    return Attention(
        parameters=asking + hidden * size + telling + 2 * overlap * hidden * size + indexing,
        numbers=size + (index // 4 + 2 if index else 0),  # 4 bits each, and a scale
        every=ratio,
        state_bytes=window * size * NUMBER_BYTES + being_made,
    )
