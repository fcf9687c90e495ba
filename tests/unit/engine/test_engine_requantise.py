"""Requantising: every number is what ggml's reference gives, and the rest of a file stays."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from haneul.base.errors import BrokenFile
from haneul.base.gguf import read_header
from haneul.engine.derive.ggml import FORMS, WRITTEN, Bytes, Floats, Ggml
from haneul.engine.gguf_blocks import WHOLE, whole
from haneul.engine.requantise import requantise

# not nearer to nought than that: the reference divides by it and overflows
SIZES = st.floats(2.0**-30, 1e4, width=32)
WEIGHTS = arrays(
    np.float32, 512, elements=st.just(0.0) | SIZES | SIZES.map(lambda size: -size), fill=SIZES
)


EXACT = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "F16", "BF16")  # the package writes these too
GGML = Ggml()


def floats(data: Bytes, kind: str) -> Floats:
    return GGML.floats(data.reshape(-1), kind)


def blocks(weights: Floats, kind: str) -> Bytes:
    return GGML.blocks(weights.reshape(1, -1), kind)


def sane_blocks(kind: str, seed: int) -> np.ndarray:
    """Blocks of random bytes whose float16 scales are ordinary numbers."""
    random = np.random.default_rng(seed)
    data = random.integers(0, 256, (40, FORMS[kind].block_bytes), dtype=np.uint8)
    places = {"Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "Q4_1": [0, 2], "Q5_1": [0, 2]}
    places |= {"Q2_K": [80, 82], "Q3_K": [108]}
    for at in places.get(kind, [0]):
        scales = random.standard_normal(len(data)).astype(np.float16)
        data[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return data


@pytest.mark.parametrize("kind", sorted(set(WRITTEN) - {"F16", "F32", "BF16", "IQ1_M"}))
@pytest.mark.parametrize("seed", range(3))
def test_blocks_are_read_as_the_reference_reads_them(kind: str, seed: int):
    data = sane_blocks(kind, seed)
    expected = gguf.quants.dequantize(data, Kind[kind]).reshape(-1)
    np.testing.assert_allclose(floats(data, kind), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", sorted(WHOLE))
@pytest.mark.parametrize("seed", range(3))
def test_whole_numbers_stand_for_what_the_reference_reads(kind: str, seed: int):
    data = sane_blocks(kind, seed)
    found = whole(data.reshape(-1), kind)
    weights = found.scales[..., None] * (found.numbers.astype(np.float32) - found.zero)
    if found.minima is not None:
        weights += found.minima[..., None]
    expected = gguf.quants.dequantize(data, Kind[kind]).reshape(-1)
    assert weights.reshape(-1).tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", ["F16", "BF16", "F32"])
def test_plain_numbers_are_read_as_the_reference_reads_them(kind: str):
    data = gguf.quants.quantize(
        np.linspace(-3, 3, 512, dtype=np.float32).reshape(1, -1), Kind[kind]
    ).view(np.uint8)
    expected = gguf.quants.dequantize(data, Kind[kind]).reshape(-1)
    assert floats(data.reshape(-1), kind).tobytes() == expected.astype(np.float32).tobytes()


@pytest.mark.parametrize("kind", EXACT)
@given(weights=WEIGHTS)
def test_blocks_are_written_as_the_reference_writes_them(kind: str, weights: np.ndarray):
    expected = gguf.quants.quantize(weights.reshape(1, -1), Kind[kind])
    assert blocks(weights, kind).tobytes() == expected.tobytes()


@given(weights=WEIGHTS)
def test_eight_bits_are_within_half_a_step_of_what_they_stand_for(weights: np.ndarray):
    back = floats(blocks(weights, "Q8_0"), "Q8_0")
    step = np.abs(weights.reshape(-1, 32)).max(axis=1).repeat(32) / 127
    assert (np.abs(back - weights) <= step * 0.51 + np.abs(weights) * 1e-3 + 1e-5).all()


def test_copy_keeps_the_metadata_and_says_what_it_was_made_from(tiny_model: Path, tmp_path: Path):
    copy = tmp_path / "copy.gguf"
    requantise(tiny_model, copy, "Q4_0")
    before, after = read_header(tiny_model), read_header(copy)
    digest = hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    assert after.metadata["haneul.requantised_from"] == digest
    assert after.metadata["general.file_type"] == 2
    changed = {"general.file_type", "general.quantization_version", "haneul.requantised_from"}
    for key, value in before.metadata.items():
        if key not in changed:
            assert after.metadata[key] == value


def test_copy_has_matrices_in_the_new_format_and_the_rest_as_it_was(
    tiny_model: Path, tmp_path: Path
):
    copy = tmp_path / "copy.gguf"
    requantise(tiny_model, copy, "Q4_0")
    source = {tensor.name: tensor for tensor in gguf.GGUFReader(tiny_model).tensors}
    for tensor in gguf.GGUFReader(copy).tensors:
        old = source[tensor.name]
        if len(tensor.shape) == 1:
            assert tensor.tensor_type == old.tensor_type
            assert np.array_equal(tensor.data, old.data)
        else:
            guarded = tensor.name in ("token_embd.weight", "output.weight")
            kind = Kind.Q8_0 if guarded else Kind.Q4_0
            assert tensor.tensor_type == kind
            weights = gguf.quants.dequantize(old.data, old.tensor_type)
            assert tensor.data.tobytes() == gguf.quants.quantize(weights, kind).tobytes()


def test_requantised_model_can_be_requantised_again_to_the_same_file(
    tiny_model: Path, tmp_path: Path
):
    first, second = tmp_path / "first.gguf", tmp_path / "second.gguf"
    requantise(tiny_model, first, "Q8_0")
    requantise(first, second, "Q8_0")
    one, two = gguf.GGUFReader(first), gguf.GGUFReader(second)
    for a, b in zip(one.tensors, two.tensors, strict=True):
        assert a.name == b.name
        assert np.array_equal(a.data, b.data)


def test_broken_file_is_refused_and_nothing_is_left(tiny_model: Path, tmp_path: Path):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_model.read_bytes()[:-4096])
    with pytest.raises(BrokenFile):
        requantise(cut, tmp_path / "copy.gguf", "Q4_0")
    assert [path.name for path in tmp_path.iterdir()] == ["cut.gguf"]


def test_command_says_what_went_wrong_in_one_line(tmp_path: Path):
    command = [sys.executable, "-m", "haneul.engine.requantise", str(tmp_path / "no"), "out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "There is no file at that path.\n"
