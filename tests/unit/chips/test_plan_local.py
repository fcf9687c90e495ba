"""This machine's processor and cards as options of a plan."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from haneul.chips.calibrate import Correction
from haneul.chips.chip import Chip
from haneul.chips.cost import hour_cost
from haneul.chips.estimate import around
from haneul.chips.fleet import load as load_fleet
from haneul.chips.plan.calibration import Planner, load_calibration
from haneul.chips.plan.chipfiles import load_chips, load_models
from haneul.chips.plan.choose import Search, choose
from haneul.chips.plan.compare_here import compare_here
from haneul.chips.plan.here import Here, accelerators
from haneul.chips.plan.local import Local, local_curve, local_of, offers
from haneul.chips.plan.models import plan_model
from haneul.chips.plan.options import Demand, Option, Terms
from haneul.chips.plan.terms import Load
from haneul.chips.speed import decode_speed

FILES, FLEET = load_chips(), load_fleet()
LLAMA = load_models()["Llama-3.1-8B"]
TERMS = Terms(rent=None)
ZEN = Chip(
    id="cpu-zen",
    name="Zen",
    kind="cpu",
    vendor="AMD",
    cores=8,
    memory_bytes=64 * 10**9,
    instruction_sets=("avx2",),
    bandwidth=around(60e9, "B/s", factor=1.25, source="measured here"),
    sources={"cores": "/proc/cpuinfo"},
)
H200 = Chip(
    id="gpu-nvidia-h200",
    name="NVIDIA H200",
    kind="gpu",
    vendor="NVIDIA",
    count=8,
    memory_bytes=143771 << 20,
    power_w=700.0,
)
STRANGE = Chip(id="gpu-x", name="X 9", kind="gpu", vendor="X", count=2)


def here(*chips: Chip, **more: object) -> Here:
    return Here(chips=[ZEN, *chips], fleet=FLEET, **more)  # type: ignore[arg-type]


def local(chip: Chip = ZEN, **more: object) -> Local:
    return replace(local_of(here(), TERMS), chip=chip, **more)


def best(load: Load, *, of: Local | None = None, **demand: float) -> Option:
    options, lost = offers(of or local(), LLAMA, Demand(load=load, **demand))  # type: ignore[arg-type]
    assert not lost, lost
    return options[0]


def test_one_user_without_a_prompt_decodes_as_the_engines_own_forecast_says(small):
    load = Load(isl=1, osl=400)
    model = plan_model("small", small)
    options, _ = offers(local(shape=small), model, Demand(load=load, users=1))
    own = decode_speed(small, ZEN, context_tokens=201)
    assert own is not None
    assert 1 / options[0].tpot.mid == pytest.approx(own.mid, rel=1e-6)
    assert options[0].tokens_per_s.mid == pytest.approx(own.mid, rel=0.02)
    assert options[0].layout == "Q4_1, 1 slots"


@given(
    isl=st.integers(1, 8000),
    osl=st.integers(1, 2000),
    factor=st.floats(1.0, 10.0),
    users=st.sampled_from((1, 2, 5, 16)),
)
def test_more_bandwidth_is_never_slower_and_every_figure_is_an_interval(isl, osl, factor, users):
    load = Load(isl=isl, osl=osl)
    faster = replace(ZEN, bandwidth=around(60e9 * factor, "B/s", factor=1.25, source="x"))
    usual, fast = (best(load, of=local(chip), users=users) for chip in (ZEN, faster))
    assert fast.tokens_per_s.mid >= usual.tokens_per_s.mid
    assert fast.tpot.mid <= usual.tpot.mid
    for each in (usual.tokens_per_s, usual.ttft, usual.tpot):
        assert each.low <= each.mid <= each.high
    assert usual.price is not None
    spent = isl * usual.price.input.mid + osl * usual.price.output.mid
    assert spent / 1e6 == pytest.approx(usual.price.request.mid)


@given(tpot=st.floats(0.2, 5.0), tighter=st.floats(0.3, 1.0))
def test_a_tighter_limit_never_gives_more(tpot, tighter):
    def most(limit: float) -> float:
        demand = Demand(load=Load(isl=200, osl=100, tpot_s=limit))
        options, _ = offers(local(), LLAMA, demand)
        return options[0].tokens_per_s.mid if options else 0.0

    assert most(tpot * tighter) <= most(tpot)


@given(osl=st.integers(1, 1000), isl=st.integers(1, 4000), more=st.integers(0, 4000))
def test_a_longer_prompt_never_gives_more(osl, isl, more):
    short, long = (best(Load(isl=length, osl=osl), users=4) for length in (isl, isl + more))
    assert long.tokens_per_s.mid <= short.tokens_per_s.mid
    assert long.ttft.mid >= short.ttft.mid


def test_what_does_not_fit_or_is_too_slow_is_refused_with_the_figure():
    large = load_models()["Llama-3.1-405B"]
    options, lost = offers(local(), large, Demand(load=Load(isl=100, osl=10)))
    assert not options
    assert "GB are needed of 57.6 GB usable" in lost[0].why
    options, lost = offers(local(), LLAMA, Demand(load=Load(isl=100, osl=10), rate=1e6))
    assert "requests/s are the most it serves" in lost[0].why
    options, lost = offers(local(), LLAMA, Demand(load=Load(isl=100, osl=10, tpot_s=1e-6)))
    assert "above the limit" in lost[0].why
    unknown = replace(ZEN, memory_bytes=None)
    assert offers(local(unknown), LLAMA, Demand(load=Load(isl=100, osl=10)))[0] == []


def test_what_was_measured_here_moves_the_forecast_and_narrows_it():
    known = {"decode": Correction(0.5, 1.1, 3)}
    load = Load(isl=1, osl=200)
    before, after = best(load, users=1), best(load, of=local(corrections=known), users=1)
    assert after.tpot.mid == pytest.approx(2 * before.tpot.mid)
    assert after.tpot.high / after.tpot.low < before.tpot.high / before.tpot.low
    assert "corrected" in after.tokens_per_s.source
    assert any("nothing was measured here" in said for said in before.assumptions)


def test_fewer_bits_are_faster_and_a_precision_that_is_asked_for_is_kept():
    load = Load(isl=10, osl=100)
    speeds = []
    for precision in ("bf16", "q8_0", "q4_k_m"):
        options, _ = offers(local(), LLAMA, Demand(load=load, users=1), precision=precision)
        assert options[0].precision == precision
        speeds.append(options[0].tokens_per_s.mid)
    assert speeds == sorted(speeds)


@pytest.mark.parametrize("precision", ["fp8", "nvfp4", "int8", "AWQ-int4"])
def test_what_the_engine_cannot_read_is_refused_on_the_processor(precision):
    demand = Demand(load=Load(isl=10, osl=100))
    options, lost = offers(local(), LLAMA, demand, precision=precision)
    assert not options
    assert f"reads no file in {precision.lower()}" in lost[0].why
    fleets = compare_here(
        *(here(), LLAMA, demand.load, FLEET, FILES),
        planner=Planner(load_calibration()),
        precision=precision,
    )
    assert not fleets.found
    assert "reads no file in" in fleets.refused["Zen, 8 cores, here"]


def test_a_precision_other_than_that_of_the_file_that_is_loaded_is_said(small):
    demand, model = Demand(load=Load(isl=10, osl=100)), plan_model("small", small)

    def said(precision: str, shape=small) -> str:
        (option,), _ = offers(local(shape=shape), model, demand, precision=precision)
        return "; ".join(option.assumptions)

    assert "haneul up loads weights in q4_1: for q8_0 it has to be given such a file" in said(
        "q8_0"
    )
    assert "haneul up loads what it finds by that name" in said("q8_0", None)
    assert "haneul up" not in said("")
    assert "haneul up" not in said("Q4_1")
    assert "haneul up" not in said("", replace(small, quantisation="IQ1_S"))
    assert "haneul up" not in said("fp16", replace(small, quantisation="F16"))


def test_the_terms_of_a_step_add_up_to_the_step():
    option = best(Load(isl=1, osl=400), users=1)
    assert sum(option.terms.values()) == pytest.approx(option.tpot.mid, rel=1e-6)


def test_the_curve_has_no_point_that_another_beats():
    points = local_curve(local(), LLAMA, Load(isl=50, osl=100))
    assert len(points) > 1
    assert [each.chip_tokens_per_s for each in points] == sorted(
        (each.chip_tokens_per_s for each in points), reverse=True
    )


def test_cards_found_here_are_planned_by_their_file_with_their_number_and_strange_ones_are_named():
    found, said = accelerators(here(H200, STRANGE), FILES, {}, TERMS)
    ((chip, terms),) = found
    assert (chip.id, chip.name, terms.chips_most) == ("h200", "H200 SXM here", 8)
    assert terms.rent is not None
    assert said == ["2 x X 9, found here: no chip file knows it"]
    ((_, told),), _ = accelerators(here(H200), FILES, {"h200": "1.5"}, TERMS)
    assert told.rent is not None
    assert told.rent.mid == 1.5


def test_a_tool_that_did_not_answer_is_said_in_the_plan():
    _, said = accelerators(here(not_asked=("npu-smi: -8005",)), FILES, {}, TERMS)
    assert said == ["chips of this machine may be missing: npu-smi: -8005"]


def test_this_machines_processor_and_its_cards_stand_in_one_ranked_table():
    groups, _ = accelerators(here(H200), FILES, {}, TERMS)
    search = Search(model=LLAMA, demand=Demand(load=Load(isl=500, osl=200)))
    planner = Planner(load_calibration())
    choice = choose(search, groups, planner=planner, local=local_of(here(H200), TERMS))
    chips = [option.chip for option in choice.options]
    assert "Zen, 8 cores, here" in chips
    assert "H200 SXM here" in chips
    costs = [each.price.request.mid for each in choice.options if each.price]
    assert costs == sorted(costs)


def test_cards_and_processor_of_this_machine_are_fleets_of_a_comparison():
    planner, load = Planner(load_calibration()), Load(isl=500, osl=200)
    fleets = compare_here(here(H200, STRANGE), LLAMA, load, FLEET, FILES, planner=planner)
    cards, processor = fleets.found
    assert cards.fleet == "8 x H200 SXM here"
    assert processor.fleet == "Zen, 8 cores, here"
    assert processor.hour is not None
    assert processor.hour.total_nano == hour_cost(FLEET, ZEN).total_nano  # type: ignore[union-attr]
    assert processor.energy is not None
    kwh = processor.power_w * FLEET.figures.pue.value / 3.6e6  # type: ignore[operator]
    assert processor.energy.mid == pytest.approx(kwh * 1e6 / processor.tokens_per_s.mid)
    assert "no chip file knows it" in fleets.refused["X 9"]
    large = load_models()["Llama-3.1-405B"]
    refused = compare_here(here(), large, load, FLEET, FILES, planner=planner).refused
    assert "GB are needed" in refused["Zen, 8 cores, here"]
