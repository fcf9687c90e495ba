"""`haneul plan compare`: unlike fleets at one load, and the laws of what they cost."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from haneul.base.units import NANO
from haneul.chips.fleet import load as load_fleet
from haneul.chips.plan.asked import parse_group
from haneul.chips.plan.calibration import Planner, load_calibration
from haneul.chips.plan.chipfiles import load_chips, load_models
from haneul.chips.plan.compare import compare
from haneul.chips.plan.owning import with_figures
from haneul.chips.plan.terms import Load
from haneul.cli.main import haneul

CHIPS, MODELS, FLEET = load_chips(), load_models(), load_fleet()
PLANNER = Planner(load_calibration())
LOAD = Load(isl=2000, osl=500, tpot_s=0.05)
WORDS = ("Llama-3.1-8B", "--isl", "2000", "--osl", "500", "--fleet", "8xH100", "--fleet", "16xppu")


def of(text, *, fleet=FLEET, model="Llama-3.1-8B", **options):
    group = parse_group(text, CHIPS)
    return compare(MODELS[model], LOAD, group, fleet, planner=PLANNER, **options)


@pytest.fixture
def run(tmp_path):
    def plan(*words, code=0):
        environ = {"HANEUL_HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path)}
        done = CliRunner().invoke(haneul, ["plan", "compare", *words], env=environ)
        assert done.exit_code == code, done.output
        return done.output

    return plan


@settings(deadline=None, max_examples=10)
@given(power=st.floats(0.01, 0.5), factor=st.floats(1.0, 4.0))
def test_dearer_power_makes_bought_tokens_dearer_and_rented_ones_not(power, factor):
    def output(electricity, **options):
        fleet = with_figures(FLEET, electricity=electricity)
        return of("8xH100", fleet=fleet, **options).price.output.mid

    bought = {"purchases": {"h100": "25000"}}
    assert output(power * factor, **bought) >= output(power, **bought)
    assert output(power * factor) == output(power)


@settings(deadline=None, max_examples=8)
@given(count=st.integers(1, 40))
def test_one_more_chip_never_does_less_and_every_chip_is_counted(count):
    few, more = of(f"{count}xH100"), of(f"{count + 1}xH100")
    assert more.tokens_per_s.mid >= few.tokens_per_s.mid * 0.9999
    assert 0 <= few.idle_chips < count
    assert few.hour.total_nano == count * 2_950_000_000


def test_tokens_pay_for_the_hours_that_are_sold():
    found = of("8xH100")
    share = FLEET.figures.utilisation_share.value
    requests = found.tokens_per_s.mid / LOAD.osl * 3600 * share
    assert requests * found.price.request.mid == pytest.approx(found.hour.total_nano / NANO)
    paid = LOAD.isl * found.price.input.mid + LOAD.osl * found.price.output.mid
    assert paid / 1e6 == pytest.approx(found.price.request.mid)


def test_energy_is_power_over_speed_with_what_cooling_takes():
    found = of("8xH100")
    kw = 8 * 0.7 * FLEET.figures.pue.value
    assert found.energy.mid == pytest.approx(kw / 3600 * 1e6 / found.tokens_per_s.mid)
    assert found.energy.low < found.energy.mid < found.energy.high


def test_a_supernode_of_each_kind_is_compared_and_the_newer_does_more_with_less_power(run):
    words = (
        "DeepSeek-R1",
        "--isl",
        "4000",
        "--osl",
        "1000",
        "--tpot",
        "50",
        "--electricity",
        "0.08",
    )
    fleets = ("--fleet", "384x910C", "--fleet", "72xGB200")
    bought = ("--purchase", "910C=20000", "--purchase", "GB200=50000")
    older, newer = json.loads(run(*words, *fleets, *bought, "--json"))["fleets"]
    assert (older["power_w"], newer["power_w"]) == (559_000, 145_000)
    assert newer["tokens_per_s_per_chip"]["mid"] > older["tokens_per_s_per_chip"]["mid"]
    assert newer["energy"]["mid"] < older["energy"]["mid"]
    assert older["hour"]["power_nano"] > newer["hour"]["power_nano"] > 0


def test_a_fleet_that_cannot_be_forecast_is_named_with_the_reason(run):
    text = run(*WORDS)
    assert "8 x H100 SXM" in text
    assert "bandwidth of T-Head PPU is unknown" in text
    found = json.loads(run(*WORDS, "--json"))
    assert found["refused"].keys() == {"16 x T-Head PPU"}
    assert "above zero" in run(*WORDS, "--tpot", "-1", code=1)


def test_one_line_says_who_makes_most_and_who_needs_least(run):
    fleets = ("--fleet", "8xH100", "--fleet", "8xH200", "--fleet", "8xL40S")
    words = (*WORDS[:5], *fleets, "--price", "H200=1", "--price", "H100=2", "--price", "L40S=0.9")
    found = json.loads(run(*words, "--json"))
    best = max(found["fleets"], key=lambda each: each["tokens_per_s"]["mid"])["fleet"]
    thrifty = min(found["fleets"], key=lambda each: each["energy"]["mid"])["fleet"]
    assert found["answer"].startswith(f"Most output: {best}, ")
    assert f"least energy: {thrifty}, " in found["answer"]
    assert run(*words).splitlines()[0] == found["answer"]
    cheapest = found["answer"].partition("cheapest output: ")[2]
    priced = [each for each in found["fleets"] if each["price"]]
    assert cheapest.startswith(
        min(priced, key=lambda each: each["price"]["output"]["mid"])["fleet"]
    )
