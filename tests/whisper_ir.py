"""Writes a Whisper as an OpenVINO folder, the way Optimum lays one out.

`whisper_ir.py OUT` writes a tiny one of random weights; `whisper_ir.py OUT FOLDER` writes the real
one whose CTranslate2 files (model.bin, config.json, vocabulary.txt, tokenizer.json) lie in FOLDER.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino.opset13 as ops
from openvino_tokenizers.tokenizer_pipeline import (
    BPETokenizationStep,
    BytesToCharsStep,
    CharsToBytesStep,
    CombineSegmentsStep,
    PaddingStep,
    RegexSplitStep,
    Sequence,
    SpecialTokensSplit,
    TokenizerPipeline,
    UTF8ValidateStep,
    VocabDecoderStep,
)
from openvino_tokenizers.utils import change_inputs_type, change_outputs_type

AUDIO_PLACES, MELS, TEXT_PLACES = 1500, 80, 448
CT2_TYPES = [np.float32, np.int8, np.int16, np.int32, np.float16]  # include/ctranslate2/types.h
Weights = dict[str, np.ndarray]


class Graph:
    """Whisper's arithmetic on weights that have CTranslate2's names."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def constant(self, name: str) -> Any:
        return ops.constant(self._weights[name].astype(np.float32))

    def linear(self, x: Any, name: str) -> Any:
        y = ops.matmul(x, self.constant(f"{name}/weight"), False, True)
        bias = f"{name}/bias"
        return ops.add(y, self.constant(bias)) if bias in self._weights else y

    def norm(self, x: Any, name: str) -> Any:
        axes = ops.constant(np.array([-1], np.int64))
        x = ops.mvn(x, axes, True, 1e-5, "inside_sqrt")
        x = ops.multiply(x, self.constant(f"{name}/gamma"))
        return ops.add(x, self.constant(f"{name}/beta"))

    def feed_forward(self, x: Any, name: str) -> Any:
        y = self.linear(self.norm(x, f"{name}/layer_norm"), f"{name}/linear_0")
        return ops.add(x, self.linear(ops.gelu(y, "erf"), f"{name}/linear_1"))

    def heads(self, x: Any, parts: int, heads: int) -> list[Any]:
        """[batch, places, parts * width] to parts of [batch, heads, places, size]."""
        split = ops.split(x, 2, parts).outputs() if parts > 1 else [x]
        shape = ops.constant(np.array([0, 0, heads, -1], np.int64))
        order = ops.constant(np.array([0, 2, 1, 3], np.int64))
        return [ops.transpose(ops.reshape(part, shape, True), order) for part in split]

    def joined(self, x: Any) -> Any:
        x = ops.transpose(x, ops.constant(np.array([0, 2, 1, 3], np.int64)))
        return ops.reshape(x, ops.constant(np.array([0, 0, -1], np.int64)), True)

    def count(self, prefix: str) -> int:
        found = {name.split("/")[1] for name in self._weights if name.startswith(prefix)}
        return sum(name.removeprefix("layer_").isdigit() for name in found)


def encoder(weights: Weights, heads: int) -> ov.Model:
    graph = Graph(weights)
    features = ops.parameter([-1, weights["encoder/conv1/weight"].shape[1], -1], np.float32)
    x = features
    for name, stride in (("conv1", 1), ("conv2", 2)):
        x = ops.convolution(x, graph.constant(f"encoder/{name}/weight"), [stride], [1], [1], [1])
        bias = weights[f"encoder/{name}/bias"].astype(np.float32).reshape(1, -1, 1)
        x = ops.gelu(ops.add(x, ops.constant(bias)), "erf")
    x = ops.transpose(x, ops.constant(np.array([0, 2, 1], np.int64)))
    x = ops.add(x, graph.constant("encoder/position_encodings/encodings"))
    for layer in range(graph.count("encoder/layer_")):
        at = f"encoder/layer_{layer}"
        y = graph.norm(x, f"{at}/self_attention/layer_norm")
        q, k, v = graph.heads(graph.linear(y, f"{at}/self_attention/linear_0"), 3, heads)
        y = graph.joined(ops.scaled_dot_product_attention(q, k, v))
        x = ops.add(x, graph.linear(y, f"{at}/self_attention/linear_1"))
        x = graph.feed_forward(x, f"{at}/ffn")
    x = graph.norm(x, "encoder/layer_norm")
    return _model([x], ["last_hidden_state"], [features], ["input_features"])


def decoder(weights: Weights, heads: int) -> ov.Model:
    """The decoder with its keys and values as states, as Optimum exports it."""
    graph = Graph(weights)
    width = weights["decoder/embeddings/weight"].shape[1]
    tokens = ops.parameter([-1, -1], np.int64)
    heard = ops.parameter([-1, -1, width], np.float32)
    beams = ops.parameter([-1], np.int32)
    zero, one = ops.constant(np.int64(0)), ops.constant(np.int64(1))
    batch = ops.gather(ops.shape_of(tokens), ops.constant(np.array([0])), zero)
    empty = ops.broadcast(
        ops.constant(np.float32(0)),
        ops.concat([batch, ops.constant(np.array([heads, 0, width // heads]))], 0),
    )
    sinks: list[Any] = []

    def remembered(new: Any, name: str) -> tuple[Any, Any]:
        kept = ops.read_value(empty, name, np.float32, [-1, heads, -1, width // heads])
        kept = ops.gather(kept, beams, zero)
        both = ops.concat([kept, new], 2)
        sinks.append(ops.assign(both, name))
        return both, kept

    def places(x: Any) -> Any:
        return ops.gather(ops.shape_of(x), ops.constant(np.int64(2)), zero)

    x = ops.gather(graph.constant("decoder/embeddings/weight"), tokens, zero)
    mask = at_place = None
    all_seen = ops.constant(np.zeros((1, 1, 1, 1), np.float32))  # times of words need a mask here
    for layer in range(graph.count("decoder/layer_")):
        at = f"decoder/layer_{layer}"
        if layer == 0:
            # How much is remembered is known from the first layer's keys.
            probe = ops.gather(
                ops.read_value(empty, "0.key", np.float32, [-1, heads, -1, width // heads]),
                beams,
                zero,
            )
            past = places(probe)
            new = ops.gather(ops.shape_of(tokens), ops.constant(np.int64(1)), zero)
            total = ops.add(past, new)
            at_place = ops.range(past, total, one, "i64")
            x = ops.add(
                x,
                ops.gather(graph.constant("decoder/position_encodings/encodings"), at_place, zero),
            )
            columns = ops.range(zero, total, one, "i64")
            sees = ops.less_equal(ops.unsqueeze(columns, zero), ops.unsqueeze(at_place, one))
            mask = ops.select(sees, ops.constant(np.float32(0)), ops.constant(np.float32(-65504)))
        y = graph.norm(x, f"{at}/self_attention/layer_norm")
        q, k, v = graph.heads(graph.linear(y, f"{at}/self_attention/linear_0"), 3, heads)
        if layer == 0:
            k_all = ops.concat([probe, k], 2)
            sinks.append(ops.assign(k_all, "0.key"))
        else:
            k_all, _ = remembered(k, f"{layer}.key")
        v_all, _ = remembered(v, f"{layer}.value")
        y = graph.joined(ops.scaled_dot_product_attention(q, k_all, v_all, mask))
        x = ops.add(x, graph.linear(y, f"{at}/self_attention/linear_1"))
        y = graph.norm(x, f"{at}/attention/layer_norm")
        (q,) = graph.heads(graph.linear(y, f"{at}/attention/linear_0"), 1, heads)
        k, v = graph.heads(graph.linear(heard, f"{at}/attention/linear_1"), 2, heads)
        crossed = ops.scaled_dot_product_attention(q, k, v, all_seen)
        crossed.set_friendly_name(f"layers.{layer}.encoder_attn")  # the pipeline looks for it
        y = graph.joined(crossed)
        x = ops.add(x, graph.linear(y, f"{at}/attention/linear_2"))
        x = graph.feed_forward(x, f"{at}/ffn")
    x = graph.norm(x, "decoder/layer_norm")
    logits = ops.matmul(x, graph.constant("decoder/embeddings/weight"), False, True)
    inputs = ["input_ids", "encoder_hidden_states", "beam_idx"]
    return _model([logits], ["logits"], [tokens, heard, beams], inputs, sinks)


def _model(
    outputs: list[Any], out: list[str], inputs: list[Any], into: list[str], sinks: Any = ()
) -> ov.Model:
    results = [ops.result(output) for output in outputs]
    for result, name in zip(results, out, strict=True):
        result.output(0).get_tensor().set_names({name})
        result.input(0).get_source_output().get_tensor().set_names({name})
    for parameter, name in zip(inputs, into, strict=True):
        parameter.set_friendly_name(name)
        parameter.output(0).get_tensor().set_names({name})
    return ov.Model(results, list(sinks), inputs, "whisper")


def read_ct2(path: Path) -> Weights:
    """The tensors of a CTranslate2 model.bin (version 6)."""
    with path.open("rb") as file:

        def number(form: str) -> int:
            return int(struct.unpack(f"<{form}", file.read(struct.calcsize(form)))[0])

        def text() -> str:
            return file.read(number("H"))[:-1].decode()

        assert (number("I"), text()) == (6, "WhisperSpec")
        number("I")  # the specification's revision
        weights = {}
        for _ in range(number("I")):
            name = text()
            shape = [number("I") for _ in range(number("B"))]
            kind, size = CT2_TYPES[number("B")], number("I")
            weights[name] = np.frombuffer(file.read(size), kind).reshape(shape)
    return weights


def tokenizers(
    tokens: list[str], merges: list[Any], special: dict[str, int]
) -> tuple[ov.Model, ov.Model]:
    """Byte-level BPE: text to tokens and back."""
    pipeline = TokenizerPipeline()
    pipeline.add_steps(SpecialTokensSplit.from_string_iter(special))
    pipeline.add_steps(RegexSplitStep.byte_level_splitter())
    pipeline.add_steps(BytesToCharsStep())
    pipeline.add_steps(BPETokenizationStep(tokens, merges, added_tokens=dict(special)))
    pipeline.vocab = pipeline[-1].vocab
    pipeline.add_steps(CombineSegmentsStep([Sequence()]))
    pipeline.add_steps(PaddingStep(token="<|endoftext|>", _token_id=special["<|endoftext|>"]))
    pipeline.add_steps(VocabDecoderStep(skip_tokens=sorted(special.values())))
    pipeline.add_steps(CharsToBytesStep())
    pipeline.add_steps(UTF8ValidateStep())
    there, back = pipeline.get_tokenizer_ov_subgraph(), pipeline.get_detokenizer_ov_subgraph()
    change_outputs_type(there, ov.Type.i64)
    change_inputs_type(back, ov.Type.i64)
    return there, back
