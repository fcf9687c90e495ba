"""Holds our quantising against llama.cpp's own `llama_model_quantize`: formats and bytes.

    python bench/formats.py LIBRARY [--write]

LIBRARY is a libllama.so that has the function (the pinned wheel's has not), such as the one that
`haneul engine build` makes. Small models of seven makes are written; for each file type the library
says which format each tensor gets (its dry run) and that is compared with ours, with and without an
importance matrix; for some types both write the file and its bytes are compared. `--write` keeps
the choices in tests/golden/formats.json, which a test holds ours against without the library.
"""

from __future__ import annotations

import argparse
import ctypes as c
import hashlib
import itertools
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from haneul.engine.derive.gguf_copy import Source
from haneul.engine.derive.mix import MAIN, TYPE_NUMBERS, about, choose, in_order
from haneul.engine.derive.quantise import quantise

GOLDEN = Path(__file__).parent.parent / "tests" / "golden" / "formats.json"
COMPARED = ("Q8_0", "Q4_0", "Q4_K_M", "Q6_K", "Q3_K_M", "IQ4_XS", "IQ3_M", "IQ2_XS", "BF16")
SAID = re.compile(r"\[ *\d+/ *\d+\] +(\S+) +- \[[^\]]*\], type = +(\w+), (.*?)(?=\[ *\d+/|$)", re.S)
WORDS = 32
MODELS: dict[str, dict[str, Any]] = {
    "tied": {"arch": "llama", "layers": 9, "heads": 8, "shared": 2, "is_tied": True},
    "many heads": {"arch": "llama", "layers": 16, "heads": 4, "shared": 4},
    "odd rows": {"arch": "llama", "layers": 8, "heads": 8, "shared": 2, "width": 288, "ff": 320},
    "eight experts": {"arch": "llama", "layers": 8, "heads": 8, "shared": 2, "experts": 8},
    "four experts": {"arch": "qwen3moe", "layers": 8, "heads": 4, "shared": 2, "experts": 4},
    "falcon": {"arch": "falcon", "layers": 16, "heads": 4, "shared": 1},
    "80 layers": {"arch": "llama", "layers": 80, "heads": 8, "shared": 2},
}


class Weights(c.Structure):
    """llama_model_imatrix_data."""

    _fields_ = (("name", c.c_char_p), ("data", c.POINTER(c.c_float)), ("size", c.c_size_t))


class Options(c.Structure):
    """llama_model_quantize_params."""

    _fields_ = (
        *((name, c.c_int32) for name in ("threads", "ftype", "output", "embedding")),
        *((name, c.c_bool) for name in ("allow", "output_too", "copy", "pure", "split", "dry")),
        *((name, c.c_void_p) for name in ("imatrix", "overrides", "types", "prune")),
        ("buffer", c.c_size_t),
    )


class Theirs:
    """The library's own quantising."""

    def __init__(self, path: Path) -> None:
        self._raw = c.CDLL(str(path))
        self._raw.llama_model_quantize_default_params.restype = Options
        self._raw.llama_model_quantize.argtypes = (c.c_char_p, c.c_char_p, c.POINTER(Options))
        self._said: list[str] = []
        kind = c.CFUNCTYPE(None, c.c_int32, c.c_char_p, c.c_void_p)
        self._log = kind(lambda level, text, _: self._said.append(text.decode(errors="replace")))
        self._raw.llama_log_set(self._log, None)

    def write(
        self, source: Path, target: Path, file_type: str, weights: dict[str, Any], *, dry: bool
    ) -> str:
        """What it says; raises RuntimeError where it fails."""
        options = self._raw.llama_model_quantize_default_params()
        options.threads, options.ftype = 1, TYPE_NUMBERS[file_type]
        options.dry, options.allow = dry, True
        kept = [(c.c_float * len(values))(*values) for values in weights.values()]
        array = (Weights * (len(kept) + 1))()
        for place, (name, data) in enumerate(zip(weights, kept, strict=True)):
            array[place] = Weights(name.encode(), c.cast(data, c.POINTER(c.c_float)), len(data))
        if weights:
            options.imatrix = c.cast(array, c.c_void_p)
        self._said.clear()
        arguments = str(source).encode(), str(target).encode(), c.byref(options)
        if self._raw.llama_model_quantize(*arguments):
            raise RuntimeError("".join(self._said)[-500:])
        return "".join(self._said)

    def formats(self, source: Path, file_type: str, weights: dict[str, Any]) -> dict[str, str]:
        """Which format it would give each tensor, in its order."""
        found = {}
        for name, old, rest in SAID.findall(
            self.write(source, Path("/dev/null"), file_type, weights, dry=True)
        ):
            new = re.search(r"MiB \((\w+)\)", rest)
            found[name] = (new[1] if new else old).upper()
        return found


def shapes_of(make: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The tensors of such a model, slowest dimension first."""
    width, ff, experts = make.get("width", 256), make.get("ff", 256), make.get("experts", 0)
    head, shared = width // make["heads"], make["shared"]
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (WORDS, width), "output_norm": (width,)}
    if not make.get("is_tied"):
        shapes["output"] = (WORDS, width)
    for layer in range(make["layers"]):
        at = f"blk.{layer}."
        shapes |= {f"{at}attn_norm": (width,), f"{at}ffn_norm": (width,)}
        if make["arch"] == "falcon":
            shapes[f"{at}attn_qkv"] = (width + 2 * shared * head, width)
        else:
            shapes[f"{at}attn_q"] = (width, width)
            shapes |= {f"{at}attn_{name}": (shared * head, width) for name in "kv"}
        shapes[f"{at}attn_output"] = (width, width)
        end, more = ("_exps", (experts,)) if experts else ("", ())
        if experts:
            shapes[f"{at}ffn_gate_inp"] = (experts, width)
        shapes |= {f"{at}ffn_{name}{end}": (*more, ff, width) for name in ("gate", "up")}
        shapes[f"{at}ffn_down{end}"] = (*more, width, ff)
    return {f"{name}.weight": shape for name, shape in shapes.items()}


def measures_of(make: dict[str, Any]) -> dict[str, int]:
    """What the file says of the architecture."""
    width, experts = make.get("width", 256), make.get("experts", 0)
    said = {
        "block_count": make["layers"],
        "context_length": 128,
        "embedding_length": width,
        "feed_forward_length": make.get("ff", 256),
        "attention.head_count": make["heads"],
        "attention.head_count_kv": make["shared"],
        "rope.dimension_count": width // make["heads"],
    }
    if experts:
        said |= {"expert_count": experts, "expert_used_count": 2}
        said["expert_feed_forward_length"] = make.get("ff", 256)
    return {f"{make['arch']}.{key}": value for key, value in said.items()}


def write_model(path: Path, make: dict[str, Any]) -> None:
    """A model of random weights in F16."""
    random = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, make["arch"])
    for key, value in measures_of(make).items():
        writer.add_uint32(key, value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_layer_norm_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"<{word}>" for word in range(WORDS)])
    writer.add_token_scores([0.0] * WORDS)
    writer.add_token_types([1] * WORDS)
    for name, shape in shapes_of(make).items():
        weights = random.standard_normal(shape) * 0.05
        writer.add_tensor(name, weights.astype(np.float16 if len(shape) > 1 else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def digest(formats: list[str]) -> str:
    """A short name of a list of formats."""
    return hashlib.sha256(" ".join(formats).encode()).hexdigest()[:16]


def contents(path: Path) -> dict[str, bytes]:
    """The bytes of every tensor of a file."""
    return {tensor.name: tensor.data.tobytes() for tensor in gguf.GGUFReader(path).tensors}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", type=Path)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    theirs, golden, wrong = Theirs(given.library), {}, 0
    with tempfile.TemporaryDirectory() as scratch:
        for name, make in MODELS.items():
            path = Path(scratch) / "model.gguf"
            write_model(path, make)
            source = Source([path])
            golden[name] = {}
            one = {source.tensors[0].name: [1.0] * source.tensors[0].dims[0]}
            for file_type, is_weighed in itertools.product(MAIN, (False, True)):
                found = theirs.formats(path, file_type, one if is_weighed else {})
                model = about(source.header, source.tensors, is_weighed=is_weighed)
                ours = choose(model, source.tensors, file_type)
                wrong += sum(ours[tensor] != kind for tensor, kind in found.items())
                assert list(found) == [tensor.name for tensor in in_order(source.tensors)]
                mark = f"{file_type} weighed" if is_weighed else file_type
                golden[name][mark] = digest(list(found.values()))
            if name == "tied":
                wrong += compare(theirs, path, Path(scratch))
            source.close()
    print(f"{wrong} formats or tensors differ")
    if given.write:
        GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
    return int(wrong > 0)


def compare(theirs: Theirs, path: Path, scratch: Path) -> int:
    """Tensors whose bytes differ between the library's file and ours."""
    random = np.random.default_rng(5)
    shapes = {one.name: one.shape for one in gguf.GGUFReader(path).tensors}
    weights = {
        name: (random.random(int(shape[0])) + 0.1).astype(np.float32)
        for name, shape in shapes.items()
        if len(shape) > 1
    }
    wrong = 0
    for file_type in COMPARED:
        one, other = scratch / "theirs.gguf", scratch / "ours.gguf"
        theirs.write(path, one, file_type, weights, dry=False)
        quantise([path], other, file_type, importance=weights, made_from="-")
        a, b = (
            {t.name: t.data.tobytes() for t in gguf.GGUFReader(f).tensors} for f in (one, other)
        )
        different = [name for name in a if a[name] != b[name]]
        print(f"{file_type}: {len(different)} of {len(a)} tensors differ")
        wrong += len(different)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
