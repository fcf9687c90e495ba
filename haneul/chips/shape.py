"""What a plan must know of a model: its shape, and nothing of its code or its weights."""

from __future__ import annotations

from msgspec import Struct


class Layers(Struct, frozen=True, kw_only=True):
    """So many layers that remember alike: numbers of each token, a state of fixed size, or both.

    Keys and values are numbers of each token, in their compressed form where attention is latent
    (MLA). A linear layer or a state space keeps a state instead, however long the context is.
    """

    count: int
    numbers: int  # kept of each token in one layer
    window: int = 0  # tokens it looks back; 0: all of them
    every: int = 1  # tokens that share one entry
    state_bytes: int = 0  # of one sequence in one layer


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
    kv_heads: int  # heads that keep keys and values; where layers differ, the most; 0: unknown
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
    sliding_window: int = 0  # tokens every layer looks back; 0: all of them, or layers differ
    memory: tuple[Layers, ...] = ()  # where layers differ; none: all as the fields above say


def remembering(shape: Shape) -> tuple[Layers, ...]:
    """Its layers by what they remember; with kv_heads unknown, as many as there are heads."""
    if shape.memory:
        return shape.memory
    heads = shape.kv_heads or shape.heads
    numbers = heads * (shape.key_size + shape.value_size)
    return (Layers(count=shape.layers, numbers=numbers, window=shape.sliding_window),)


def looked_up(shape: Shape) -> int:
    """Weights of an embedding table that is read by the row, as the output head is another one.

    Where it is the head as well, a token meets all of it: 0. So it is said of a mixture, whose
    file does not tell what its idle bytes are.
    """
    if shape.experts or shape.active_bytes >= shape.weight_bytes:
        return 0
    return shape.vocabulary * shape.hidden


def met(shape: Shape) -> int:
    """The weights that one token is multiplied with."""
    return min(shape.active_parameters, shape.parameters - looked_up(shape))
