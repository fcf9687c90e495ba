"""libllama's C API through ctypes: its functions, and proof that our structs are its structs.

A wrong layout shifts every later field in silence. So the library's own default values are read
back through our layout and must be what llama.h says they are; else the library is refused and
another kernel does the work.
"""

from __future__ import annotations

import ctypes as c
import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

from haneul.engine.libllama.layout import (
    FILE,
    Layout,
    check_context_defaults,
    check_model_defaults,
    pinned_layout,
    structure,
)
from haneul.engine.libllama.layout import layout_program as layout_program
from haneul.engine.libllama.layout import read_layout as read_layout
from haneul.engine.worker.stepper import CannotServe

WARN, ERROR = 3, 4  # llama.cpp's levels; 5 goes on with the line before
_SAID_MAX = 20


class ChainParameters(c.Structure):
    """llama_sampler_chain_params."""

    _fields_ = (("no_perf", c.c_bool),)


class Batch(c.Structure):
    """llama_batch: so many tokens, each with position, sequence, and whether its logits count."""

    _fields_ = (
        ("n_tokens", c.c_int32),
        ("token", c.c_void_p),
        ("embd", c.c_void_p),
        ("pos", c.c_void_p),
        ("n_seq_id", c.c_void_p),
        ("seq_id", c.c_void_p),
        ("logits", c.c_void_p),
    )


class Candidate(c.Structure):
    """llama_token_data."""

    _fields_ = (("id", c.c_int32), ("logit", c.c_float), ("p", c.c_float))


class Candidates(c.Structure):
    """llama_token_data_array."""

    _fields_ = (
        ("data", c.c_void_p),
        ("size", c.c_size_t),
        ("selected", c.c_int64),
        ("is_sorted", c.c_bool),
    )


Log = c.CFUNCTYPE(None, c.c_int32, c.c_char_p, c.c_void_p)
_P, _I, _F, _B, _Z = c.c_void_p, c.c_int32, c.c_float, c.c_bool, c.c_size_t
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {  # llama_… -> (result, arguments)
    "version": (c.c_char_p, ()),
    "backend_init": (None, ()),
    "log_set": (None, (Log, _P)),
    "model_free": (None, (_P,)),
    "model_get_vocab": (_P, (_P,)),
    "model_n_ctx_train": (_I, (_P,)),
    "model_n_embd": (_I, (_P,)),
    "model_n_params": (c.c_uint64, (_P,)),
    "model_size": (c.c_uint64, (_P,)),
    "model_rope_type": (_I, (_P,)),
    "model_has_encoder": (_B, (_P,)),
    "model_is_recurrent": (_B, (_P,)),
    "model_is_hybrid": (_B, (_P,)),
    "model_is_diffusion": (_B, (_P,)),
    "model_meta_val_str": (_I, (_P, c.c_char_p, c.c_char_p, _Z)),
    "model_chat_template": (c.c_char_p, (_P, c.c_char_p)),
    "free": (None, (_P,)),
    "n_ctx": (c.c_uint32, (_P,)),
    "n_batch": (c.c_uint32, (_P,)),
    "n_seq_max": (c.c_uint32, (_P,)),
    "set_n_threads": (None, (_P, _I, _I)),
    "get_memory": (_P, (_P,)),
    "memory_clear": (None, (_P, _B)),
    "memory_seq_cp": (None, (_P, _I, _I, _I, _I)),
    "memory_seq_rm": (_B, (_P, _I, _I, _I)),
    "memory_seq_pos_max": (_I, (_P, _I)),
    "state_seq_get_size": (_Z, (_P, _I)),
    "state_seq_get_data": (_Z, (_P, c.POINTER(c.c_uint8), _Z, _I)),
    "state_seq_set_data": (_Z, (_P, c.POINTER(c.c_uint8), _Z, _I)),
    "decode": (_I, (_P, Batch)),
    "get_logits": (_P, (_P,)),
    "get_logits_ith": (_P, (_P, _I)),
    "get_embeddings_seq": (_P, (_P, _I)),
    "adapter_lora_init": (_P, (_P, c.c_char_p)),
    "adapter_lora_free": (None, (_P,)),
    "set_adapters_lora": (_I, (_P, c.POINTER(_P), _Z, c.POINTER(_F))),
    "vocab_n_tokens": (_I, (_P,)),
    "vocab_is_eog": (_B, (_P, _I)),
    "vocab_get_attr": (_I, (_P, _I)),
    "vocab_bos": (_I, (_P,)),
    "vocab_eos": (_I, (_P,)),
    "vocab_get_add_bos": (_B, (_P,)),
    "vocab_get_text": (c.c_char_p, (_P, _I)),
    "tokenize": (_I, (_P, c.c_char_p, _I, c.POINTER(_I), _I, _B, _B)),
    "token_to_piece": (_I, (_P, _I, c.c_char_p, _I, _I, _B)),
    "detokenize": (_I, (_P, c.POINTER(_I), _I, c.c_char_p, _I, _B, _B)),
    "sampler_chain_default_params": (ChainParameters, ()),
    "sampler_chain_init": (_P, (ChainParameters,)),
    "sampler_chain_add": (None, (_P, _P)),
    "sampler_init_dist": (_P, (c.c_uint32,)),
    "sampler_init_top_k": (_P, (_I,)),
    "sampler_init_top_p": (_P, (_F, _Z)),
    "sampler_init_min_p": (_P, (_F, _Z)),
    "sampler_init_temp": (_P, (_F,)),
    "sampler_init_penalties": (_P, (_I, _I, _F, _F, _F)),
    "sampler_accept": (None, (_P, _I)),
    "sampler_apply": (None, (_P, c.POINTER(Candidates))),
    "sampler_free": (None, (_P,)),
}


class Library:
    """The functions by their names without `llama_`: `library.decode(context, batch)`."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self.layout = layout
        self.said: list[str] = []  # the library's last warnings and errors
        try:
            self.raw = c.CDLL(str(path))
        except OSError as cause:
            raise CannotServe(f"{path.name} cannot be loaded.") from cause
        model = structure("ModelParameters", layout.model_params)
        context = structure("ContextParameters", layout.context_params)
        own: dict[str, tuple[Any, tuple[Any, ...]]] = {
            "model_default_params": (model, ()),
            "context_default_params": (context, ()),
            "model_load_from_file": (_P, (c.c_char_p, model)),
            "init_from_model": (_P, (_P, context)),
        }
        for name, (result, arguments) in {**_FUNCTIONS, **own}.items():
            try:
                function = getattr(self.raw, f"llama_{name}")
            except AttributeError as cause:
                raise CannotServe(f"{path.name} has no llama_{name}.") from cause
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)
        check_model_defaults(self.model_default_params())
        check_context_defaults(self.context_default_params())
        self._log = Log(self._hear)  # kept: C holds only its address
        self.log_set(self._log, None)
        self.backend_init()
        self.name = layout.version or self.version().decode()  # for people

    def __getattr__(self, name: str) -> Any:  # what setattr above has put there, for the types
        raise AttributeError(name)

    def reason(self, file: Path) -> str:
        """Why the last thing failed, in the library's words, without the place of the file."""
        marker = "error loading model: "
        for line in reversed(self.said):
            if marker in line:
                return line.partition(marker)[2].replace(f"{file.parent}/", "")
        return self.said[-1].replace(f"{file.parent}/", "") if self.said else "no reason given"

    def _hear(self, level: int, text: bytes, _: Any) -> None:
        if level in (WARN, ERROR):
            self.said.append(text.decode(errors="replace").strip())
            del self.said[:-_SAID_MAX]
            if level == ERROR:
                print(self.said[-1], file=sys.stderr, flush=True)


@cache
def open_library(path: Path | None = None) -> Library:
    """The library at that path, with the layout beside it; without one, the pinned wheel's.

    One for each path in a process: C holds the address of its log. Raises CannotServe.
    """
    if path is None:
        return Library(wheel_path(), pinned_layout())
    return Library(path, read_layout(path.parent / FILE))


def wheel_path() -> Path:
    """Where the wheel keeps the library. Raises CannotServe."""
    found = importlib.util.find_spec("xllamacpp")
    for folder in (found.submodule_search_locations or []) if found else []:
        for path in sorted(Path(folder).glob("xllamacpp*.so")):
            return path
    raise CannotServe("The xllamacpp wheel is not installed.")
