"""Which format each tensor gets is llama.cpp's own choice, as its library told it (golden)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.formats import MODELS, digest, measures_of, shapes_of
from haneul.base.errors import BrokenFile
from haneul.base.gguf import Header, Tensor
from haneul.engine.derive.ggml import FORMS
from haneul.engine.derive.mix import BLOCKS, MAIN, About, about, choose, in_order

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "formats.json").read_text())


def tensors_of(make: dict) -> list[Tensor]:
    return [
        Tensor(name, tuple(reversed(shape)), "F16" if len(shape) > 1 else "F32", 0, 0)
        for name, shape in shapes_of(make).items()
    ]


def described(make: dict, *, is_weighed: bool) -> About:
    metadata = {"general.architecture": make["arch"], **measures_of(make)}
    header = Header(
        version=3, metadata=metadata, tensors=(), alignment=32, data_offset=0, file_bytes=0
    )
    return about(header, tensors_of(make), is_weighed=is_weighed)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_formats_are_those_that_llama_cpp_chooses(name: str):
    tensors = tensors_of(MODELS[name])
    assert len(GOLDEN[name]) == 2 * len(MAIN)
    for mark, expected in GOLDEN[name].items():
        file_type, _, weighed = mark.partition(" ")
        model = described(MODELS[name], is_weighed=bool(weighed))
        chosen = choose(model, tensors, file_type)
        assert digest([chosen[one.name] for one in in_order(tensors)]) == expected, mark


@settings(deadline=None)
@given(
    width=st.integers(1, 40).map(lambda count: count * 16),
    file_type=st.sampled_from(sorted(MAIN)),
    name=st.sampled_from(["blk.0.attn_v.weight", "blk.1.ffn_down.weight", "output.weight"]),
)
def test_rows_divide_into_the_blocks_of_whatever_is_chosen(width: int, file_type: str, name: str):
    tensor = Tensor(name, (width, 8), "F16", 0, 0)
    kind = choose(described(MODELS["tied"], is_weighed=True), [tensor], file_type)[name]
    assert width % BLOCKS[kind] == 0
    assert kind in FORMS


def test_type_that_nobody_makes_is_refused_by_name():
    with pytest.raises(BrokenFile, match="Q9_X is no type"):
        choose(described(MODELS["tied"], is_weighed=False), [], "Q9_X")
