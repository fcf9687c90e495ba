"""Tries a grammar where a bad one does no harm.

The pipeline compiles a grammar in the middle of a step, and one that xgrammar refuses leaves every
sequence of that pipeline stuck for good. So a grammar is first tried on a pipeline of its own, over
a model of one small layer that is written here, and only then given to the real one.
"""

from __future__ import annotations

import re
import struct
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import openvino_genai as genai

from haneul.base.errors import UnsupportedValue
from haneul.base.gguf_types import ARRAY, STRING
from haneul.engine.openvino.pipeline import as_input

KEPT = 1024  # grammars known to be good
WIDTH = 64
TOKENS = ["<|end|>", *(chr(letter) for letter in range(33, 127)), "Ġ", "Ċ", "ab"]
_U32, _F32, _INT32 = 4, 6, 5
_FLOATS, _HALVES = 0, 1  # of tensors: norms are float32, matrices float16


class GrammarCheck:
    """Owns the small pipeline, which is opened when the first grammar comes."""

    def __init__(self) -> None:
        self._pipeline: Any = None
        self._good: OrderedDict[str, None] = OrderedDict()

    def check(self, grammar: str) -> None:
        """Raises UnsupportedValue with xgrammar's reason."""
        if grammar in self._good:
            self._good.move_to_end(grammar)
            return
        if self._pipeline is None:
            self._pipeline = _open()
        given = genai.GenerationConfig()
        given.max_new_tokens = 1
        given.do_sample = False
        form = genai.StructuredOutputConfig()
        form.structural_tags_config = grammar
        given.structured_output_config = form
        try:
            handle = self._pipeline.add_request(1, as_input([1]), given)
            self._pipeline.step()
        except RuntimeError as cause:
            self._pipeline = None  # stuck now; the next check opens another
            raise UnsupportedValue(
                f"This kernel cannot follow that form: {_reason(cause)}", param="response_format"
            ) from cause
        handle.stop()
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()
        self._good[grammar] = None
        if len(self._good) > KEPT:
            self._good.popitem(last=False)


def _open() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "small.gguf"
        file.write_bytes(small_model())
        plan = genai.SchedulerConfig()
        plan.num_kv_blocks = 8
        plan.enable_prefix_caching = False
        plan.cache_size = 0
        # more than one thread and float32: on so small a model OpenVINO 2026.4 else crashes
        properties = {"INFERENCE_PRECISION_HINT": "f32"}
        return genai.ContinuousBatchingPipeline(str(file), plan, "CPU", properties, {})


def small_model() -> bytes:
    """A GGUF file of one layer whose weights are all nought."""
    pairs = [
        _pair("general.architecture", "llama"),
        _pair("general.file_type", 1),
        _pair("llama.block_count", 1),
        _pair("llama.context_length", 4096),
        _pair("llama.embedding_length", WIDTH),
        _pair("llama.feed_forward_length", WIDTH),
        _pair("llama.attention.head_count", 1),
        _pair("llama.attention.head_count_kv", 1),
        _pair("llama.attention.layer_norm_rms_epsilon", 1e-5),
        _pair("tokenizer.ggml.model", "gpt2"),
        _pair("tokenizer.ggml.pre", "default"),
        _pair("tokenizer.ggml.tokens", TOKENS),
        _pair("tokenizer.ggml.token_type", [3] + [1] * (len(TOKENS) - 1)),
        _pair("tokenizer.ggml.merges", ["a b"]),
        _pair("tokenizer.ggml.bos_token_id", 0),
        _pair("tokenizer.ggml.eos_token_id", 0),
    ]
    square = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (WIDTH, len(TOKENS)),
        "output_norm.weight": (WIDTH,),
    }
    shapes |= {f"blk.0.{name}.weight": (WIDTH, WIDTH) for name in square}
    shapes |= {f"blk.0.{name}.weight": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
    head, offset = b"", 0
    for name, shape in shapes.items():
        kind = _HALVES if len(shape) > 1 else _FLOATS
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        size = 2 * WIDTH * shape[1] if len(shape) > 1 else 4 * WIDTH
        offset += -(-size // 32) * 32
    data = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(pairs)) + b"".join(pairs) + head
    return data + bytes(-len(data) % 32) + bytes(offset)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _pair(key: str, value: Any) -> bytes:
    if isinstance(value, str):
        return _text(key) + struct.pack("<I", STRING) + _text(value)
    if isinstance(value, float):
        return _text(key) + struct.pack("<If", _F32, value)
    if isinstance(value, int):
        return _text(key) + struct.pack("<II", _U32, value)
    if isinstance(value[0], str):
        array = struct.pack("<IQ", STRING, len(value)) + b"".join(_text(one) for one in value)
    else:
        array = struct.pack(f"<IQ{len(value)}i", _INT32, len(value), *value)
    return _text(key) + struct.pack("<I", ARRAY) + array


def _reason(cause: RuntimeError) -> str:
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    said = lines[-1] if lines else "no reason given"
    return re.sub(r"^.*\.(cc|h|cpp):\d+: *", "", said)[-300:]  # xgrammar names its source first
