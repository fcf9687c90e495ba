"""Files are looked at where they lie: what they hold, or why nothing here would take them."""

import json

import pytest
from click.testing import CliRunner

from haneul.base.errors import NotFound
from haneul.cli.main import haneul
from haneul.models.check import check
from haneul.testing.gguf import TINY, TINY_WEIGHTS, gguf_bytes
from haneul.testing.safetensors import safetensors_bytes


@pytest.fixture
def folder(tmp_path):
    """A whole GGUF, one in two parts, one that is cut, two shards with their index, one alone."""
    (tmp_path / "whole.gguf").write_bytes(gguf_bytes())
    (tmp_path / "cut.gguf").write_bytes(gguf_bytes()[:-10])
    for number, tensors in enumerate((TINY_WEIGHTS[:1], TINY_WEIGHTS[1:])):
        split = {"split.no": number, "split.count": 2, "split.tensors.count": 3}
        metadata = (TINY if number == 0 else {}) | split
        (tmp_path / f"two-0000{number + 1}-of-00002.gguf").write_bytes(
            gguf_bytes(metadata, tensors)
        )
    for name in ("a", "b", "alone"):
        data = safetensors_bytes({name: ("BF16", (2, 2))})
        (tmp_path / f"{name}.safetensors").write_bytes(data)
    index = {"weight_map": {name: f"{name}.safetensors" for name in ("a", "b")}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "README.md").write_text("# not a model")
    return tmp_path


def test_a_folder_is_seen_model_by_model(folder):
    found = {each.file: each for each in check(folder)}
    assert found.keys() == {
        "whole.gguf",
        "cut.gguf",
        "two-00001-of-00002.gguf",
        "model.safetensors.index.json",
        "alone.safetensors",
    }
    two = found["two-00001-of-00002.gguf"]
    assert (two.files, two.tensors, two.says) == (2, 3, "llama, F32 Q4_0 Q8_0")
    assert found["whole.gguf"].tensor_bytes == two.tensor_bytes
    shards = found["model.safetensors.index.json"]
    assert (shards.files, shards.tensors, shards.tensor_bytes) == (2, 2, 16)
    assert found["alone.safetensors"].says == "BF16"
    assert [each.file for each in found.values() if each.reason] == ["cut.gguf"]


def test_missing_shard_or_first_part_is_the_reason(folder):
    (folder / "b.safetensors").unlink()
    (folder / "two-00001-of-00002.gguf").unlink()
    reasons = {each.file: each.reason for each in check(folder)}
    assert "b.safetensors: There is no file" in reasons["model.safetensors.index.json"]
    assert "not called as the first" in reasons["two-00002-of-00002.gguf"]
    assert "a.safetensors" not in reasons


def test_nothing_to_look_at_is_said(tmp_path):
    with pytest.raises(NotFound, match="nothing at"):
        check(tmp_path / "absent")
    with pytest.raises(NotFound, match=r"no \.gguf"):
        check(tmp_path)


def test_command_ends_with_1_where_a_file_is_refused(folder):
    run = CliRunner().invoke
    good = run(
        haneul, ["models", "check", str(folder / "whole.gguf"), str(folder / "a.safetensors")]
    )
    assert good.exit_code == 0, good.output
    bad = run(haneul, ["models", "check", str(folder)])
    assert bad.exit_code == 1
    assert "cut.gguf: The file is cut short or lies" in bad.stderr
    told = json.loads(run(haneul, ["models", "check", str(folder), "--json"]).stdout)
    assert len(told) == 5
