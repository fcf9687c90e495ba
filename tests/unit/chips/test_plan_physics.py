"""What a step is made of: the reasons behind each term, as laws and as published facts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from haneul.chips.plan.calibration import Calibration, Planner, load_calibration
from haneul.chips.plan.chipfiles import load_chips, load_models
from haneul.chips.plan.predict import predict
from haneul.chips.plan.residual import Corrector, Part, Traits, fit, kernel
from haneul.chips.plan.rows import published, read_rows
from haneul.chips.plan.step import Efficiency, Work, expert_share, pass_terms
from haneul.chips.plan.terms import Deployment, Load
from haneul.chips.shape import Layers

CHIPS, MODELS = load_chips(), load_models()
FITTED = load_calibration()
ROWS, _ = read_rows(published(), CHIPS, MODELS)
MIXTURE = MODELS["Qwen3-235B-A22B"]
DECODING = Work(sequences=64, new_tokens=1, context=2000)


def on(chip: str, model: str, **layout: object) -> Deployment:
    return Deployment(model=MODELS[model], chip=CHIPS[chip], precision="fp8", **layout)


def row(ident: str):
    return next(each for each in ROWS if each.id == ident)


def test_a_prompt_meets_the_output_head_once_and_a_decoded_token_each_time():
    whole = on("h100", "Llama-3.1-8B")
    no_head = replace(whole, model=replace(whole.model, head_parameters=0))

    def compute(deployment: Deployment, work: Work) -> float:
        return pass_terms(deployment, work, FITTED.efficiency)["compute"]

    prompt = Work(sequences=1, new_tokens=4096, context=0, is_prompt=True)
    saved = 1 - compute(whole, prompt) / compute(no_head, prompt)
    share = whole.model.head_parameters / whole.model.always_parameters
    assert 0.5 * share < saved < 1.5 * share
    assert compute(whole, DECODING) == pytest.approx(compute(no_head, DECODING))


def test_a_state_is_read_and_written_in_every_step_and_kept_once():
    state = 2_000_000
    remembering = replace(MODELS["Llama-3.1-8B"], memory=(Layers(count=32, numbers=state // 2),))
    states = (Layers(count=32, numbers=0, state_bytes=state),)
    deployment = replace(on("h200", "Llama-3.1-8B"), model=remembering)
    read = pass_terms(deployment, Work(sequences=8, new_tokens=1, context=1), FITTED.efficiency)
    moved = pass_terms(
        replace(deployment, model=replace(remembering, memory=states)),
        Work(sequences=8, new_tokens=1, context=1),
        FITTED.efficiency,
    )
    assert moved["cache"] > 1.5 * read["cache"]


@given(st.floats(1, 1e4), st.floats(1, 10), st.floats(0.5, 1))
def test_more_tokens_touch_more_experts_and_alike_ones_fewer_than_unlike(tokens, more, variety):
    share = expert_share(MIXTURE, tokens, variety=variety)
    assert share <= expert_share(MIXTURE, tokens * more, variety=variety) + 1e-12
    assert share <= expert_share(MIXTURE, tokens) + 1e-12
    one = expert_share(MIXTURE, 1, variety=variety)
    assert one == pytest.approx(MIXTURE.experts_used / MIXTURE.experts)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["bandwidth_tb_s", "bf16_tflops", "fp8_tflops", "link_gb_s"]),
    st.floats(1, 4),
    st.sampled_from(["Qwen3-235B-A22B", "DeepSeek-R1", "Llama-3.1-70B", "Qwen3.5-397B-A17B"]),
    st.integers(1, 512),
)
def test_a_chip_that_does_more_is_never_slower(figure, factor, name, batch):
    physics = Planner(Calibration(efficiency=FITTED.efficiency))
    chip = CHIPS["h200"]
    better = replace(chip, **{figure: getattr(chip, figure) * factor})
    load = Load(isl=1000, osl=500, batch=batch)
    plain, more = (
        predict(
            Deployment(model=MODELS[name], chip=each, count=8, tp=8, precision="fp8"),
            load,
            planner=physics,
        )
        for each in (chip, better)
    )
    assert more.tokens_per_s.mid >= plain.tokens_per_s.mid * (1 - 1e-9)


def test_stages_of_a_pipeline_wait_for_one_another_while_they_decode():
    flat = on("h100", "Llama-3.1-70B", count=4, tp=4)
    deep = on("h100", "Llama-3.1-70B", count=4, tp=2, pp=2)
    assert "stages" not in pass_terms(flat, DECODING, FITTED.efficiency)
    decoding = pass_terms(deep, DECODING, FITTED.efficiency)
    rest = sum(seconds for name, seconds in decoding.items() if name != "stages")
    assert decoding["stages"] == pytest.approx(FITTED.efficiency.bubble * rest)
    prompt = Work(sequences=2, new_tokens=4000, context=0, is_prompt=True)
    assert "stages" not in pass_terms(deep, prompt, FITTED.efficiency)


def test_an_exchange_takes_longer_among_more_ranks_and_hides_only_behind_multiplying():
    def moving(ranks: int, role: str, sequences: int) -> float:
        deployment = on("gb200", "DeepSeek-R1", count=ranks, ep=ranks, dp=ranks, role=role)
        work = Work(sequences=sequences * ranks, new_tokens=1, context=1000)
        return pass_terms(deployment, work, FITTED.efficiency)["communication"]

    assert moving(64, "aggregated", 1) > 1.5 * moving(8, "aggregated", 1)
    hidden = [moving(64, "decode", size) / moving(64, "aggregated", size) for size in (1, 256)]
    assert FITTED.efficiency.exposed - 1e-9 <= hidden[1] <= hidden[0] <= 1


def test_cloudmatrix_384_with_eight_users_on_each_chip_is_within_a_third_of_what_was_published():
    """538 tokens a second of each chip at 15 ms (arXiv 2506.12708)."""
    busy = row("cm384-decode-50ms")
    load = replace(busy.load, batch=8 * busy.deployment.count)
    found = predict(
        busy.deployment, load, planner=Planner(Calibration(efficiency=FITTED.efficiency))
    )
    assert abs(found.tokens_per_s_per_chip.mid / 538 - 1) < 0.3
    assert abs(found.tpot.mid / 0.015 - 1) < 0.3


def test_answers_whose_mean_is_a_whole_number_were_all_as_long_whatever_a_note_says():
    assert row("gpl-deepseek-v3.2-h200-98bcdb").load.longest == 1  # 2,000 tokens each
    assert row("gpl-deepseek-v3.2-h200-78e1f6").load.longest > 1  # 197.1 in the mean


def test_four_requests_are_how_many_run_at_once_and_a_thousand_are_a_burst():
    few, many = row("gpl-gpt-oss-120b-h100-0f5948"), row("gpl-gpt-oss-120b-h100-08e17e")
    assert (few.load.batch, few.load.requests) == (4, None)
    assert (many.load.batch, many.load.requests) == (None, 1000)


def test_vllm_takes_fewer_sequences_at_once_before_hopper():
    assert row("gpl-gpt-oss-20b-a100-e6d9cd").batch_most == 256
    assert row("gpl-gpt-oss-120b-h100-08e17e").batch_most == 1024


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.5))
@settings(max_examples=20, deadline=None)
def test_corrections_block_by_block_are_those_of_all_rows_at_once(seed, noise):
    chance = np.random.default_rng(seed)
    rows = tuple(
        Traits(
            kind=str(chance.choice(["max", "steady", "burst"])),
            engine="vllm",
            generation=str(chance.choice(["hopper", "ampere"])),
            precision="fp8",
            architecture="dense",
            chip="h100",
            model=str(chance.choice(["a", "b"])),
            isl=float(chance.uniform(5, 12)),
            osl=float(chance.uniform(5, 12)),
            batch=float(chance.uniform(0, 8)),
            chips=0.0,
        )
        for _ in range(24)
    )
    parts = (
        Part(shared=("kind", "model"), spread=0.3, reach=2.0),
        Part(shared=("generation", "kind"), spread=0.2, reach=0.0),
    )
    residual = fit(rows[:20], chance.normal(size=20), parts=parts, noise=noise)
    mean, deviation = Corrector(residual)(rows[20:])
    across = kernel(rows[20:], rows[:20], parts)
    whole = kernel(rows[:20], rows[:20], parts) + np.diag(noise**2 * np.array(residual.extra))
    left = 0.3**2 + 0.2**2 + noise**2 - (across * np.linalg.solve(whole, across.T).T).sum(axis=1)
    assert np.allclose(mean, across @ np.array(residual.weights))
    assert np.allclose(deviation, np.sqrt(np.maximum(left, noise**2)))


def test_a_first_token_waits_for_the_way_of_its_request_into_the_engine():
    served = on("h100", "Llama-3.1-8B")
    slow = replace(FITTED.efficiency, arrival_s=FITTED.efficiency.arrival_s + 0.5)

    def ttft(efficiency: Efficiency, engine: str) -> float:
        planner = Planner(Calibration(efficiency=efficiency))
        load = Load(isl=500, osl=100, batch=1)
        return predict(replace(served, engine=engine), load, planner=planner).ttft.mid

    assert ttft(slow, "vllm") - ttft(FITTED.efficiency, "vllm") == pytest.approx(0.5)
    assert ttft(slow, "llama.cpp") - ttft(FITTED.efficiency, "llama.cpp") < 0.1
