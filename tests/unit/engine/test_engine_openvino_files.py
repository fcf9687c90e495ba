"""Which files the OpenVINO kernel takes, told from the header; and constraints in its words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from haneul.base.gguf import Header, Tensor
from haneul.engine.openvino.grammar import structural_tag
from haneul.engine.openvino.readable import measures
from haneul.engine.worker.job import Branch, Constraint
from haneul.engine.worker.stepper import CannotServe


def header(architecture: str = "llama", kind: str = "Q8_0", **metadata: Any) -> Header:
    names = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
    tensors = [
        Tensor("token_embd.weight", (128, 300), kind, 0, 1),
        Tensor("output_norm.weight", (128,), "F32", 0, 1),
        *[Tensor(f"blk.0.{name}.weight", (128, 128), kind, 0, 1) for name in names],
    ]
    return Header(
        version=3,
        metadata={
            "general.architecture": architecture,
            "general.file_type": 7,
            f"{architecture}.block_count": 1,
            f"{architecture}.embedding_length": 128,
            f"{architecture}.attention.head_count": 2,
            f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
            **{f"{architecture}.{name}": value for name, value in metadata.items()},
        },
        tensors=tuple(tensors),
        alignment=32,
        data_offset=0,
        file_bytes=1,
    )


@pytest.mark.parametrize(
    "kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "F16", "BF16", "F32"]
)
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_known_architectures_and_formats_are_taken(architecture: str, kind: str):
    found = measures(header(architecture, kind))
    assert (found.layers, found.heads, found.head_width, found.rows) == (1, 2, 64, 300)


@pytest.mark.parametrize("kind", ["Q2_K", "Q3_K", "IQ4_XS", "MXFP4"])
def test_format_that_is_not_read_right_is_refused_by_name(kind: str):
    with pytest.raises(CannotServe, match=kind):
        measures(header(kind=kind))


def test_other_architecture_is_refused_by_name():
    with pytest.raises(CannotServe, match="gemma3"):
        measures(header("gemma3"))


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"rope.scaling.type": "yarn"}, "scaled rotation"),
        ({"rope.scaling.type": "longrope", "rope.scaling.factor": 4.0}, "longrope"),
        ({"rope.scaling.factor": "4"}, "not a number"),
        ({"rope.dimension_count": 32}, "partial rotation"),
        ({"expert_count": 8}, "expert_count"),
        ({"attention.sliding_window": 4096}, "sliding_window"),
        ({"attention.value_length": 128}, "equally wide"),
        ({"attention.head_count": (2, 4)}, "not several"),
        ({"attention.head_count": 8}, "heads of 16"),
    ],
)
def test_what_the_reader_overlooks_is_refused(metadata: dict[str, Any], reason: str):
    with pytest.raises(CannotServe, match=reason):
        measures(header(**dict(metadata.items())))


def with_tensor(plain: Header, *extra: Any) -> Header:
    return replace(plain, tensors=(*plain.tensors, Tensor(*extra, 0, 1)))


def test_tensor_that_the_reader_overlooks_is_refused():
    with pytest.raises(CannotServe, match="attn_sinks"):
        measures(with_tensor(header(), "blk.0.attn_sinks.weight", (32,), "F32"))


def test_factors_of_rotation_are_taken_where_llama_cpp_heeds_them():
    factors = ("rope_freqs.weight", (32,), "F32")
    assert measures(with_tensor(header(), *factors)).head_width == 64
    with pytest.raises(CannotServe, match="rope_freqs"):
        measures(with_tensor(header("qwen2"), *factors))
    with pytest.raises(CannotServe, match="rope_freqs"):
        measures(with_tensor(header(), "rope_freqs.weight", (16,), "F32"))


def test_matrix_with_rows_too_short_for_the_stand_in_is_refused():
    with pytest.raises(CannotServe, match="shape"):
        measures(with_tensor(header(), "output.weight", (32, 300), "F16"))


def form(constraint: Constraint) -> Any:
    return json.loads(structural_tag(constraint))["format"]


def test_one_schema_alone_is_the_whole_form():
    schema = {"type": "object"}
    found = form(Constraint(branches=[Branch(schema=schema)]))
    assert found == {"type": "json_schema", "json_schema": schema}


def test_text_around_a_regex_is_a_sequence_and_branches_are_alternatives():
    found = form(Constraint(branches=[Branch(head="a", regex="b+", tail="c"), Branch(head="d")]))
    assert [one["type"] for one in found["elements"]] == ["sequence", "const_string"]
    assert [part["type"] for part in found["elements"][0]["elements"]] == [
        "const_string",
        "regex",
        "const_string",
    ]


def test_repeated_branches_are_tags_with_their_separator():
    call = Branch(head="<call>", schema={}, tail="</call>")
    found = form(Constraint(branches=[call], separator="\n", is_repeated=True))
    assert found["type"] == "tags_with_separator"
    assert found["separator"] == "\n"
    assert found["at_least_one"] is True
    assert found["tags"][0]["begin"] == "<call>"
