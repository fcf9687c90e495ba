"""`haneul models quantize`, `merge`, `convert`, `measure`, as they are typed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from haneul.cli.main import haneul
from tests import checkpoints, lora_gguf


@pytest.fixture
def run(tmp_path):
    def go(line, *, code=0):
        home = str(tmp_path / "home")
        environ = {"HANEUL_HOME": home, "XDG_CONFIG_HOME": home, "HOME": home}
        done = CliRunner().invoke(haneul, line.split(), env=environ)
        assert done.exit_code == code, done.output
        return done

    return go


def test_model_is_made_smaller_measured_and_listed_with_what_it_lost(run, tiny_model):
    run(f"pull {tiny_model}")
    made = json.loads(run("models quantize tiny Q5_0 --json").stdout)
    assert (made["served"], made["warnings"]) == (True, [])
    assert made["revision"]["model"] == "tiny-q5_0"
    assert 0 < made["measures"]["kl_nats"]["mid"] < 1
    told = run("models measure tiny-q5_0").stdout
    assert "perplexity over the parent's: " in told
    assert "by language: Chinese" in told
    assert "tiny-q5_0" in run("ls").stdout
    again = run("models quantize tiny-q5_0 Q4_0 --no-measure", code=1)
    assert "in Q5_0 already" in again.stderr
    allowed = run("models quantize tiny-q5_0 Q4_0 --no-measure --from-lossy").stdout
    assert "careful: The parent was rounded to Q5_0" in allowed
    assert "haneul models measure tiny-q5_0-q4_0@" in allowed


def test_adapter_is_merged_under_a_name(run, tiny_model, tmp_path):
    adapter = tmp_path / "dates.gguf"
    subprocess.run([sys.executable, lora_gguf.__file__, adapter, "3"], check=True)
    run(f"pull {tiny_model}")
    told = run(f"models merge tiny {adapter} --name dated --no-measure").stdout
    assert told.startswith("dated@")
    assert "dates@" in run("models lineage dated").stdout


def test_folder_of_safetensors_is_converted_in_one_command(run, tmp_path):
    folder = tmp_path / "small"
    checkpoints.write_decoder(folder, "qwen2")
    made = json.loads(run(f"models convert {folder}/ --name small-gguf --json").stdout)
    assert made["served"]
    assert made["made"]["cut"] == "qwen2"
    assert "bit by bit" in made["measures"]["kl_nats"]["source"]
    again = json.loads(run("models convert small --name other --no-measure --json").stdout)
    assert again["revision"]["digest"] != ""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("models quantize nothing-here Q8_0", "nothing-here"),
        ("models measure nothing-here", "There is no model"),
        ("models quantize nothing-here Q8_0 --importance lost.gguf", "There is no file lost.gguf"),
    ],
)
def test_what_is_not_there_is_said(run, line, reason):
    assert reason in run(line, code=1).stderr
