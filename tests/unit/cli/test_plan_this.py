"""`--chips this`: what is found here, on this machine and beside tools that a test puts there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from haneul.base.errors import BadRequest
from haneul.chips.chip import Chip
from haneul.chips.estimate import around
from haneul.chips.plan.chipfiles import load_models
from haneul.cli.main import haneul
from haneul.services.planning.question import asked
from haneul.services.planning.serving import plan_serving
from haneul.services.planning.this import beside

LOAD = ("--isl", "50", "--osl", "20", "--chips")


@pytest.fixture
def plan(tmp_path: Path):
    tools = tmp_path / "tools"
    tools.mkdir()
    environ = {"HANEUL_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "PATH": str(tools)}

    def call(*words: str, code: int = 0, **scripts: str) -> str:
        for name, text in scripts.items():
            path = tools / name.replace("_", "-")
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)
        done = CliRunner().invoke(haneul, ["plan", "serve", *words], env=environ)
        assert done.exit_code == code, done.output
        return done.output

    return call


def test_this_machine_stands_beside_chips_that_are_not_here(plan):
    text = plan("smollm2:135m", *LOAD, "this,H100")
    assert "cores, here" in text
    assert "H100 SXM" in text


def test_a_plan_for_this_machine_alone_says_how_it_was_measured_and_starts_haneul(plan):
    text = plan("smollm2:135m", *LOAD, "this", "--price", "this=0.05")
    assert "measured here: reading memory" in text
    assert "haneul up smollm2:135m" in text
    assert "0.05 USD, as told" in text
    assert "nothing was measured here yet" in text


def test_a_card_that_is_here_is_planned_and_a_strange_one_is_named(plan):
    cards = "echo 'NVIDIA H200, 143771, 143000, 700.00'; echo 'NVIDIA X9, 1000, 900, 10.00'"
    script = f'case "$1" in -L) ;; *) {cards} ;; esac'
    found = json.loads(plan("Llama-3.1-8B", *LOAD, "this", "--json", nvidia_smi=script))
    chips = {option["chip"]: option["chips"] for option in found["choice"]["options"]}
    assert chips["H200 SXM here"] == 1
    assert any("cores, here" in name for name in chips)
    assert any(
        "NVIDIA X9, found here: no chip file knows it" in said for said in found["assumptions"]
    )


def test_a_model_too_large_for_this_machine_is_refused_with_the_memory_it_needs(plan):
    text = plan("Llama-3.1-405B", *LOAD, "this", code=1)
    assert "GB are needed of" in text


def test_whoever_did_not_look_at_this_machine_says_so():
    question = asked(model="Llama-3.1-8B", isl=10, osl=10, chips=["this"])
    model = load_models()["Llama-3.1-8B"]
    with pytest.raises(BadRequest, match="this machine"):
        plan_serving(question, model, name="x", cached_share=0.1)


def test_a_bandwidth_measured_beside_other_work_may_be_higher_and_says_why():
    measured = around(10e9, "B/s", factor=1.25, source="measured here")
    chip = Chip(id="cpu-x", name="X", kind="cpu", vendor="X", bandwidth=measured)
    assert beside(chip, 0.05) == chip
    assert beside(chip, None) == chip
    wider = beside(chip, 0.5).bandwidth
    assert wider is not None
    assert (wider.low, wider.mid, wider.high) == (8e9, 10e9, 25e9)
    assert "while others used 50% of the processors" in wider.source
