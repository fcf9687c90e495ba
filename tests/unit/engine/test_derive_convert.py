"""Converted models answer as their weights say: against forward passes written here by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from haneul.base.errors import BadRequest, BrokenFile, HaneulError
from haneul.base.gguf import check_file
from haneul.engine.derive.convert.turn import convert
from haneul.engine.derive.texts import passages
from haneul.engine.derive.vectors import Encoder
from haneul.engine.libllama.context import Context, Shape
from haneul.engine.libllama.library import open_library
from haneul.engine.libllama.model import Model
from tests import checkpoints

TEXT = passages()[1][0].text[:300]


def turned(folder: Path, name: str = "small") -> Path:
    target = folder.parent / f"{folder.name}.gguf"
    convert(folder, target, name=name, made_from="0" * 64, scratch=folder.parent)
    return target


def answers(file: Path, tokens: list[int]) -> tuple[list[int], np.ndarray]:
    """Tokens of the text as the kernel reads it, and the kernel's logits."""
    model = Model(open_library(), file)
    try:
        shape = Shape(
            cells=512,
            lines=1,
            has_rooms=False,
            batch_tokens=512,
            rows=512,
            threads=1,
            batch_threads=1,
        )
        context = Context(model, shape)
        try:
            return model.vocabulary.tokenise(TEXT, with_special=True), context.read(tokens).copy()
        finally:
            context.close()
    finally:
        model.close()


@pytest.mark.parametrize("make", sorted(checkpoints.MAKES))
def test_converted_model_answers_as_its_weights_say(make: str, tmp_path: Path):
    folder = tmp_path / make
    made = checkpoints.write_decoder(folder, make)
    tokens = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXT).ids
    read, logits = answers(turned(folder), tokens)
    expected = checkpoints.decode(made, tokens)
    assert read == tokens
    spread = expected.max() - expected.min()
    assert np.abs(logits - expected).max() < 0.005 * spread  # the kernel keeps keys in 16 bits
    assert (logits.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.98


@pytest.mark.parametrize(
    ("make", "pooling"),
    [("BertModel", "mean"), ("BertModel", "cls"), ("XLMRobertaModel", "mean")],
)
def test_converted_encoder_gives_the_vectors_of_its_weights(
    make: str, pooling: str, tmp_path: Path
):
    folder = tmp_path / "encoder"
    made = checkpoints.write_encoder(folder, pooling=pooling, make=make)
    tokens = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXT).ids
    encoder = Encoder(open_library(), turned(folder))
    try:
        assert encoder.model.vocabulary.tokenise(TEXT, with_special=True) == tokens
        vector = encoder.vector(tokens)
    finally:
        encoder.close()
    assert float(vector @ checkpoints.embed(made, tokens)) > 0.9999


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_weights_in_two_files_keep_their_format_bit_by_bit(dtype: str, tmp_path: Path):
    import gguf

    folder = tmp_path / "parts"
    made = checkpoints.write_decoder(folder, "qwen3", dtype=dtype, parts=2)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(turned(folder)).tensors}
    up = tensors["blk.1.ffn_up.weight"]
    assert up.tensor_type.name == dtype
    back = gguf.quants.dequantize(up.data, up.tensor_type)
    assert np.array_equal(back, made["weights"]["model.layers.1.mlp.up_proj.weight"])
    norm = tensors["output_norm.weight"]
    assert norm.tensor_type.name == "F32"
    assert np.array_equal(norm.data, made["weights"]["model.norm.weight"])


def test_encoder_whose_kernel_reads_a_language_otherwise_says_which(tmp_path: Path):
    folder = tmp_path / "encoder"
    checkpoints.write_encoder(folder)
    target = tmp_path / "encoder.gguf"
    made = convert(folder, target, name="e", made_from="0" * 64, scratch=tmp_path)
    assert "Korean" in made.unlike
    assert "English" not in made.unlike


def test_tokenizer_that_cuts_as_no_kernel_does_is_refused(tmp_path: Path):
    folder = tmp_path / "odd"
    checkpoints.write_decoder(folder, "qwen2")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": "[aeiou]+|."}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(BadRequest, match="no way to cut text"):
        turned(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"architectures": ["GemmaForCausalLM"]}, "GemmaForCausalLM is not converted here"),
        ({"architectures": None}, "no architecture is not converted"),
        ({"num_hidden_layers": 3}, "no weights of layer 2"),
        ({"num_hidden_layers": -1}, "no proper num_hidden_layers"),
        ({"vocab_size": 10}, "do not agree on the vocabulary"),
        ({"rope_scaling": {"rope_type": "magic", "factor": 2}}, "Rotation of the kind 'magic'"),
        ({"use_sliding_window": True}, "windows of attention"),
        ({"rope_theta": "much"}, "no proper rope_theta"),
    ],
)
def test_configuration_that_is_not_understood_is_refused_by_what_is_wrong(
    change: dict, reason: str, tmp_path: Path
):
    folder = tmp_path / "changed"
    checkpoints.write_decoder(folder, "qwen2")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises((BadRequest, BrokenFile), match=reason):
        turned(folder)
    assert not (tmp_path / "changed.gguf").exists()


def test_repository_that_lacks_a_part_or_holds_rounded_weights_is_refused(tmp_path: Path):
    folder = tmp_path / "lacking"
    checkpoints.write_decoder(folder, "qwen2", parts=2)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(BrokenFile, match="tensors are missing"):
        turned(folder)
    made = checkpoints.write_decoder(tmp_path / "rounded", "qwen2")
    file = tmp_path / "rounded" / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"F32"', b'"I32"'))
    assert made["config"]["vocab_size"] == checkpoints.VOCABULARY
    with pytest.raises(BrokenFile, match="I32"):
        turned(tmp_path / "rounded")


JUNK = st.sampled_from([None, True, -1, 0, 3, 1 << 40, 0.5, "", "x", [], [1], {}, {"a": 1}])


def changed(value: Any, places: list[int], junk: Any) -> Any:
    """The same JSON with junk somewhere inside, where the places lead."""
    if not places or not isinstance(value, dict | list) or not value:
        return junk
    keys = sorted(value) if isinstance(value, dict) else range(len(value))
    key = list(keys)[places[0] % len(value)]
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = changed(value[key], places[1:], junk)
    return copy


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("junk") / "repository"
    checkpoints.write_decoder(folder, "qwen3moe")
    return folder


@settings(max_examples=80, deadline=None)
@given(
    file=st.sampled_from(["config.json", "tokenizer.json", "tokenizer_config.json"]),
    places=st.lists(st.integers(0, 1 << 16), min_size=1, max_size=4),
    junk=JUNK,
)
def test_repository_with_junk_in_it_is_converted_or_refused_in_words(
    repository: Path, file: str, places: list[int], junk: Any
):
    path = repository / file
    honest = path.read_bytes()
    target = repository.parent / "made.gguf"
    refused = ""
    try:
        path.write_text(json.dumps(changed(json.loads(honest), places, junk)))
        convert(repository, target, name="x", made_from="0" * 64, scratch=repository.parent)
        check_file(target)
    except HaneulError as error:
        refused = error.message
    finally:
        path.write_bytes(honest)
    assert refused.endswith((".", "py")) or (not refused and target.exists())
    target.unlink(missing_ok=True)
