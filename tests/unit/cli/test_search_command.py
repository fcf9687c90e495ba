"""`haneul models search` and `info`: what is found, as a table and as JSON."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from haneul.cli.main import haneul


@pytest.fixture
def run(tmp_path):
    def run(*words, code=0):
        environ = {"HANEUL_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        done = CliRunner().invoke(haneul, ["models", *words], env=environ)
        assert done.exit_code == code, done.output
        return done.output

    return run


def test_words_find_models_with_their_size_licence_and_how_to_have_them(run):
    shown = run("search", "korean", "8b", "apache")
    line = next(line for line in shown.splitlines() if line.startswith("qwen3:8b"))
    assert "8.19 B" in line
    assert "Apache-2.0" in line
    assert "can be pulled" in line
    assert "llama" not in shown


def test_options_filter_as_words_do(run):
    words = json.loads(run("search", "korean", "code", "mit", "--json"))
    options = json.loads(
        run("search", "--language", "korean", "--task", "code", "--licence", "MIT", "--json")
    )
    assert words == options
    small = json.loads(run("search", "qwen", "--max-size", "1GB", "--json"))["models"]
    assert small
    for each in small:
        sizes = [size["mid"] for size in (each["size"], *each["quantisations"].values())]
        assert min(sizes) <= 1e9, each["name"]
    assert "not a size" in run("search", "--max-size", "much", code=1)


def test_a_found_model_says_all_that_a_plan_needs(run):
    found = json.loads(run("search", "deepseek-v3.2", "--json"))["models"]
    (model,) = found
    assert model["shape"]["memory"] == [
        {"count": 61, "numbers": 642, "window": 0, "every": 1, "state_bytes": 0}
    ]
    assert model["licence"]["allows_commercial"] is True
    assert model["repositories"]["huggingface"] == "deepseek-ai/DeepSeek-V3.2"
    assert model["thinking"] == "switched"
    assert model["fits"] is None
    assert model["dated"]


def test_more_than_the_limit_is_counted(run):
    shown = run("search", "qwen", "--limit", "2")
    assert "more: --limit" in shown
    assert len(shown.splitlines()) < 10


def test_what_fits_here_names_its_file(run):
    found = json.loads(run("search", "--fits", "--json"))["models"]
    assert all(each["fits"] and each["fitting"] for each in found)


def test_nothing_found_is_said_with_what_looks_alike(run):
    assert "Did you mean" in run("search", "qwxxn")


def test_an_entry_is_shown_with_its_evidence(run):
    shown = run("info", "gpt-oss")
    for told in ("gpt-oss:20b", "OpenAI", "harmony", "Apache-2.0", "aiconfigurator-core"):
        assert told in shown
    assert json.loads(run("info", "qwen3:8b", "--json"))["evidence"]
    assert "Did you mean" in run("info", "qwen3:9b", code=1)
    assert "only asked" in run("info", "qwen3-max", code=1)
