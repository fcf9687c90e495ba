"""Small random models in every format: OpenVINO has to mean what the file says, to the rounding.

Each file has a twin in float32 with the weights that the published `gguf` package reads from it;
both are read by both kernels, in float32, and every token's log-probability is compared.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino_genai", reason="no OpenVINO for this processor")

import gguf
from gguf import GGMLQuantizationType as Kind

from haneul.engine.gguf_blocks import FORMS, WHOLE
from haneul.engine.libllama.stepper import LibllamaStepper
from haneul.engine.openvino.pipeline import as_input
from haneul.engine.openvino.sampling import slice_settings
from haneul.engine.openvino.stepper import OpenvinoStepper
from haneul.engine.openvino.weights import PLAIN
from haneul.engine.worker.job import Job, WorkerSpec
from haneul.engine.worker.stepper import CannotServe

WIDTH, HEAD, HEADS, KV_HEADS, LAYERS, TOKENS = 256, 64, 4, 2, 2, 320
TEXT = [(7 * place * place + 3 * place) % 300 + 1 for place in range(90)]
Make = Callable[..., Path]


def random_blocks(kind: str, count: int, random: np.random.Generator) -> np.ndarray:
    """Blocks of random bytes whose scales give weights of ordinary size; some have none at all."""
    form = FORMS[kind]
    data = random.integers(0, 256, (count, form.block_bytes), dtype=np.uint8)
    sizes = {"Q4_K": (4e-4, 3e-3), "Q5_K": (2e-4, 3e-3), "Q6_K": (5e-5,), "Q8_0": (1e-3,)}
    size = {"Q4_1": (0.01, 0.07), "Q5_1": (0.005, 0.07)} | sizes
    for place, scale in enumerate(size.get(kind, (0.01,))):
        at = 208 if kind == "Q6_K" else 2 * place
        scales = (scale * random.uniform(0.3, 1, count)).astype(np.float16)
        if place:
            scales *= -1 if kind in ("Q4_1", "Q5_1") else 1
        elif kind != "F16":
            scales[::37] = 0
        data[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return data


class Writer:
    """Writes one model: its matrices in a format, or the same weights in float32."""

    def __init__(self, path: Path, architecture: str, kind: str, *, is_twin: bool) -> None:
        self.file = gguf.GGUFWriter(path, architecture)
        self.random = np.random.default_rng(11)
        self.kind, self.is_twin = kind, is_twin

    def matrix(self, name: str, columns: int, rows: int) -> None:
        kind = Kind[self.kind]
        if self.kind in PLAIN:
            plain = self.random.standard_normal((rows, columns)).astype(np.float32) * 0.06
            data = gguf.quants.quantize(plain, kind)
        else:
            count = rows * columns // FORMS[self.kind].block_weights
            data = random_blocks(self.kind, count, self.random).reshape(rows, -1)
        if self.is_twin:
            data = np.ascontiguousarray(gguf.quants.dequantize(data, kind), dtype=np.float32)
            kind = Kind.F32
        self.file.add_tensor(f"{name}.weight", data, raw_dtype=kind)

    def vector(self, name: str, count: int, low: float, high: float) -> None:
        values = self.random.uniform(low, high, count).astype(np.float32)
        self.file.add_tensor(name, values)

    def close(self) -> None:
        self.file.write_header_to_file()
        self.file.write_kv_data_to_file()
        self.file.write_tensors_to_file()
        self.file.close()


def describe(file: gguf.GGUFWriter) -> None:
    file.add_context_length(512)
    file.add_embedding_length(WIDTH)
    file.add_block_count(LAYERS)
    file.add_feed_forward_length(2 * WIDTH)
    file.add_head_count(HEADS)
    file.add_head_count_kv(KV_HEADS)
    file.add_key_length(HEAD)
    file.add_value_length(HEAD)
    file.add_rope_dimension_count(HEAD)
    file.add_rope_freq_base(500_000.0)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_file_type(gguf.LlamaFileType.ALL_F32)
    tokens = ["<|end|>", *(chr(letter) for letter in range(33, 127)), "Ġ", "Ċ", "ab"]
    tokens += [f"[{place}]" for place in range(len(tokens), TOKENS)]
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("default")
    file.add_token_list(tokens)
    file.add_token_types([gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * (TOKENS - 1))
    file.add_token_merges(["a b"])
    file.add_bos_token_id(0)
    file.add_eos_token_id(0)
    file.add_add_bos_token(False)


def write(
    path: Path,
    kind: str,
    *,
    architecture: str = "llama",
    is_twin: bool = False,
    is_tied: bool = False,
    factors: bool = False,
    scaling: tuple[str, float] | None = None,
) -> Path:
    model = Writer(path, architecture, kind, is_twin=is_twin)
    describe(model.file)
    if scaling:
        model.file.add_string(f"{architecture}.rope.scaling.type", scaling[0])
        model.file.add_rope_scaling_factor(scaling[1])
    model.matrix("token_embd", WIDTH, TOKENS)
    if not is_tied:
        model.matrix("output", WIDTH, TOKENS)
    model.vector("output_norm.weight", WIDTH, 0.5, 1.5)
    if factors:
        model.vector("rope_freqs.weight", HEAD // 2, 1, 32)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        for name, columns, rows in (
            ("attn_q", WIDTH, HEADS * HEAD),
            ("attn_k", WIDTH, KV_HEADS * HEAD),
            ("attn_v", WIDTH, KV_HEADS * HEAD),
            ("attn_output", HEADS * HEAD, WIDTH),
            ("ffn_gate", WIDTH, 2 * WIDTH),
            ("ffn_up", WIDTH, 2 * WIDTH),
            ("ffn_down", 2 * WIDTH, WIDTH),
        ):
            model.matrix(block + name, columns, rows)
            if architecture == "qwen2" and name in ("attn_q", "attn_k", "attn_v"):
                model.vector(f"{block}{name}.bias", rows, -0.5, 0.5)
        for name in ("attn_norm", "ffn_norm"):
            model.vector(f"{block}{name}.weight", WIDTH, 2, 4)
        if architecture == "qwen3":
            for name in ("attn_q_norm", "attn_k_norm"):
                model.vector(f"{block}{name}.weight", HEAD, 0.5, 1.5)
    model.close()
    return path


def specification(file: Path, **more: Any) -> WorkerSpec:
    return WorkerSpec(
        kernel="",
        file=str(file),
        parent=os.getpid(),
        context_tokens=512,
        slots=2,
        threads=2,
        options=more,
    )


def of_openvino(file: Path, **more: Any) -> np.ndarray:
    """The log-probability of each token of the text after its first."""
    wanted = {
        "precision": "f32",
        "kv_precision": "f32",
        "dynamic_quantisation_group": 0,
        "folder": str(file.parent / "kept"),
    }
    stepper = OpenvinoStepper(specification(file, **wanted, **more))
    stepper.load()
    given = slice_settings()
    given.echo, given.logprobs = True, 1
    pipeline = stepper._pipeline
    handle = pipeline.add_request(1, as_input(TEXT), given)
    scores: list[float] = []
    while pipeline.has_non_finished_requests():
        pipeline.step()
        while handle.can_read():
            for output in handle.read().values():
                scores += output.generated_log_probs
    return np.array(scores[1 : len(TEXT)])


def of_libllama(file: Path) -> np.ndarray:
    stepper = LibllamaStepper(specification(file))
    stepper.load()
    found = {}
    for place in range(1, len(TEXT)):
        stepper.begin(
            place,
            Job(
                prompt=TEXT[:place],
                temperature=0.0,
                max_tokens=1,
                logprobs=0,
                ignores_end=True,
                biases=[(TEXT[place], 1000.0)],
            ),
            TEXT[:place],
        )
        while not stepper.is_idle:
            for number, step in stepper.step():
                assert not isinstance(step, Exception)
                if step.scores:
                    found[number] = step.scores[0].logprob
    return np.array([found[place] for place in range(1, len(TEXT))])


@pytest.mark.parametrize("kind", sorted({*WHOLE, *PLAIN}))
def test_weights_mean_what_they_mean_as_plain_numbers(kind: str, tmp_path: Path):
    packed = of_openvino(write(tmp_path / "packed.gguf", kind))
    twin = of_openvino(write(tmp_path / "twin.gguf", kind, is_twin=True))
    assert packed.std() > 0.5, "a model that says nothing proves nothing"
    assert np.abs(packed - twin).max() < 1e-4


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"is_tied": True},
        {"architecture": "qwen2"},
        {"architecture": "qwen2", "is_tied": True},
        {"architecture": "qwen3"},
        {"factors": True},
        {"scaling": ("linear", 4.0)},
        {"scaling": ("linear", 4.0), "factors": True},
    ],
)
def test_both_kernels_find_every_token_equally_likely(shape: dict[str, Any], tmp_path: Path):
    file = write(tmp_path / "model.gguf", "F32", **shape)
    ours, theirs = of_openvino(file), of_libllama(file)
    assert ours.std() > 0.5
    assert np.abs(ours - theirs).max() < 0.03, "libllama's cache is in float16"


def test_scaled_rotation_changes_what_is_computed(tmp_path: Path):
    plain = of_openvino(write(tmp_path / "plain.gguf", "F32"))
    scaled = of_openvino(write(tmp_path / "scaled.gguf", "F32", scaling=("linear", 4.0)))
    assert np.abs(plain - scaled).max() > 0.1


def test_rotation_that_depends_on_the_length_is_refused(tmp_path: Path):
    file = write(tmp_path / "yarn.gguf", "F32", scaling=("yarn", 4.0))
    with pytest.raises(CannotServe, match="yarn"):
        of_openvino(file)
