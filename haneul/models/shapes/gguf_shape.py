"""From the header of a model file to the measures that a plan needs."""

from __future__ import annotations

import math
import re

from haneul.base.gguf import Array, Header, Tensor
from haneul.base.gguf_types import FILE_TYPES
from haneul.chips.shape import Shape
from haneul.models.shapes.gguf_fields import Fields
from haneul.models.shapes.gguf_memory import memory, window

GUESSED = 1024  # a bit in general.file_type: "guessed from the tensors" (llama.h)

# Tables that a token looks one row up in; they are weights in the file but not bytes per token.
LOOKED_UP = re.compile(r"(token_embd|per_layer_token_embd|position_embd|token_types)\.weight")
EXPERTS = re.compile(r"blk\.\d+\.ffn_\w+_exps\.(weight|bias|scale)")


def shape_of(header: Header) -> Shape:
    """The shape of a checked header. Raises BrokenFile when a measure that must be there is not.

    Where layers differ, heads and feed_forward are those of the largest layer, and kv_heads is the
    mean rounded up: alike in every layer, it would need at least the same cache.
    """
    fields = Fields(header)
    hidden = fields.number("embedding_length", required=True)
    heads = max(fields.numbers("attention.head_count"), default=0)
    kv_heads = fields.numbers("attention.head_count_kv") or fields.numbers("attention.head_count")
    experts, used = fields.number("expert_count"), fields.number("expert_used_count")
    return Shape(
        architecture=fields.architecture,
        layers=fields.number("block_count", required=True),
        hidden=hidden,
        heads=heads,
        kv_heads=math.ceil(sum(kv_heads) / len(kv_heads)) if kv_heads else 0,
        key_size=fields.head_size("key"),
        value_size=fields.head_size("value"),
        feed_forward=_feed_forward(fields),
        vocabulary=_vocabulary(header, fields),
        context_tokens=fields.number("context_length", required=True),
        parameters=sum(_weights(tensor) for tensor in header.tensors),
        active_parameters=sum(
            _share(tensor, experts, used, _weights(tensor)) for tensor in header.tensors
        ),
        weight_bytes=sum(tensor.size_bytes for tensor in header.tensors),
        active_bytes=_active_bytes(header, experts, used),
        quantisation=_quantisation(header),
        experts=experts,
        experts_used=used,
        sliding_window=window(fields),
        memory=memory(fields),
    )


def _feed_forward(fields: Fields) -> int:
    return fields.number("feed_forward_length") or fields.number("expert_feed_forward_length")


def _vocabulary(header: Header, fields: Fields) -> int:
    for tensor in header.tensors:
        if tensor.name == "token_embd.weight" and len(tensor.dims) > 1:
            return tensor.dims[1]
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    return tokens.count if isinstance(tokens, Array) else fields.number("vocab_size")


def _weights(tensor: Tensor) -> int:
    return math.prod(tensor.dims)


def _share(tensor: Tensor, experts: int, used: int, amount: int) -> int:
    """What of an amount one token meets: the chosen experts' part of a stack of experts."""
    if experts and used and EXPERTS.fullmatch(tensor.name):
        return amount * min(used, experts) // experts
    return amount


def _active_bytes(header: Header, experts: int, used: int) -> int:
    has_head = any(tensor.name == "output.weight" for tensor in header.tensors)
    total = 0
    for tensor in header.tensors:
        is_head = tensor.name == "token_embd.weight" and not has_head
        if is_head or not LOOKED_UP.fullmatch(tensor.name):
            total += _share(tensor, experts, used, tensor.size_bytes)
    return total


def _quantisation(header: Header) -> str:
    """What the file calls its quantisation, or the type that most of its bytes have."""
    kind = header.metadata.get("general.file_type")
    if isinstance(kind, int) and kind & ~GUESSED in FILE_TYPES:
        return FILE_TYPES[kind & ~GUESSED]
    sizes: dict[str, int] = {}
    for tensor in header.tensors:
        sizes[tensor.type] = sizes.get(tensor.type, 0) + tensor.size_bytes
    return max(sizes, key=lambda name: sizes[name], default="unknown")
