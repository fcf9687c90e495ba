"""Which format each tensor gets in a file of one type, as llama.cpp chooses it.

A file "in Q4_K_M" holds several formats: what hurts more is kept better. The rules are those of
llama.cpp's llama-quant.cpp (b11549), in its order of tensors; a test holds the choice equal to what
that library itself writes.
"""

from __future__ import annotations

import re
from collections import Counter

from msgspec import Struct

from haneul.base.errors import BrokenFile
from haneul.base.gguf import Header, Tensor
from haneul.base.gguf_types import FILE_TYPES, TENSOR_TYPES

BLOCKS = {form.name: form.block_weights for form in TENSOR_TYPES.values()}
BITS = {form.name: 8 * form.block_bytes / form.block_weights for form in TENSOR_TYPES.values()}
TYPE_NUMBERS = {name: number for number, name in FILE_TYPES.items()}
MAIN = {  # file type -> the format of most of it
    "F32": "F32",
    "F16": "F16",
    "BF16": "BF16",
    "Q8_0": "Q8_0",
    "Q6_K": "Q6_K",
    "Q5_K_M": "Q5_K",
    "Q5_K_S": "Q5_K",
    "Q5_1": "Q5_1",
    "Q5_0": "Q5_0",
    "Q4_K_M": "Q4_K",
    "Q4_K_S": "Q4_K",
    "Q4_1": "Q4_1",
    "Q4_0": "Q4_0",
    "IQ4_NL": "IQ4_NL",
    "IQ4_XS": "IQ4_XS",
    "Q3_K_L": "Q3_K",
    "Q3_K_M": "Q3_K",
    "Q3_K_S": "Q3_K",
    "IQ3_M": "IQ3_S",
    "IQ3_S": "IQ3_S",
    "IQ3_XS": "IQ3_S",
    "IQ3_XXS": "IQ3_XXS",
    "Q2_K": "Q2_K",
    "Q2_K_S": "Q2_K",
    "IQ2_M": "IQ2_S",
    "IQ2_S": "IQ2_XS",
    "IQ2_XS": "IQ2_XS",
    "IQ2_XXS": "IQ2_XXS",
    "IQ1_M": "IQ1_M",
    "IQ1_S": "IQ1_S",
}
PLAIN = ("F32", "F16", "BF16")  # nothing is lost in them that was not lost before
FEWEST = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M")
IN_NEED = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS")  # of an importance matrix
EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")
KEPT: tuple[str, ...] = (
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
)
KEPT += ("per_layer_model_proj", "ssm_conv1d", "shortconv.conv.weight", "attn_rel_b.weight")
KEPT += ("indexer.k_proj.weight", "indexer.q_proj.weight", "time_mix_first.weight")
MIXED = ("w0", "w1", "w2", "v0", "v1", "v2", "a0", "a1", "a2", "g1", "g2")
KEPT += tuple(f"time_mix_{part}.weight" for part in MIXED)
KEPT += ("time_mix_decay_w1.weight", "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight")
KEPT += (".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd")
KEPT += (".patch_merger", "a.rvq.codebook", "mm.a.code_embd")
WHOLE_NUMBERS = ("I8", "I16", "I32", "I64")
KEPT_WHOLE = ("position_embd.weight", "token_types.weight")
# where the rows do not divide into blocks: formats of blocks of 32
SMALLER = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S"), "IQ4_NL"),
    **dict.fromkeys(("IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_K", "Q3_K"), "Q4_0"),
    **{"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"},
}
LAYER = re.compile(r"blk\.(\d+)\.")
PARTS = (  # a part of a tensor's name, and what it is for; the first that fits
    ("attn_qkv.weight", "qkv"),
    ("attn_kv_b.weight", "kv_b"),
    ("attn_v.weight", "v"),
    ("attn_k.weight", "k"),
    ("attn_q.weight", "q"),
    ("attn_output.weight", "attended"),
    ("ffn_up", "up"),
    ("ffn_gate", "gate"),
    ("ffn_down", "down"),
)
VALUES = ("v", "qkv", "kv_b")


class About(Struct, frozen=True, kw_only=True):
    """What of a model the choice depends on."""

    architecture: str
    layers: int
    experts: int
    sharing: int  # heads of queries that share one of keys and values
    is_70b: bool  # by llama.cpp's count
    is_tied: bool  # its embeddings are its output too
    values: int  # tensors that hold values of attention
    is_weighed: bool  # with an importance matrix


def about(header: Header, tensors: list[Tensor], *, is_weighed: bool) -> About:
    """Reads it off a header. `tensors`: those of every part of the model."""
    name = str(header.metadata["general.architecture"])

    def measure(key: str) -> int:
        value = header.metadata.get(f"{name}.{key}", 0)
        first = value[0] if isinstance(value, tuple) and value else value
        return first if isinstance(first, int) else 0

    layers, heads = measure("block_count"), measure("attention.head_count")
    shared = measure("attention.head_count_kv") or heads
    has_80 = layers == 80 and (name in ("qwen2", "deci") or (name == "llama" and heads != shared))
    return About(
        architecture=name,
        layers=layers,
        experts=measure("expert_count"),
        sharing=heads // shared if shared else 0,
        is_70b=has_80,
        is_tied=not any(tensor.name == "output.weight" for tensor in tensors),
        values=sum(_part(tensor.name) in VALUES for tensor in tensors),
        is_weighed=is_weighed,
    )


def in_order(tensors: list[Tensor]) -> list[Tensor]:
    """The order in which llama.cpp goes through them: by layer, then by name."""

    def place(tensor: Tensor) -> tuple[int, bytes]:
        layer = LAYER.match(tensor.name)
        return (int(layer[1]) if layer else -1), tensor.name.encode()

    return sorted(tensors, key=place)


def choose(model: About, tensors: list[Tensor], file_type: str) -> dict[str, str]:
    """The format of each tensor by its name. Raises BrokenFile for a type that is not made here."""
    if file_type not in MAIN:
        raise BrokenFile(f"{file_type} is no type that is made here: {', '.join(MAIN)}.")
    seen: Counter[str] = Counter()
    chosen = {}
    for tensor in in_order(tensors):
        kind = MAIN[file_type]
        if not is_turned(tensor):
            kind = tensor.type
        elif kind not in PLAIN:
            kind = _fitting(tensor, _wish(model, tensor, file_type, seen))
        chosen[tensor.name] = kind
    return chosen


def is_turned(tensor: Tensor) -> bool:
    """Whether the tensor is one that changes its format: a matrix that is worth it."""
    sizes = list(tensor.dims)
    while len(sizes) > 1 and sizes[-1] == 1:
        sizes.pop()
    name = tensor.name
    if len(sizes) < 2 or not name.endswith("weight") or tensor.type in WHOLE_NUMBERS:
        return False
    return name not in KEPT_WHOLE and not any(part in name for part in KEPT)


def needs_importance(name: str, kind: str, file_type: str) -> bool:
    """Whether a tensor in that format is worthless without an importance matrix."""
    if name in EMBEDDINGS or name == "output.weight":
        return False
    return kind in IN_NEED or (kind == "Q2_K" and file_type == "Q2_K_S")


def _part(name: str) -> str:
    if name == "output.weight":
        return "output"
    if name in EMBEDDINGS:
        return "embedding"
    return next((what for part, what in PARTS if part in name), "")


def _fitting(tensor: Tensor, kind: str) -> str:
    width = tensor.dims[0]
    if width % BLOCKS[kind]:
        kind = SMALLER.get(kind, kind)
    return kind if width % BLOCKS[kind] == 0 else "F16"


def _wish(model: About, tensor: Tensor, file_type: str, seen: Counter[str]) -> str:
    """The format before its blocks are tried against the rows. Counts what it has seen."""
    part = _part(tensor.name)
    if part == "output" or (part == "embedding" and model.is_tied):
        return _output(model, tensor, file_type)
    if part == "embedding":
        return _embedding(file_type)
    if file_type in FEWEST:
        return _few(model, part, file_type, seen)
    if part in VALUES:
        kind = _values(model, file_type, seen["values"])
        seen["values"] += 1
        return kind
    if part == "k":
        return _keys(model, file_type)
    if part in ("down", "gate", "up"):
        layer = _layer(model, tensor.name, seen[part])
        seen[part] += 1
        return _down(model, file_type, layer) if part == "down" else _wide(model, file_type, layer)
    if part == "q":
        return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(file_type, MAIN[file_type])
    return _attended(model, file_type) if part == "attended" else MAIN[file_type]


def _layer(model: About, name: str, count: int) -> int:
    if model.experts <= 1:
        return count
    layer = LAYER.match(name)
    if layer is None or int(layer[1]) >= model.layers:
        raise BrokenFile(f"{name} is of no layer of this model.")
    return int(layer[1])


def _is_dear(layer: int, layers: int) -> bool:
    """The first and last eighth of the layers, and each third between."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _output(model: About, tensor: Tensor, file_type: str) -> str:
    kind = MAIN[file_type]
    if model.architecture == "falcon" or tensor.dims[0] % BLOCKS[kind]:
        return "Q8_0"
    if file_type in FEWEST or file_type == "IQ3_XXS":
        return "Q5_K"
    return kind if kind == "Q8_0" else "Q6_K"


def _embedding(file_type: str) -> str:
    if file_type in ("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M"):
        return "Q2_K"
    return "IQ3_S" if file_type in ("IQ2_S", "IQ2_M", "IQ3_XXS") else MAIN[file_type]


def _few(model: About, part: str, file_type: str, seen: Counter[str]) -> str:
    """Files of one and two bits."""
    better = "IQ3_S" if file_type in ("IQ2_S", "IQ2_M") else "Q2_K"
    if part in VALUES:
        return "Q4_K" if model.sharing >= 4 or model.experts >= 4 else better
    if part == "k" and model.experts == 8:
        return "Q4_K"
    if part == "down":
        seen[part] += 1
        return better if seen[part] <= model.layers // 8 else MAIN[file_type]
    if part == "attended":
        if model.experts == 8:
            return "Q5_K"
        if file_type in ("IQ1_S", "IQ1_M"):
            return "IQ2_XXS"
        return "IQ3_S" if file_type in ("IQ2_S", "IQ2_M") else MAIN[file_type]
    return MAIN[file_type]


def _values(model: About, file_type: str, count: int) -> str:
    kind = MAIN[file_type]
    shares = model.sharing >= 4
    if file_type == "Q2_K":
        kind = "Q4_K" if shares else "Q3_K"
    elif file_type == "IQ3_XXS":
        kind = "Q4_K" if shares else kind if model.is_weighed else "IQ3_S"
    elif (file_type in ("Q2_K_S", "IQ3_XS", "IQ3_S") and shares) or file_type == "IQ3_M":
        kind = "Q4_K"
    elif file_type == "Q3_K_M":
        kind = "Q5_K" if count < 2 else "Q4_K"
    elif file_type == "Q3_K_L" or (file_type in ("IQ4_NL", "IQ4_XS") and shares):
        kind = "Q5_K"
    elif file_type in ("Q4_K_M", "Q5_K_M") and _is_dear(count, model.values):
        kind = "Q6_K"
    elif file_type == "Q4_K_S" and count < 4:
        kind = "Q5_K"
    if model.is_70b and kind in ("Q3_K", "Q4_K"):
        kind = "Q5_K"
    return "Q8_0" if model.experts == 8 else kind


def _keys(model: About, file_type: str) -> str:
    if model.experts == 8:
        return "Q8_0"
    return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(file_type, MAIN[file_type])


def _down(model: About, file_type: str, layer: int) -> str:
    kind, layers = MAIN[file_type], model.layers
    is_falcon, is_dear = model.architecture == "falcon", _is_dear(layer, layers)
    is_early = layer < layers // 8
    if file_type == "Q2_K":
        return "Q3_K"
    if file_type == "Q2_K_S":
        return "Q4_K" if is_early else kind
    if file_type == "IQ3_XXS":
        return kind if model.is_weighed else "Q4_K" if is_early else "Q3_K"
    if file_type == "Q3_K_M":
        if layer < layers // 16:
            return "Q5_K"
        return "Q4_K" if not is_falcon or is_dear else "Q3_K"
    if file_type == "IQ3_M":
        return "Q4_K" if is_early or (model.experts == 8 and is_dear) else kind
    if file_type == "Q3_K_L":
        return "Q4_K" if is_falcon else "Q5_K"
    if file_type == "Q4_K_M" and is_falcon:
        return "Q6_K" if layer < layers // 16 else "Q5_K" if is_dear else "Q4_K"
    if file_type in ("Q4_K_M", "Q5_K_M"):
        return "Q6_K" if is_dear else kind
    if file_type in ("IQ4_NL", "IQ4_XS"):
        return "Q5_K" if is_early and not model.is_weighed else kind
    if file_type == "Q4_K_S":
        return "Q5_K" if is_early and not is_falcon else kind
    if file_type in ("Q4_0", "Q5_0") and model.is_weighed and is_early:
        return "Q4_1" if file_type == "Q4_0" else "Q5_1"
    return kind


def _wide(model: About, file_type: str, layer: int) -> str:
    is_middle = model.layers // 8 <= layer < 7 * model.layers // 8
    return "IQ3_XXS" if file_type == "IQ3_XS" and is_middle else MAIN[file_type]


def _attended(model: About, file_type: str) -> str:
    if model.architecture == "falcon":
        return "Q4_K" if file_type == "Q3_K_L" else MAIN[file_type]
    if model.experts == 8:
        gains = ("Q2_K", "IQ3_XS", "IQ3_XXS", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M")
        is_gaining = file_type in (*gains, "IQ3_S", "IQ3_M", "IQ4_XS")
        return "Q5_K" if is_gaining else MAIN[file_type]
    better = {"Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K"}
    return {**better, "IQ3_M": "Q4_K"}.get(file_type, MAIN[file_type])
