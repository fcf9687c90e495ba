"""What a plan forecasts from data sheets: fit, speed, and what it refuses to guess."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from haneul.base.errors import NotEnoughMemory, NotFound, UnsupportedValue
from haneul.chips.plan.calibration import Calibration, Planner
from haneul.chips.plan.chipfiles import assume_like, find_chip, load_chips, load_models
from haneul.chips.plan.predict import ladder, predict
from haneul.chips.plan.step import Efficiency
from haneul.chips.plan.terms import Deployment, Load

CHIPS, MODELS = load_chips(), load_models()
PHYSICS = Planner(Calibration(efficiency=Efficiency()))
LOAD = Load(isl=2000, osl=500, batch=32)


def on(chip: str, model: str, *, count: int = 1, precision: str = "fp8") -> Deployment:
    return Deployment(
        model=MODELS[model],
        chip=find_chip(CHIPS, chip),
        count=count,
        tp=count,
        precision=precision,
    )


def test_a_model_too_large_for_the_chips_is_refused_and_its_narrower_weights_are_not():
    with pytest.raises(NotEnoughMemory, match="does not fit"):
        predict(on("H100", "Llama-3.1-405B", count=8, precision="bf16"), LOAD, planner=PHYSICS)
    found = predict(on("H100", "Llama-3.1-405B", count=8), Load(isl=2000, osl=500), planner=PHYSICS)
    assert found.memory.most_users > 1


def test_gpt_oss_120b_fits_one_card_of_80_gb():
    found = predict(on("H100", "gpt-oss-120b", precision="mxfp4"), LOAD, planner=PHYSICS)
    assert 55e9 < found.memory.weights_bytes < 70e9


def test_a_chip_whose_speed_is_unpublished_is_refused_until_it_is_said_to_be_like_another():
    unknown = on("PPU", "Qwen3-8B")
    with pytest.raises(UnsupportedValue, match="unknown"):
        predict(unknown, LOAD, planner=PHYSICS)
    assumed = replace(unknown, chip=assume_like(unknown.chip, CHIPS))
    found = predict(assumed, LOAD, planner=PHYSICS)
    assert found.tokens_per_s.mid > 0
    assert any("like H20" in said for said in found.assumptions)


def test_a_chip_nobody_wrote_a_file_for_is_not_found():
    with pytest.raises(NotFound, match="h100"):
        find_chip(CHIPS, "H9000")


def test_a_layout_that_is_not_its_chips_is_refused():
    with pytest.raises(UnsupportedValue, match="tp"):
        predict(replace(on("H100", "Qwen3-8B"), tp=3), LOAD, planner=PHYSICS)


def test_the_terms_of_a_step_are_the_time_per_token():
    found = predict(on("H200", "Llama-3.1-70B", count=4), LOAD, planner=PHYSICS)
    assert math.isclose(sum(found.terms.values()), found.tpot.mid, rel_tol=1e-9)
    assert found.terms[found.binding] == max(found.terms.values())


def test_limits_only_take_batches_away():
    deployment = on("H200", "Llama-3.1-70B", count=4)
    speeds = [
        predict(deployment, Load(isl=1000, osl=500, tpot_s=limit), planner=PHYSICS).tokens_per_s.mid
        for limit in (0.02, 0.03, 0.05, 0.1)
    ]
    assert speeds == sorted(speeds)


def test_a_rate_is_served_by_the_smallest_batch_that_can():
    deployment = on("H200", "Llama-3.1-70B", count=4)
    found = predict(deployment, Load(isl=1000, osl=500, rate=2.0), planner=PHYSICS)
    assert found.tokens_per_s.mid >= 2.0 * 500
    with pytest.raises(UnsupportedValue, match="requests/s"):
        predict(deployment, Load(isl=1000, osl=500, rate=1e6), planner=PHYSICS)


def test_the_ladder_of_batches_ends_at_the_most_and_grows():
    rungs = ladder(1000)
    assert rungs[0] == 1
    assert rungs[-1] == 1000
    assert rungs == sorted(set(rungs))
