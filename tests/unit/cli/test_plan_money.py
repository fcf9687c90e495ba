"""`haneul plan train` and `haneul plan fleet` as a person and a program see them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from haneul.cli.main import haneul

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}


@pytest.fixture
def plan(tmp_path):
    def run(*words, code=0):
        environ = {"HANEUL_HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path)}
        done = CliRunner().invoke(haneul, ["plan", *words], env=environ)
        assert done.exit_code == code, done.output
        return done.output

    return run


def test_training_says_days_money_and_memory(plan):
    text = plan("train", "deepseek-v3", "--tokens", "14.8T", "--chips", "2048xH800")
    assert text.startswith("deepseek-v3 on 2048 x H800 SXM: ")
    assert "USD" in text.splitlines()[0]
    assert "optimiser" in text
    found = json.loads(
        plan("train", "deepseek-v3", "--tokens", "14.8T", "--chips", "2048xH800", "--json")
    )
    assert found["cost"]["low"] < 5_576_000 < found["cost"]["high"]


def test_training_takes_a_price_and_an_mfu_that_are_known(plan):
    words = ("train", "llama-3.1-8b", "--tokens", "1T", "--chips", "64xH100", "--json")
    found = json.loads(plan(*words, "--price", "H100=1", "--mfu", "0.5"))
    assert found["cost"]["mid"] == pytest.approx(found["chip_hours"]["mid"])
    assert found["mfu"]["low"] == found["mfu"]["high"] == 0.5
    assert "MFU" in plan(*words, "--mfu", "nan", code=1)
    assert "MFU" in plan(*words, "--mfu", "2", code=1)
    assert "MFU" in plan(*words, "--mfu", "1e-310", code=1)


def test_a_model_may_be_a_config_or_a_file(plan, tmp_path, tiny_model):
    (tmp_path / "mine").mkdir()
    config = tmp_path / "mine" / "config.json"
    config.write_text(json.dumps(LLAMA))
    words = ("--tokens", "1T", "--chips", "64xH100", "--json")
    found = json.loads(plan("train", str(config), *words))
    assert found["model"] == "mine"
    assert found["flop"] == pytest.approx(6 * 8.03e9 * 1e12, rel=0.03)
    small = json.loads(plan("train", str(tiny_model), *words))
    assert 0 < small["flop"] < found["flop"]


def test_an_unknown_model_and_a_broken_config_are_refused_in_one_line(plan, tmp_path):
    words = ("--tokens", "1T", "--chips", "64xH100")
    assert "No model is called 'nosuch'" in plan("train", "nosuch", *words, code=1)
    config = tmp_path / "config.json"
    config.write_text("[]")
    assert plan("train", str(config), *words, code=1).count("\n") == 1


def test_a_fleet_says_its_parts_and_a_price_of_tokens(plan):
    words = ("fleet", "384x910C", "8xH100", "--purchase", "910C=20000", "--electricity", "0.1")
    found = json.loads(
        plan(*words, "--output-speed", "700000", "--input-speed", "2000000", "--json")
    )
    bought, rented = found["fleets"]
    assert (bought["hour"]["basis"], rented["hour"]["basis"]) == ("purchase", "rent")
    assert bought["power_w"] == 559_000
    assert bought["price"]["output"]["mid_nano"] > bought["price"]["input"]["mid_nano"] > 0
    assert found["figures"]["electricity_per_kwh"]["source"] == "as told"
    text = plan(*words)
    assert "384 x Ascend 910C" in text
    assert "OUTPUT/1M" not in text


def test_a_fleet_nobody_has_a_price_for_is_unknown(plan):
    text = plan("fleet", "16xppu")
    assert "unknown" in text
    assert "no price is known for it" in text


def test_one_speed_alone_prices_nothing(plan):
    assert "together" in plan("fleet", "8xH100", "--output-speed", "5", code=1)
    assert "above zero" in plan(
        "fleet", "8xH100", "--output-speed", "0", "--input-speed", "0", code=1
    )
