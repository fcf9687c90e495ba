"""How the two large structs of llama.h lie in memory, for the pinned wheel or another build.

Nothing tells the layout of a C struct at run time, and versions differ by a field here and there.
A library built on this machine brings a file `layout.json` beside it, printed by a small C program
that was compiled with the very header: size and offset of the fields that are used here.

    {"version": "…", "model_params": {"size": 72, "fields": {"n_gpu_layers": [16, "i32"], …}},
                     "context_params": {"size": 136, "fields": {"n_ctx": [0, "u32"], …}}}
"""

from __future__ import annotations

import ctypes as c
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from haneul.engine.worker.stepper import CannotServe

FILE = "layout.json"
SIZE_MAX = 4096
_KINDS: dict[str, Any] = {"i32": c.c_int32, "u32": c.c_uint32, "f32": c.c_float, "bool": c.c_bool}
_KINDS |= {"pointer": c.c_void_p, "size": c.c_size_t}

# name: kind, default value; in the order of build 11549
_MODEL: dict[str, tuple[str, Any]] = {
    "devices": ("pointer", None),
    "tensor_buft_overrides": ("pointer", None),
    "n_gpu_layers": ("i32", -1),
    "split_mode": ("i32", 1),
    "load_mode": ("i32", -1),
    "lazy_mode": ("i32", 1),
    "main_gpu": ("i32", 0),
    "tensor_split": ("pointer", None),
    "progress_callback": ("pointer", None),
    "progress_callback_user_data": ("pointer", None),
    "kv_overrides": ("pointer", None),
    "vocab_only": ("bool", False),
    "check_tensors": ("bool", False),
    "use_extra_bufts": ("bool", True),
    "no_host": ("bool", False),
    "no_alloc": ("bool", False),
    "load_mtp": ("bool", False),
}
_CONTEXT: dict[str, tuple[str, Any]] = {
    "n_ctx": ("u32", 512),
    "n_batch": ("u32", 2048),
    "n_ubatch": ("u32", 512),
    "n_seq_max": ("u32", 1),
    "n_rs_seq": ("u32", 0),
    "n_outputs_max": ("u32", 0),
    "n_outputs_max_per_seq": ("u32", 1),
    "n_threads": ("i32", 4),
    "n_threads_batch": ("i32", 4),
    "ctx_type": ("i32", 0),
    "rope_scaling_type": ("i32", -1),
    "pooling_type": ("i32", -1),
    "attention_type": ("i32", -1),
    "flash_attn_type": ("i32", -1),
    "rope_freq_base": ("f32", 0.0),
    "rope_freq_scale": ("f32", 0.0),
    "yarn_ext_factor": ("f32", -1.0),
    "yarn_attn_factor": ("f32", -1.0),
    "yarn_beta_fast": ("f32", -1.0),
    "yarn_beta_slow": ("f32", -1.0),
    "yarn_orig_ctx": ("u32", 0),
    "defrag_thold": ("f32", -1.0),
    "cb_eval": ("pointer", None),
    "cb_eval_user_data": ("pointer", None),
    "type_k": ("i32", 1),
    "type_v": ("i32", 1),
    "moe_cache_size": ("size", 0),
    "abort_callback": ("pointer", None),
    "abort_callback_data": ("pointer", None),
    "embeddings": ("bool", False),
    "offload_kqv": ("bool", True),
    "no_perf": ("bool", True),
    "op_offload": ("bool", True),
    "swa_full": ("bool", True),
    "kv_unified": ("bool", False),
    "samplers": ("pointer", None),
    "n_samplers": ("size", 0),
    "ctx_other": ("pointer", None),
}
# What every library must have; the rest is left at its defaults, wherever it lies.
_MODEL_NEEDED = ["n_gpu_layers", "split_mode", "main_gpu", "vocab_only", "check_tensors"]
_MODEL_NEEDED += ["use_extra_bufts"]
_CONTEXT_NEEDED = ["n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_outputs_max", "n_threads"]
_CONTEXT_NEEDED += ["n_threads_batch", "pooling_type", "flash_attn_type", "type_k", "type_v"]
_CONTEXT_NEEDED += ["embeddings", "offload_kqv", "no_perf", "swa_full", "kv_unified"]


class StructLayout(Struct, frozen=True):
    """Size in bytes; of each field the offset in bytes and the kind."""

    size: int
    fields: dict[str, tuple[int, str]]


class Layout(Struct, frozen=True):
    """Both structs as one library was compiled with them."""

    version: str
    model_params: StructLayout
    context_params: StructLayout


def pinned_layout() -> Layout:
    """The layout of the wheel that this project pins."""
    return Layout("b11549", _in_order(_MODEL), _in_order(_CONTEXT))


def read_layout(file: Path) -> Layout:
    """The layout that lies beside a library. Raises CannotServe."""
    try:
        layout = msgspec.json.decode(file.read_bytes(), type=Layout)
    except (OSError, msgspec.DecodeError) as cause:
        raise CannotServe(f"{file.name} cannot be read: {cause}") from cause
    _check(layout.model_params, _MODEL, _MODEL_NEEDED)
    _check(layout.context_params, _CONTEXT, _CONTEXT_NEEDED)
    return layout


def layout_program() -> str:
    """C source of a program that prints the layout; compile it with the library's own llama.h.

    It does not compile where a field is missing or of another size: then the library does not fit.
    """
    lines = ["#include <stddef.h>", "#include <stdio.h>", '#include "llama.h"', ""]
    structs = (("model", _MODEL, _MODEL_NEEDED), ("context", _CONTEXT, _CONTEXT_NEEDED))
    for struct, known, needed in structs:
        for name in needed:
            size = c.sizeof(_KINDS[known[name][0]])
            what = f"sizeof(((struct llama_{struct}_params *)0)->{name})"
            lines.append(f'_Static_assert({what} == {size}, "{name}");')
    lines += ["", "int main(void) {", '    printf("{\\"version\\": \\"\\"");']
    for struct, known, needed in structs:
        kind = f"struct llama_{struct}_params"
        said = f', \\"{struct}_params\\": {{\\"size\\": %zu, \\"fields\\": {{'
        lines.append(f'    printf("{said}", sizeof({kind}));')
        for place, name in enumerate(needed):
            said = f'{", " if place else ""}\\"{name}\\": [%zu, \\"{known[name][0]}\\"]'
            lines.append(f'    printf("{said}", offsetof({kind}, {name}));')
        lines.append('    printf("}}");')
    return "\n".join([*lines, '    printf("}\\n");', "    return 0;", "}", ""])


def structure(name: str, layout: StructLayout) -> type[c.Structure]:
    """A ctypes structure with those fields at their places, padded to that size."""
    fields: list[tuple[str, Any]] = []
    end = 0
    for field, (offset, kind) in sorted(layout.fields.items(), key=lambda item: item[1][0]):
        if offset > end:
            fields.append((f"_gap{end}", c.c_char * (offset - end)))
        fields.append((field, _KINDS[kind]))
        end = offset + c.sizeof(_KINDS[kind])
    if layout.size > end:
        fields.append((f"_gap{end}", c.c_char * (layout.size - end)))
    made = type(name, (c.Structure,), {"_fields_": fields})
    places = {field: getattr(made, field).offset for field in layout.fields}
    if c.sizeof(made) != layout.size or any(
        places[field] != offset for field, (offset, _) in layout.fields.items()
    ):
        raise CannotServe("The layout of the library's structs is not possible here.")
    return made


def check_model_defaults(read: c.Structure) -> None:
    _check_defaults(read, _MODEL)


def check_context_defaults(read: c.Structure) -> None:
    _check_defaults(read, _CONTEXT)


def _check_defaults(read: c.Structure, known: dict[str, tuple[str, Any]]) -> None:
    """Raises CannotServe where a default is not what it must be: the layout is another one."""
    for name, (_, expected) in known.items():
        if not hasattr(read, name):
            continue
        value = getattr(read, name)
        is_quiet = value in (0, -1) and expected in (0, -1)  # the two words for "as you like"
        if value != expected and not is_quiet:
            raise CannotServe(f"{name} is {value!r} by default: another version of the library.")


def _in_order(known: dict[str, tuple[str, Any]]) -> StructLayout:
    """As a C compiler lays the fields out."""
    fields: dict[str, tuple[int, str]] = {}
    end, widest = 0, 1
    for name, (kind, _) in known.items():
        size = c.sizeof(_KINDS[kind])
        end = -(-end // size) * size
        fields[name] = (end, kind)
        end, widest = end + size, max(widest, size)
    return StructLayout(-(-end // widest) * widest, fields)


def _check(layout: StructLayout, known: dict[str, tuple[str, Any]], needed: list[str]) -> None:
    missing = [name for name in needed if name not in layout.fields]
    if missing:
        raise CannotServe(f"{FILE} lacks {missing[0]}.")
    end = 0
    for name, (offset, kind) in sorted(layout.fields.items(), key=lambda item: item[1][0]):
        if kind not in _KINDS or (name in known and known[name][0] != kind):
            raise CannotServe(f"{FILE} gives {name} the kind {kind!r}.")
        if offset < end:
            raise CannotServe(f"{FILE} has fields that lie on each other at {name}.")
        end = offset + c.sizeof(_KINDS[kind])
    if not end <= layout.size <= SIZE_MAX:
        raise CannotServe(f"{FILE} has a struct of {layout.size} bytes.")
