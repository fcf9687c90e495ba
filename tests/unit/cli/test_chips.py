"""`haneul chips` as a person and as a program read it, on this machine and beside broken tools."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from haneul.cli.main import haneul


@pytest.fixture
def run(tmp_path: Path):
    """The command with only the tools that a test puts in its folder."""
    tools = tmp_path / "tools"
    tools.mkdir()
    environ = {"HANEUL_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "PATH": str(tools)}

    def call(*words: str, **scripts: str) -> str:
        for name, text in scripts.items():
            path = tools / name.replace("_", "-")
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)
        done = CliRunner().invoke(haneul, ["chips", *words], env=environ)
        assert done.exit_code == 0, done.output
        return done.stdout

    return call


def test_the_processor_is_shown_with_the_source_of_every_figure(run):
    text = run()
    assert "measured here: reading memory" in text
    assert "unknown cores" not in text
    assert "because" in text


def test_a_card_is_shown_with_the_chip_file_that_plans_it_and_a_strange_one_without(run):
    cards = "echo 'NVIDIA H200, 143771, 143000, 700.00'; echo 'NVIDIA X9, 1000, 900, 10.00'"
    text = run(nvidia_smi=f'case "$1" in -L) ;; *) {cards} ;; esac')
    assert "planned as H200 SXM" in text
    assert "no chip file knows it" in text
    told = json.loads(run("--json"))
    assert told["planned_as"] == {
        told["chips"][0]["id"]: None,
        "gpu-nvidia-h200": "h200",
        "gpu-nvidia-x9": None,
    }


def test_a_tool_that_fails_is_told_of_and_the_command_answers(run):
    told = json.loads(run("--json", npu_smi="echo 'dcmi module initialize failed' >&2; exit 187"))
    assert told["not_asked"] == [{"tool": "npu-smi", "why": "dcmi module initialize failed"}]
    assert [chip["kind"] for chip in told["chips"]] == ["cpu"]
    assert "npu-smi did not answer, its chips are unknown" in run()
