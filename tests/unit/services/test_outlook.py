"""What a model would do on a machine, and what would do instead where it does not fit."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from haneul.base.config import Config
from haneul.chips.chip import Chip
from haneul.chips.estimate import around
from haneul.chips.fleet import load as load_fleet
from haneul.chips.footprint import fits, footprint
from haneul.models import catalogue
from haneul.models.preview import of_catalogue
from haneul.models.previewed import Variant
from haneul.services.outlook import Machine, alternatives, outlook

GB = 10**9
ENTRIES = catalogue.load().entries


def machine(free_bytes: int | None = 20 * GB, **options) -> Machine:
    chip = Chip(
        id="cpu-x",
        name="X",
        kind="cpu",
        vendor="test",
        cores=2,
        memory_bytes=free_bytes,
        memory_free_bytes=free_bytes,
        instruction_sets=("avx2",),
        bandwidth=around(30e9, "B/s", factor=1.2, source="measured"),
    )
    return Machine(chip=chip, config=Config(**options), fleet=load_fleet())


def seen(name: str):
    return of_catalogue(catalogue.load().find(name))


def test_forecast_has_intervals_and_a_price():
    here = outlook(seen("qwen3:4b").shape, machine())
    assert here.fit.fits
    assert here.context_tokens == 4096
    assert 0 < here.speed.decode.low < here.speed.decode.mid < here.speed.decode.high
    assert 0 < here.price.output.low_nano < here.price.output.mid_nano < here.price.output.high_nano


def test_unknown_memory_is_neither_a_fit_nor_a_refusal():
    here = outlook(seen("qwen3:4b").shape, machine(None))
    assert here.fit.fits is None


def test_price_in_another_currency_than_the_fleet_is_unknown():
    assert outlook(seen("qwen3:4b").shape, machine(currency="KRW")).price is None


@pytest.mark.parametrize("free_gb", [1, 4, 20, 80])
@pytest.mark.parametrize("name", ["deepseek-v3.1:671b", "qwen3:235b-a22b", "llama3.3:70b"])
def test_three_others_are_named_that_fit_and_can_be_pulled(name, free_gb):
    here, wanted = machine(free_gb * GB), seen(name)
    if outlook(wanted.shape, here).fit.fits:
        return
    found = alternatives(wanted, here, ENTRIES)
    assert len({other.name for other in found}) == 3
    for other in found:
        entry = catalogue.load().find(other.name)
        assert entry.sources
        assert set(entry.tasks) & set(catalogue.load().find(name).tasks)
        assert outlook(entry.shape, here).fit.fits
        assert other.needed.high <= free_gb * GB


def test_relatives_come_first_and_of_each_family_one():
    wanted = catalogue.load().find("qwen3:235b-a22b")
    found = alternatives(of_catalogue(wanted), machine(), ENTRIES)
    entries = [catalogue.load().find(other.name) for other in found]
    assert entries[0].family == wanted.family
    assert found[0].why == "of the same family"
    assert len({entry.family for entry in entries}) == 3
    assert [entry.maker == wanted.maker for entry in entries] == [True, True, True]


def test_model_in_fewer_bits_is_the_first_choice_unless_it_has_too_few():
    wanted = seen("llama3.1:8b")
    sizes = {"Q8_0": 9 * GB, "Q6_K": 6 * GB, "Q3_K_M": 4 * GB, "IQ1_S": 2 * GB}
    variants = tuple(Variant(f"hf:o/r:{tag}", tag, size) for tag, size in sizes.items())
    wanted = replace(wanted, shape=replace(wanted.shape, weight_bytes=8 * GB), variants=variants)
    found = alternatives(wanted, machine(6 * GB), ENTRIES)
    assert found[0].name == "hf:o/r:Q3_K_M"
    assert len(found) == 3
    tight = alternatives(wanted, machine(3 * GB), ENTRIES)
    assert not any(other.name.startswith("hf:o/r") for other in tight)


def test_nothing_is_named_where_nothing_fits_or_nothing_is_known():
    assert alternatives(seen("qwen3:8b"), machine(10**7), ENTRIES) == ()
    assert alternatives(replace(seen("qwen3:8b"), shape=None), machine(), ENTRIES) == ()


def test_alternatives_take_far_less_than_a_second():
    wanted, here = seen("deepseek-v3.1:671b"), machine()
    started = time.perf_counter()
    for _ in range(20):
        fits(footprint(wanted.shape, context_tokens=4096, slots=4), here.chip)
    once = (time.perf_counter() - started) / 20
    started = time.perf_counter()
    assert alternatives(wanted, here, ENTRIES)
    took = time.perf_counter() - started
    assert took < max(1.0, 1000 * once)
