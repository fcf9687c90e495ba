"""Models of fewer bits: what is refused, what is kept, what is left when the work is cut off."""

from __future__ import annotations

import hashlib
from pathlib import Path

import gguf
import numpy as np
import pytest

from bench.formats import MODELS, write_model
from haneul.base.errors import BadRequest, BrokenFile
from haneul.base.gguf import read_header
from haneul.engine.derive import gguf_copy
from haneul.engine.derive.ggml import Ggml
from haneul.engine.derive.quantise import known, quantise


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("derive") / "model.gguf"
    write_model(path, {**MODELS["tied"], "layers": 2})
    return path


def weights(path: Path) -> dict[str, np.ndarray]:
    found = {}
    for tensor in gguf.GGUFReader(path).tensors:
        found[tensor.name] = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    return found


def test_copy_keeps_the_metadata_and_says_what_it_was_made_from(model: Path, tmp_path: Path):
    copy = tmp_path / "copy.gguf"
    made = quantise([model], copy, "Q4_K_M")
    before, after = read_header(model).metadata, read_header(copy).metadata
    assert after["haneul.derived_from"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert after["general.file_type"] == 15
    own = {"general.file_type", "general.alignment", "general.quantization_version"}
    assert {key: after[key] for key in before.keys() - own} == {
        key: before[key] for key in before.keys() - own
    }
    assert (made.bytes, made.lossy_parent) == (copy.stat().st_size, "")
    assert made.formats.keys() == {"F32", "Q4_K", "Q6_K"}


@pytest.mark.parametrize("file_type", ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"])
def test_each_type_is_nearer_to_the_parent_than_its_bits_allow(
    model: Path, tmp_path: Path, file_type: str
):
    copy = tmp_path / "copy.gguf"
    quantise([model], copy, file_type)
    before, after = weights(model), weights(copy)
    bits = {"Q8_0": 8, "Q6_K": 6, "Q5_K_M": 5, "Q4_K_M": 4, "Q3_K_M": 3, "Q2_K": 2}[file_type]
    for name, expected in before.items():
        error = np.abs(after[name] - expected).mean() / np.abs(expected).mean()
        assert error < 1.5 * 2.0 ** (1 - bits), name


def test_parent_that_was_rounded_before_is_refused_unless_it_is_asked_for(
    model: Path, tmp_path: Path
):
    rounded, again = tmp_path / "rounded.gguf", tmp_path / "again.gguf"
    quantise([model], rounded, "Q4_K_M")
    with pytest.raises(BadRequest, match="in Q4_K already"):
        quantise([rounded], again, "Q8_0")
    assert not again.exists()
    made = quantise([rounded], again, "Q8_0", is_lossy_allowed=True)
    assert made.lossy_parent == "Q4_K"
    assert read_header(again).metadata["haneul.lossy_parent"] == "Q4_K"


def test_types_of_two_bits_are_refused_without_an_importance_matrix(model: Path, tmp_path: Path):
    with pytest.raises(BadRequest, match="worthless without an importance matrix"):
        quantise([model], tmp_path / "copy.gguf", "IQ2_XS")
    assert list(tmp_path.iterdir()) == []


def test_importance_matrix_brings_the_weights_that_matter_nearer(model: Path, tmp_path: Path):
    name = "blk.1.ffn_up.weight"
    before = weights(model)
    matters = np.ones(256, np.float32)
    matters[:16] = 1000.0
    one, other = tmp_path / "one.gguf", tmp_path / "other.gguf"
    quantise([model], one, "IQ4_XS")
    made = quantise([model], other, "IQ4_XS", importance={name: matters})
    assert made.weighed == 1

    def error(path: Path) -> float:
        return float(np.square(weights(path)[name] - before[name])[:, :16].mean())

    assert error(other) < 0.95 * error(one)


def test_matrix_for_a_model_of_other_measures_is_refused(model: Path, tmp_path: Path):
    wrong = {"blk.1.ffn_up.weight": np.ones(99, np.float32)}
    with pytest.raises(BrokenFile, match="99 numbers"):
        quantise([model], tmp_path / "copy.gguf", "Q4_K_M", importance=wrong)


def test_experts_are_weighed_each_by_their_own_columns(tmp_path: Path):
    path, name = tmp_path / "experts.gguf", "blk.0.ffn_down_exps.weight"
    write_model(path, {**MODELS["four experts"], "layers": 1})
    matters = np.ones((4, 256), np.float32)
    matters[2, 128:] = 1000.0
    made = tmp_path / "made.gguf"
    quantise([path], made, "Q4_K_S", importance={name: matters.reshape(-1)})
    plain = tmp_path / "plain.gguf"
    quantise([path], plain, "Q4_K_S", importance={name: np.ones(1024, np.float32)})
    one, other = weights(made)[name], weights(plain)[name]
    changed = [not np.array_equal(one[expert], other[expert]) for expert in range(4)]
    assert changed == [False, False, True, False]


def test_weights_that_are_not_numbers_are_refused():
    with Ggml() as ggml, pytest.raises(BrokenFile, match="not numbers"):
        ggml.blocks(np.full((1, 256), np.nan, np.float32), "Q8_0")


def test_threads_change_nothing(model: Path, tmp_path: Path):
    one, many = tmp_path / "one.gguf", tmp_path / "many.gguf"
    quantise([model], one, "Q5_K_S", threads=1)
    quantise([model], many, "Q5_K_S", threads=3)
    assert one.read_bytes() == many.read_bytes()


def test_model_in_two_files_becomes_the_file_of_the_whole_one(model: Path, tmp_path: Path):
    parts = [tmp_path / f"part-{number}.gguf" for number in (1, 2)]
    source = gguf.GGUFReader(model)
    for number, part in enumerate(parts):
        writer = gguf.GGUFWriter(part, "llama")
        for field in source.fields.values():
            if field.name.startswith("llama."):
                kind = "add_float32" if "epsilon" in field.name else "add_uint32"
                getattr(writer, kind)(field.name, field.contents())
        writer.add_uint16("split.no", number)
        for tensor in source.tensors[number::2]:
            writer.add_tensor(tensor.name, tensor.data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    whole, joined = tmp_path / "whole.gguf", tmp_path / "joined.gguf"
    quantise([model], whole, "Q4_K_M")
    quantise(parts, joined, "Q4_K_M")
    assert "split.no" not in read_header(joined).metadata
    one, other = (
        {tensor.name: tensor.data.tobytes() for tensor in gguf.GGUFReader(path).tensors}
        for path in (whole, joined)
    )
    assert one == other


class Cut(Exception):
    """Ends the work in the middle."""


def test_work_that_was_cut_off_goes_on_where_it_was_and_ends_in_the_same_file(
    model: Path, tmp_path: Path
):
    whole, target = tmp_path / "whole.gguf", tmp_path / "target.gguf"
    header = read_header(model)
    tensors = [(0, tensor, tensor.type) for tensor in header.tensors]
    plans = gguf_copy.lay_out(tensors, 32)
    source = gguf_copy.Source([model])
    start = gguf_copy.head(source.pairs(), plans, added={}, alignment=32)
    read: list[str] = []

    def parts(plan: gguf_copy.Plan) -> list[bytes]:
        read.append(plan.source.name)
        return [source.read(plan, 0, plan.size_bytes)]

    def cut(done: int, all: int) -> None:
        if done == 12:
            raise Cut

    gguf_copy.write(whole, start, plans, parts, alignment=32)
    options = {"alignment": 32, "resumes": "work", "checkpoint_bytes": 1}
    with pytest.raises(Cut):
        gguf_copy.write(target, start, plans, parts, on_tensor=cut, **options)
    assert not target.exists()
    read.clear()
    gguf_copy.write(target, start, plans, parts, **options)
    assert target.read_bytes() == whole.read_bytes()
    assert len(read) == len(plans) - 11  # the twelfth was written but not yet noted
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target.gguf", "whole.gguf"]
    with pytest.raises(Cut):
        gguf_copy.write(target, start, plans, parts, on_tensor=cut, **options)
    read.clear()
    gguf_copy.write(target, start, plans, parts, **{**options, "resumes": "other work"})
    assert len(read) == len(plans)
    source.close()


def test_type_is_known_in_any_case_and_others_are_refused():
    assert (known("q4_k_m"), known("Q8_0")) == ("Q4_K_M", "Q8_0")
    with pytest.raises(BadRequest, match="no file type 'Q4_K'"):
        known("Q4_K")
