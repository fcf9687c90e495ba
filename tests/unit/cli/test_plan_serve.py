"""`haneul plan serve` as a person and a program see it."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from haneul.base.config import load
from haneul.cli.main import haneul
from haneul.cli.plan_models import asked_model
from haneul.testing.gguf import gguf_bytes

LLAMA = ("serve", "Llama-3.1-8B", "--isl", "1000", "--osl", "200", "--chips", "H100,ppu")


@pytest.fixture
def plan(tmp_path):
    def run(*words, code=0):
        environ = {"HANEUL_HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path)}
        done = CliRunner().invoke(haneul, ["plan", *words], env=environ)
        assert done.exit_code == code, done.output
        return done.output

    return run


def test_a_plan_tells_the_answer_the_options_the_step_the_memory_and_the_sources(plan):
    text = plan(*LLAMA, "--tpot", "40", "--rate", "5")
    first = text.splitlines()[0]
    assert "H100 SXM" in first
    assert "TPOT" in first
    assert first.count("USD/1M") == 2
    for part in ("WHY NOT", "binding:", "headroom", "tok/s of one user", "measured", "vllm serve"):
        assert part in text
    assert "T-Head PPU does not serve it" in text
    assert "With --assume-like it is planned as H20 is." in text
    assert " in bf16: " in first
    assert "assumed: an hour of H100 SXM: 2.95 USD" in text


def test_the_same_as_json_with_intervals(plan):
    found = json.loads(plan(*LLAMA, "--json"))
    option = found["choice"]["options"][0]
    for name in ("tokens_per_s", "ttft", "tpot"):
        assert option[name]["low"] < option[name]["mid"] < option[name]["high"]
        assert option[name]["source"]
    assert found["refused"].keys() == {"T-Head PPU"}
    assert found["choice"]["whys"][0] == ""


def test_a_price_that_is_told_scales_what_tokens_cost(plan):
    once, double = (
        json.loads(plan(*LLAMA, "--price", f"H100={price}", "--json"))["choice"]["options"][0]
        for price in ("2", "4")
    )
    assert double["price"]["output"]["mid"] == pytest.approx(2 * once["price"]["output"]["mid"])


def test_the_curve_is_drawn_as_svg(plan, tmp_path):
    plan(*LLAMA, "--svg", str(tmp_path / "curve.svg"))
    root = ElementTree.fromstring((tmp_path / "curve.svg").read_text())
    points = root.findall(".//{*}circle")
    assert len(points) > 2


def test_what_cannot_be_is_refused_with_the_reason(plan):
    words = ("serve", "Llama-3.1-405B", "--isl", "1000", "--osl", "200", "--chips", "1xL4")
    assert "does not fit" in plan(*words, code=1)
    assert "limits" in plan(*LLAMA[:-1], "H100", "--tpot", "0.01", code=1)
    assert "rate: it is a number >= 1e-06" in plan(*LLAMA, "--rate", "-1", code=1)
    assert "rate" in plan(*LLAMA, "--rate", "inf", code=1)
    assert "No precision is called 'fp7'" in plan(*LLAMA, "--precision", "fp7", code=1)
    assert "8, 16" in plan(*LLAMA, "--kv-bits", "4", code=2).replace("'", "")
    tight = (*LLAMA[:-1], "1xH100,H200", "--rate", "200", "--tpot", "30")
    assert "H100 SXM does not serve it: " in plan(*tight)
    few = plan(*LLAMA[:-1], "1xH100", "--rate", "200", "--tpot", "30", code=1)
    assert "chips would be needed, 1 are there" in few
    assert "1 x H100 SXM serve" in few
    assert "No chip is called" in plan(*LLAMA[:-1], "Z80", code=1)


def test_a_model_of_the_catalogue_is_planned_as_its_makers_publish_it(tmp_path):
    settings = load({"home": str(tmp_path / "none")}, {}).config
    for text, name, native in (
        ("qwen3:32b", "Qwen/Qwen3-32B", "bf16"),
        ("deepseek-v3:671b", "deepseek-ai/DeepSeek-V3", "fp8"),
        ("kimi-k2-thinking:1t", "moonshotai/Kimi-K2-Thinking", "int4"),
        ("gpt-oss:120b", "openai/gpt-oss-120b", "mxfp4"),
        ("qwen3-reranker:8b", "Qwen/Qwen3-Reranker-8B", "bf16"),
    ):
        found = asked_model(text, settings)
        assert (found.model.name, found.model.native) == (name, native)
        assert found.repository == found.name == name  # what an engine is started with


CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": True,
}


def test_a_config_json_is_a_model_and_its_folder_what_an_engine_loads(plan, tmp_path):
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    words = ("--isl", "4000", "--osl", "200", "--chips", "L4", "--json")
    for path in (folder, folder / "config.json"):
        found = json.loads(plan("serve", str(path), *words))
        assert found["search"]["model"]["layers"] == 28
        assert found["launch"][0]["line"].startswith(f"vllm serve {folder} ")
        assert found["assumptions"][0].startswith("my-model: 0.596B parameters")
        assert "4,200 tokens of a request are more than the 4,096" in found["assumptions"][1]
    (folder / "config.json").write_text("[]")
    assert "is no JSON object" in plan("serve", str(folder), *words, code=1)


def test_a_gguf_file_is_a_model_of_its_own_bits(plan, tmp_path):
    file = tmp_path / "tiny.gguf"
    file.write_bytes(gguf_bytes())
    words = ("--isl", "100", "--osl", "20", "--chips", "L4", "--json")
    found = json.loads(plan("serve", str(file), *words))
    assert found["assumptions"][0].startswith("tiny: ")
    assert found["launch"][0]["line"].startswith(f"vllm serve {file} ")
    assert any("vllm-gguf-plugin" in note for note in found["launch"][0]["notes"])
