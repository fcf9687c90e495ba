"""What a plan must know of a model: its shape, and nothing of its code or its weights."""

from __future__ import annotations

from msgspec import Struct


class Shape(Struct, frozen=True, kw_only=True):
    """The measures of one model file. Counts are plain numbers, sizes are bytes.

    parameters counts every weight, active_parameters those that one token meets (all of them in a
    dense model, the chosen experts in a mixture). weight_bytes is every tensor of the file.
    active_bytes is what decoding one token reads: the matrices that take part, the output head
    among them; the embedding table counts only where it is the output head as well.
    """

    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int  # heads that keep keys and values, alike in every layer; 0: unknown
    key_size: int  # of one head
    value_size: int  # of one head
    feed_forward: int
    vocabulary: int
    context_tokens: int  # the model was trained for
    parameters: int
    active_parameters: int
    weight_bytes: int
    active_bytes: int
    quantisation: str  # such as "Q4_1"
    experts: int = 0
    experts_used: int = 0  # per token
    sliding_window: int = 0  # tokens a layer looks back; 0: all of them
