"""The planner scores itself: rows as questions, groups left out, corrections that fade."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from haneul.base.errors import BadRequest
from haneul.chips.plan.backtest import backtest, leave_out, widening
from haneul.chips.plan.calibrating import calibrate
from haneul.chips.plan.calibration import load_calibration
from haneul.chips.plan.chipfiles import load_chips, load_models
from haneul.chips.plan.fitting import measure
from haneul.chips.plan.residual import Corrector, Part, Traits, fit
from haneul.chips.plan.rows import parallelism, published, read_rows
from haneul.cli.main import haneul

CHIPS, MODELS = load_chips(), load_models()
ROWS, UNREAD = read_rows(published(), CHIPS, MODELS)
SCORED = [row for row in ROWS if row.tier == "A"]
FEW = [row for row in SCORED if row.deployment.model.name in ("Llama-3.1-8B", "Llama-2-7B")]
HEADER = "id,model,precision,chip,n_chips,parallelism,engine,phase,isl,osl,notes,tier"
TRAITS = Traits(
    kind="max",
    engine="vllm",
    generation="hopper",
    precision="fp8",
    architecture="dense",
    chip="h100",
    model="m",
    isl=10,
    osl=10,
    batch=5,
    chips=0,
)


def test_every_published_row_of_tier_a_becomes_a_question():
    assert len(SCORED) == 472
    assert not [each for each in UNREAD if each.tier == "A"]


def test_the_published_rows_are_forecast_within_the_errors_the_page_names():
    report = backtest(SCORED, [], load_calibration(), known=SCORED)
    assert report.answered >= 0.97
    assert report.whole.median is not None
    assert report.whole.median < 0.16
    assert report.whole.within_20 is not None
    assert report.whole.within_20 > 0.6
    assert report.whole.within_2x is not None
    assert report.whole.within_2x > 0.9
    assert report.whole.covered is not None
    assert 0.75 <= report.whole.covered <= 0.85
    assert report.pairs_right / report.pairs > 0.95
    known = [each for each in report.unseen_chips if each.rows >= 3]
    assert len(known) >= 9
    assert all(each.median is not None and each.median < 0.3 for each in known)


def test_a_row_left_out_does_not_know_its_own_measurement():
    calibration = load_calibration()
    rows = [row for row in FEW if row.tokens_per_s]
    group = rows[0].group
    lied = [
        replace(row, tokens_per_s=row.tokens_per_s * np.exp(3.0)) if row.group == group else row
        for row in rows
    ]
    found, shifted = (measure(each, calibration.efficiency)[0] for each in (rows, lied))
    before = leave_out(found, calibration, lambda row: row.group)
    after = leave_out(shifted, calibration, lambda row: row.group)
    inside = np.array([row.group == group for row in rows])
    assert inside.any()
    assert not inside.all()
    assert np.allclose(after.speed[inside] - before.speed[inside], 3.0)


def test_a_calibration_fits_its_rows_better_than_a_priori_constants():
    told = calibrate(FEW, dated="2026-11-22")
    before, _ = measure(FEW, type(told.efficiency)())
    after, _ = measure(FEW, told.efficiency)
    typical = [float(np.median([abs(each.speed) for each in found])) for found in (before, after)]
    assert typical[1] < typical[0]
    assert told.speed is not None
    assert told.speed.widen > 0


def test_too_few_rows_are_no_calibration():
    with pytest.raises(BadRequest, match="8 rows"):
        calibrate(FEW[:3], dated="2026-11-22")


@given(st.floats(-2, 2), st.floats(0.02, 0.5))
@settings(max_examples=30)
def test_a_correction_goes_towards_the_error_and_fades_far_from_every_row(error, noise):
    residual = fit(
        (TRAITS,),
        np.array([error]),
        parts=(Part(shared=("kind",), spread=0.3, reach=2),),
        noise=noise,
    )
    near, far = Corrector(residual)((TRAITS, replace(TRAITS, isl=60)))[0]
    assert abs(near) <= abs(error) + 1e-9
    assert near * error >= 0
    assert abs(far) < 1e-9
    deviation = Corrector(residual)((TRAITS, replace(TRAITS, isl=60)))[1]
    assert deviation[0] <= deviation[1]


def test_the_interval_is_widened_until_it_holds_four_rows_of_five():
    left, deviation = np.linspace(-1, 1, 101), np.full(101, 0.2)
    factor = widening(left, deviation)
    assert np.mean(np.abs(left) <= 1.2816 * factor * deviation) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    ("words", "chips", "layout"),
    [
        ("TP4", "4", (4, 4, 1, 1, 1)),
        ("TP1PP2", "2", (2, 1, 1, 2, 1)),
        ("DEP8", "8", (8, 1, 8, 1, 8)),
        ("TP8 EP", "8", (8, 8, 8, 1, 1)),
        ("TP64 ADP1 MoE-TP8 EP8", "64", (8, 8, 8, 1, 1)),
        ("", "", (1, 1, 1, 1, 1)),
    ],
)
def test_the_words_of_a_row_are_a_layout_of_chips(words, chips, layout):
    facts = {"parallelism": words, "n_chips": chips}
    assert parallelism(facts, MODELS["DeepSeek-R1"]) == layout


def test_a_row_that_cannot_be_read_is_named_with_its_reason():
    text = f"{HEADER}\nx,Qwen3-8B,fp8,H9000,1,TP1,vllm,mixed,100,100,,A\n"
    rows, unread = read_rows(text, CHIPS, MODELS)
    assert rows == []
    assert unread[0].id == "x"
    assert "H9000" in unread[0].reason


def test_a_file_without_the_columns_is_refused():
    with pytest.raises(BadRequest, match="column"):
        read_rows("a,b\n1,2\n", CHIPS, MODELS)


def test_the_command_scores_any_file_of_rows(tmp_path):
    lines = published().splitlines()
    keep = [line for line in lines[1:] if "Llama-3.1-8B" in line and line.endswith(",A")]
    file = tmp_path / "mine.csv"
    file.write_text("\n".join([lines[0], *keep]), "utf-8")
    result = CliRunner().invoke(haneul, ["plan", "backtest", "--rows", str(file)])
    assert result.exit_code == 0, result.output
    assert "H100 SXM" in result.output
    assert "Answered: 100.0%" in result.output


def test_rows_of_a_file_do_not_help_each_other():
    calibration = load_calibration()
    known = [row for row in SCORED if row.deployment.model.name == "Llama-3.1-405B"]
    news = [replace(row, id=f"new {row.id}") for row in FEW if row.tokens_per_s]
    alone, together = (
        backtest(rows, [], calibration, known=known).scored[0] for rows in (news[:1], news)
    )
    assert alone.forecast == pytest.approx(together.forecast)
