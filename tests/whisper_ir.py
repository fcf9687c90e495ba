"""Writes a Whisper as an OpenVINO folder, the way Optimum lays one out.

`whisper_ir.py OUT` writes a tiny one of random weights that knows three languages;
`whisper_ir.py OUT FOLDER` writes the real one of English whose CTranslate2 files (model.bin,
config.json, tokenizer.json) lie in FOLDER.
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
WIDTH, HEADS, LAYERS = 32, 2, 1  # of the tiny one
LANGUAGES = ("en", "de", "ko")
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
    return named_model([x], ["last_hidden_state"], [features], ["input_features"])


class Memory:
    """Keys and values that stay from step to step, one state each."""

    def __init__(self, batch: Any, heads: int, size: int, beams: Any) -> None:
        self.sinks: list[Any] = []
        self._shape = [-1, heads, -1, size]
        rest = ops.constant(np.array([heads, 0, size]))
        zero = ops.constant(np.float32(0))
        self._empty = ops.broadcast(zero, ops.concat([batch, rest], 0))
        self._beams = beams

    def kept(self, name: str) -> Any:
        kept = ops.read_value(self._empty, name, np.float32, self._shape)
        return ops.gather(kept, self._beams, ops.constant(np.int64(0)))

    def grown(self, kept: Any, new: Any, name: str) -> Any:
        both = ops.concat([kept, new], 2)
        self.sinks.append(ops.assign(both, name))
        return both


def extent(x: Any, axis: int) -> Any:
    """How long the axis is, as a scalar."""
    return ops.gather(ops.shape_of(x), ops.constant(np.int64(axis)), ops.constant(np.int64(0)))


def decoder(weights: Weights, heads: int) -> ov.Model:
    """The decoder with its keys and values as states."""
    graph = Graph(weights)
    embedded = weights["decoder/embeddings/weight"]
    tokens = ops.parameter([-1, -1], np.int64)
    heard = ops.parameter([-1, -1, embedded.shape[1]], np.float32)
    beams = ops.parameter([-1], np.int32)
    zero, one = ops.constant(np.int64(0)), ops.constant(np.int64(1))
    batch = ops.unsqueeze(extent(tokens, 0), zero)
    memory = Memory(batch, heads, embedded.shape[1] // heads, beams)
    first = memory.kept("0.key")
    past = extent(first, 2)
    total = ops.add(past, extent(tokens, 1))
    place = ops.range(past, total, one, "i64")
    columns = ops.range(zero, total, one, "i64")
    sees = ops.less_equal(ops.unsqueeze(columns, zero), ops.unsqueeze(place, one))
    mask = ops.select(sees, ops.constant(np.float32(0)), ops.constant(np.float32(-65504)))
    all_seen = ops.constant(np.zeros((1, 1, 1, 1), np.float32))  # times of words need a mask here
    x = ops.gather(graph.constant("decoder/embeddings/weight"), tokens, zero)
    places = graph.constant("decoder/position_encodings/encodings")
    x = ops.add(x, ops.gather(places, place, zero))
    for layer in range(graph.count("decoder/layer_")):
        at = f"decoder/layer_{layer}"
        y = graph.norm(x, f"{at}/self_attention/layer_norm")
        q, k, v = graph.heads(graph.linear(y, f"{at}/self_attention/linear_0"), 3, heads)
        k = memory.grown(memory.kept(f"{layer}.key") if layer else first, k, f"{layer}.key")
        v = memory.grown(memory.kept(f"{layer}.value"), v, f"{layer}.value")
        y = graph.joined(ops.scaled_dot_product_attention(q, k, v, mask))
        x = ops.add(x, graph.linear(y, f"{at}/self_attention/linear_1"))
        y = graph.norm(x, f"{at}/attention/layer_norm")
        (q,) = graph.heads(graph.linear(y, f"{at}/attention/linear_0"), 1, heads)
        k, v = graph.heads(graph.linear(heard, f"{at}/attention/linear_1"), 2, heads)
        crossed = ops.scaled_dot_product_attention(q, k, v, all_seen)
        crossed.set_friendly_name(f"layers.{layer}.encoder_attn")  # the pipeline looks for it
        x = ops.add(x, graph.linear(graph.joined(crossed), f"{at}/attention/linear_2"))
        x = graph.feed_forward(x, f"{at}/ffn")
    x = graph.norm(x, "decoder/layer_norm")
    logits = ops.matmul(x, graph.constant("decoder/embeddings/weight"), False, True)
    inputs = ["input_ids", "encoder_hidden_states", "beam_idx"]
    return named_model([logits], ["logits"], [tokens, heard, beams], inputs, memory.sinks)


def named_model(
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


def random_weights(vocabulary: int, seed: int = 8) -> Weights:
    """A tiny Whisper; the same seed gives the same weights."""
    random = np.random.default_rng(seed)
    weights: Weights = {}

    def linear(name: str, rows: int, columns: int, scale: float = 0.3) -> None:
        weights[f"{name}/weight"] = random.standard_normal((rows, columns)).astype("f4") * scale
        weights[f"{name}/bias"] = np.zeros(rows, np.float32)

    def norm(name: str) -> None:
        weights[f"{name}/gamma"] = np.ones(WIDTH, np.float32)
        weights[f"{name}/beta"] = np.zeros(WIDTH, np.float32)

    for number, channels in ((1, MELS), (2, WIDTH)):
        kernel = random.standard_normal((WIDTH, channels, 3)).astype("f4")
        weights[f"encoder/conv{number}/weight"] = kernel * 0.2
        weights[f"encoder/conv{number}/bias"] = np.zeros(WIDTH, np.float32)
    for side, places in (("encoder", AUDIO_PLACES), ("decoder", TEXT_PLACES)):
        encodings = random.standard_normal((places, WIDTH)).astype("f4")
        weights[f"{side}/position_encodings/encodings"] = encodings
        norm(f"{side}/layer_norm")
        for layer in range(LAYERS):
            at = f"{side}/layer_{layer}"
            norm(f"{at}/self_attention/layer_norm")
            linear(f"{at}/self_attention/linear_0", 3 * WIDTH, WIDTH)
            linear(f"{at}/self_attention/linear_1", WIDTH, WIDTH)
            if side == "decoder":
                norm(f"{at}/attention/layer_norm")
                linear(f"{at}/attention/linear_0", WIDTH, WIDTH, scale=1.0)
                linear(f"{at}/attention/linear_1", 2 * WIDTH, WIDTH, scale=1.0)
                linear(f"{at}/attention/linear_2", WIDTH, WIDTH, scale=2.0)
            norm(f"{at}/ffn/layer_norm")
            linear(f"{at}/ffn/linear_0", 2 * WIDTH, WIDTH)
            linear(f"{at}/ffn/linear_1", WIDTH, 2 * WIDTH)
    linear("decoder/embeddings", vocabulary, WIDTH, scale=0.2)
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


def byte_tokens() -> list[str]:
    """GPT-2's letters for the 256 bytes, by byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {byte: chr(byte) for byte in shown}
    letters |= {byte: chr(256 + at) for at, byte in enumerate(hidden)}
    return [letters[byte] for byte in range(256)]


def write(
    out: Path, weights: Weights, heads: int, models: tuple[ov.Model, ov.Model], **generation: Any
) -> None:
    """The folder, whole."""
    out.mkdir(parents=True, exist_ok=True)
    ov.save_model(encoder(weights, heads), out / "openvino_encoder_model.xml")
    ov.save_model(decoder(weights, heads), out / "openvino_decoder_model.xml")
    for name, model in zip(("tokenizer", "detokenizer"), models, strict=True):
        ov.save_model(model, out / f"openvino_{name}.xml")
    vocabulary = len(weights["decoder/embeddings/weight"])
    config = {"model_type": "whisper", "max_source_positions": AUDIO_PLACES}
    config |= {"max_target_positions": TEXT_PLACES, "vocab_size": vocabulary}
    sound = {"feature_size": MELS, "sampling_rate": 16_000, "hop_length": 160, "n_fft": 400}
    sound |= {"chunk_length": 30, "n_samples": 480_000, "nb_max_frames": 3000}
    generation = {"max_length": TEXT_PLACES, "max_initial_timestamp_index": 50, **generation}
    for name, value in (("config", config), ("preprocessor_config", sound)):
        (out / f"{name}.json").write_text(json.dumps(value))
    (out / "generation_config.json").write_text(json.dumps(generation))


def write_tiny(out: Path) -> None:
    tokens = [*byte_tokens(), "he"]
    names = ["endoftext", "startoftranscript", *LANGUAGES, "translate", "transcribe"]
    names += ["startoflm", "startofprev", "nospeech", "notimestamps"]
    special = {f"<|{name}|>": at for at, name in enumerate(names, len(tokens))}
    ids = {name: special[f"<|{name}|>"] for name in names}
    ending = ids["notimestamps"] + 1
    write(
        out,
        random_weights(ending + 1501),
        HEADS,
        tokenizers(tokens, ["h e"], special),
        begin_suppress_tokens=[ids["endoftext"]],
        suppress_tokens=[at for at in range(256) if not 32 <= at < 127]
        + [ids[name] for name in names[1:]],
        decoder_start_token_id=ids["startoftranscript"],
        eos_token_id=ids["endoftext"],
        pad_token_id=ids["endoftext"],
        no_timestamps_token_id=ids["notimestamps"],
        prev_sot_token_id=ids["startofprev"],
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": ids[code] for code in LANGUAGES},
        task_to_id={"transcribe": ids["transcribe"], "translate": ids["translate"]},
        alignment_heads=[[0, 0], [0, 1]],
    )


def write_real(out: Path, source: Path) -> None:
    told = json.loads((source / "tokenizer.json").read_text())
    stated = json.loads((source / "config.json").read_text())
    vocabulary = told["model"]["vocab"]
    special = {token["content"]: token["id"] for token in told["added_tokens"]}
    weights = read_ct2(source / "model.bin")
    write(
        out,
        weights,
        int(weights["encoder/num_heads"]),
        tokenizers(sorted(vocabulary, key=vocabulary.get), told["model"]["merges"], special),
        begin_suppress_tokens=stated["suppress_ids_begin"],
        suppress_tokens=stated["suppress_ids"],
        decoder_start_token_id=special["<|startoftranscript|>"],
        eos_token_id=special["<|endoftext|>"],
        pad_token_id=special["<|endoftext|>"],
        no_timestamps_token_id=special["<|notimestamps|>"],
        prev_sot_token_id=special["<|startofprev|>"],
        is_multilingual=False,
        alignment_heads=stated["alignment_heads"],
    )


if __name__ == "__main__":
    if len(sys.argv) == 2:
        write_tiny(Path(sys.argv[1]))
    else:
        write_real(Path(sys.argv[1]), Path(sys.argv[2]))
