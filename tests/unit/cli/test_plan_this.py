"""`--chips this`: what is found here, on this machine and beside tools that a test puts there."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from nacl.signing import SigningKey

from haneul.base import places
from haneul.base.errors import BadRequest
from haneul.chips.chip import Chip
from haneul.chips.estimate import around
from haneul.chips.plan.chipfiles import load_models
from haneul.cli.main import haneul
from haneul.cli.plan_report import kilowatts
from haneul.models.bundle import keys
from haneul.models.bundle.keys import Trusted
from haneul.services.matrix import sheet
from haneul.services.matrix.row import MatrixRow
from haneul.services.matrix.taken import take
from haneul.services.planning.question import asked
from haneul.services.planning.serving import plan_serving
from haneul.services.planning.this import beside
from haneul.store.database import open_database

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
        named = words[0] in ("compare", "train")
        line = ["plan", *words] if named else ["plan", "serve", *words]
        done = CliRunner().invoke(haneul, line, env=environ)
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


def test_rows_that_others_signed_stand_beside_a_plan_with_their_name(plan, tmp_path):
    key = SigningKey(b"\1" * 32)
    ada = Trusted(keys.public(key), "ada")
    keys.trust(places.keys(tmp_path), ada.key, ada.name)
    row = MatrixRow(
        model="smollm2:135m",
        digest="",
        parameters=134_515_008,
        chip="cpu-y-4c",
        engine="embedded",
        engine_version="x 1",
        quantisation="Q4_1",
        decode=77.0,
        source="probe",
        count=2,
        first_us=1,
        last_us=2,
    )
    out = io.BytesIO()
    sheet.write([row], key, out)
    store = open_database("", tmp_path)
    signed = list(sheet.read(io.BytesIO(out.getvalue())))
    store.run(lambda c: take(c, signed, own="", trusted=[ada], actor="me", source="x"))
    store.close()
    text = plan("smollm2:135m", *LOAD, "H100")
    assert "smollm2:135m (Q4_1) on cpu-y-4c, x 1: 77 tok/s of one stream" in text
    assert "measured ada, 2 x" in text
    assert "Measured in" not in plan("Llama-3.1-8B", *LOAD, "H100")


def test_this_machine_is_a_fleet_beside_others(plan):
    load = ("--isl", "50", "--osl", "20", "--fleet")
    text = plan("compare", "smollm2:135m", *load, "this", "--fleet", "8xH100")
    assert "8 x H100 SXM" in text
    assert "cores, here" in text
    assert "measured here: reading memory" in text


def test_prices_that_are_told_are_those_of_the_fleets_that_are_here(plan):
    card = 'case "$1" in -L) ;; *) echo "NVIDIA H200, 143771, 143000, 700.00" ;; esac'
    line = ("compare", "smollm2:135m", "--isl", "50", "--osl", "20", "--fleet", "this")
    told = ("--price", "H200=1.5", "--price", "this=0.05")
    rented = json.loads(plan(*line, *told, "--json", nvidia_smi=card))
    hours = {each["fleet"]: each["hour"]["total_nano"] for each in rented["fleets"]}
    assert hours.pop("1 x H200 SXM here") == 1_500_000_000
    assert list(hours.values()) == [50_000_000]
    told = ("--purchase", "H200=30000", "--purchase", "this=900")
    bought = json.loads(plan(*line, *told, "--json"))
    assert {each["hour"]["basis"] for each in bought["fleets"]} == {"purchase"}
    both = ("--purchase", "this=900", "--price", "this=1")
    assert "both a purchase and a rent" in plan(*line, *both, code=1)


def test_the_engine_that_is_named_is_that_of_the_cards_that_are_here(plan):
    card = 'case "$1" in -L) ;; *) echo "NVIDIA H200, 143771, 143000, 700.00" ;; esac'
    line = ("compare", "Llama-3.1-70B", "--isl", "2000", "--osl", "500", "--fleet", "this")
    told = ("--precision", "fp8", "--json")
    one, other = (
        json.loads(plan(*line, *told, "--engine", engine, nvidia_smi=card))["fleets"][0]
        for engine in ("vllm", "trtllm")
    )
    assert one["tokens_per_s"]["mid"] != other["tokens_per_s"]["mid"]


def test_training_is_planned_on_the_cards_that_are_here(plan):
    line = ("train", "smollm2:135m", "--tokens", "1B", "--chips", "this")
    assert "No card that a chip file knows" in plan(*line, code=1)
    card = 'case "$1" in -L) ;; *) echo "NVIDIA H200, 143771, 143000, 700.00" ;; esac'
    assert "on 1 x H200 SXM" in plan(*line, nvidia_smi=card)
    two = card.replace(
        "esac", 'esac; case "$1" in -L) ;; *) echo "NVIDIA L4, 23034, 9, 72.00"; esac'
    )
    assert "name one of 1 x H200 SXM, 1 x L4" in plan(*line, code=1, nvidia_smi=two)


@pytest.mark.parametrize(
    ("power_w", "shown"), [(16.0, "0.016"), (700.0, "0.7"), (1200.0, "1.2"), (559e3, "559.0")]
)
def test_the_power_of_a_small_machine_is_not_nothing(power_w, shown):
    assert kilowatts(power_w) == shown


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
