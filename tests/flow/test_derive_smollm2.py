"""The real SmolLM2: from a repository back to a file, and smaller."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest

from haneul.base.gguf import read_header
from haneul.engine.derive.convert.turn import convert
from haneul.engine.derive.quantise import quantise
from haneul.engine.derive.texts import passages, spelling
from haneul.engine.libllama.library import open_library
from haneul.engine.libllama.vocabulary import Vocabulary
from tests.rebuilt import rebuild


def contents(path: Path) -> dict[str, bytes]:
    return {tensor.name: tensor.data.tobytes() for tensor in gguf.GGUFReader(path).tensors}


def tokens(path: Path) -> list[list[int]]:
    vocabulary = Vocabulary.open(open_library(), path)
    texts = [spelling(), *(each.text for each in passages()[1])]
    try:
        return [vocabulary.tokenise(text, with_special=True) for text in texts]
    finally:
        vocabulary.close()


@pytest.mark.slow
def test_converted_model_is_weight_for_weight_and_token_for_token_the_file_it_came_from(
    smollm2: Path, tmp_path: Path
):
    folder, plain, back = tmp_path / "repository", tmp_path / "plain.gguf", tmp_path / "back.gguf"
    rebuild(smollm2, folder)
    quantise([smollm2], plain, "F16", is_lossy_allowed=True, made_from="-")
    made = convert(folder, back, name="smollm2", made_from="0" * 64, scratch=tmp_path)
    assert (made.architecture, made.file_type, made.cut) == ("llama", "F16", "smollm")
    assert contents(back) == contents(plain)
    assert tokens(back) == tokens(smollm2)
    old, new = read_header(smollm2).metadata, read_header(back).metadata
    for key in ("block_count", "context_length", "rope.freq_base", "rope.dimension_count"):
        assert new[f"llama.{key}"] == old[f"llama.{key}"]
    assert new["tokenizer.chat_template"] == old["tokenizer.chat_template"]
