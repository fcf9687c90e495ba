"""Layers that keep a state of fixed size instead of keys and values: what they weigh and keep.

States are counted at 32 bits a number, the last inputs of a convolution at 16, as engines keep
them.
"""

from __future__ import annotations

from haneul.models.shapes.config_fields import Attention, Fields, head_size, heads

STATE_BYTES = 4  # of a number in a layer's state
INPUT_BYTES = 2  # of a number that the convolution still needs


def delta(fields: Fields) -> Attention:
    """Gated delta net (Qwen3-Next and after)."""
    hidden = fields.number("hidden_size")
    key = fields.number("linear_num_key_heads") * fields.number("linear_key_head_dim")
    values, size = fields.number("linear_num_value_heads"), fields.number("linear_value_head_dim")
    value = values * size
    mixed = 2 * key + value
    kernel = fields.number("linear_conv_kernel_dim")
    state = values * fields.number("linear_key_head_dim") * size * STATE_BYTES
    return Attention(
        parameters=hidden * (mixed + value + 2 * values) + mixed * kernel + value * hidden,
        state_bytes=state + mixed * max(0, kernel - 1) * INPUT_BYTES,
    )


def kimi_delta(fields: Fields, linear: Fields) -> Attention:
    """Kimi's delta attention: a decay for each channel, from a narrow projection."""
    hidden, count = fields.number("hidden_size"), linear.number("num_heads")
    size, kernel = linear.number("head_dim"), linear.number("short_conv_kernel_size")
    width = count * size
    narrow = hidden * size + size * width
    gate = hidden * width if linear.flag("use_full_rank_gate") else narrow
    return Attention(
        parameters=4 * hidden * width + narrow + gate + hidden * count + 3 * width * kernel,
        state_bytes=width * size * STATE_BYTES + 3 * width * max(0, kernel - 1) * INPUT_BYTES,
    )


def lightning(fields: Fields) -> Attention:
    """Lightning attention (MiniMax): queries, keys, values, a gate, and a state for each head."""
    hidden, width = fields.number("hidden_size"), heads(fields) * head_size(fields)
    return Attention(
        parameters=5 * hidden * width, state_bytes=width * head_size(fields) * STATE_BYTES
    )


def mamba(fields: Fields) -> Attention:
    """A state space (Mamba 2)."""
    hidden, count = fields.number("hidden_size"), fields.number("mamba_num_heads", "mamba_n_heads")
    inner = count * fields.number("mamba_head_dim", "mamba_d_head")
    state = fields.number("ssm_state_size", "mamba_d_state")
    mixed = inner + 2 * fields.number("n_groups", "mamba_n_groups") * state
    kernel = fields.number("conv_kernel", "mamba_d_conv")
    return Attention(
        parameters=hidden * (inner + mixed + count) + mixed * kernel + inner * hidden,
        state_bytes=inner * state * STATE_BYTES + mixed * max(0, kernel - 1) * INPUT_BYTES,
    )
