"""A merged model answers as its base does under the adapter, to within the format's rounding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

from haneul.base.errors import BrokenFile
from haneul.engine.derive.measure import measure
from haneul.engine.derive.merge import merge
from tests import lora_gguf

TESTS = Path(lora_gguf.__file__).parent
WIDTH, RANK = 64, 4


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("adapters") / "lora.gguf"
    subprocess.run([sys.executable, TESTS / "lora_gguf.py", path, "3"], check=True)
    return path


def small(path: Path, tensors: dict[str, np.ndarray], **said: str | float) -> Path:
    """An adapter of those halves."""
    writer = gguf.GGUFWriter(path, str(said.get("architecture", "llama")))
    writer.add_type(str(said.get("type", "adapter")))
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(said.get("alpha", RANK)))
    for name, array in tensors.items():
        writer.add_tensor(name, array.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def weights(path: Path) -> dict[str, np.ndarray]:
    tensors = gguf.GGUFReader(path).tensors
    return {one.name: gguf.quants.dequantize(one.data, one.tensor_type) for one in tensors}


def test_merged_model_answers_as_the_base_under_the_adapter(
    tiny_model: Path, adapter: Path, tmp_path: Path
):
    merged = tmp_path / "merged.gguf"
    merge([tiny_model], adapter, merged, "F32")
    alike = measure(merged, tiny_model, adapter=adapter)
    apart = measure(merged, tiny_model)
    assert alike.kl_nats is not None
    assert apart.kl_nats is not None
    assert alike.kl_nats.mid < 1e-4 * apart.kl_nats.mid
    assert alike.agreement is not None
    assert alike.agreement.mid > 0.99


def test_only_what_the_adapter_touches_is_changed_by_alpha_over_rank(
    tiny_model: Path, tmp_path: Path
):
    random = np.random.default_rng(1)
    a, b = random.standard_normal((RANK, WIDTH)), random.standard_normal((WIDTH, RANK))
    name = "blk.1.attn_q.weight"
    halves = {f"{name}.lora_a": a, f"{name}.lora_b": b}
    adapter = small(tmp_path / "lora.gguf", halves, alpha=2.0)
    merged = tmp_path / "merged.gguf"
    merge([tiny_model], adapter, merged, "F32")
    before, after = weights(tiny_model), weights(merged)
    changed = [each for each in before if not np.array_equal(before[each], after[each])]
    assert changed == [name]
    np.testing.assert_allclose(after[name], before[name] + 2.0 / RANK * (b @ a), atol=1e-4)


def test_four_bits_lose_of_a_small_adapter_what_eight_keep(tiny_model: Path, tmp_path: Path):
    random = np.random.default_rng(2)
    name = "blk.0.ffn_up.weight"
    before = weights(tiny_model)[name]
    a, b = random.standard_normal((1, WIDTH)), random.standard_normal((len(before), 1))
    added = 0.02 * np.abs(before).mean() * (b @ a)
    halves = {f"{name}.lora_a": 0.02 * np.abs(before).mean() * a, f"{name}.lora_b": b}
    adapter = small(tmp_path / "lora.gguf", halves, alpha=1.0)
    kept = {}
    for file_type in ("Q8_0", "Q4_0"):
        merged = tmp_path / f"{file_type}.gguf"
        merge([tiny_model], adapter, merged, file_type)
        lost = weights(merged)[name] - (before + added)
        kept[file_type] = np.linalg.norm(lost) / np.linalg.norm(added)
    assert kept["Q8_0"] < 1 < kept["Q4_0"]


@pytest.mark.parametrize(
    ("said", "halves", "reason"),
    [
        ({"architecture": "qwen2"}, {"blk.0.attn_q.weight": (WIDTH, WIDTH)}, "is for qwen2"),
        ({"type": "model"}, {"blk.0.attn_q.weight": (WIDTH, WIDTH)}, "no LoRA adapter"),
        ({}, {"blk.9.attn_q.weight": (WIDTH, WIDTH)}, "does not have"),
        ({}, {"blk.0.attn_q.weight": (WIDTH, 32)}, "other measures"),
    ],
)
def test_adapter_of_another_model_is_refused(
    said: dict[str, str], halves: dict, reason: str, tiny_model: Path, tmp_path: Path
):
    tensors = {}
    for name, (out, given) in halves.items():
        tensors[f"{name}.lora_a"] = np.ones((RANK, given))
        tensors[f"{name}.lora_b"] = np.ones((out, RANK))
    adapter = small(tmp_path / "lora.gguf", tensors, **said)
    with pytest.raises(BrokenFile, match=reason):
        merge([tiny_model], adapter, tmp_path / "merged.gguf")
    assert not (tmp_path / "merged.gguf").exists()


def test_adapter_with_half_a_pair_is_refused(tiny_model: Path, tmp_path: Path):
    halves = {"blk.0.attn_q.weight.lora_a": np.ones((RANK, WIDTH))}
    adapter = small(tmp_path / "lora.gguf", halves)
    with pytest.raises(BrokenFile, match="only one half"):
        merge([tiny_model], adapter, tmp_path / "merged.gguf")
