"""Forecasts of speed against what was measured, and the laws they keep."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from haneul.chips.backtest import Outcome, score
from haneul.chips.catalogue import as_chip, load_catalogue
from haneul.chips.chip import Chip
from haneul.chips.estimate import Estimate, around, holds, show
from haneul.chips.shape import Shape, met
from haneul.chips.speed import decode_speed, prefill_speed, step_bytes

relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

# llama.cpp, AVX2 build, two threads: tokens per second of all streams by count of streams, and of
# a prompt of 128-512 tokens (key 0). Format, bytes read per token, readings.
ZEN_SMALL = [
    ("Q4_1", 96_576_768, {0: 298, 1: 103, 4: 148, 16: 177, 32: 179}),
    ("Q8_0", 143_000_000, {0: 466, 1: 106, 4: 137, 16: 194, 32: 203}),
    ("Q4_0", 91_000_000, {0: 527, 1: 122, 4: 184, 16: 242, 32: 225}),
]
ZEN_HALF = {0: 145, 1: 44, 4: 55, 16: 79, 32: 86}
XEON_SMALL = {0: 257, 1: 78.5, 4: 139, 8: 157}
XEON_HALF = {0: 125, 1: 19.7, 4: 49.4}


def known(estimate: Estimate | None) -> Estimate:
    assert estimate is not None
    return estimate


def outcomes(shape: Shape, chip: Chip, readings: Mapping[int, float]) -> list[Outcome]:
    found = []
    for streams, measured in readings.items():
        if streams:
            forecast = known(decode_speed(shape, chip, streams=streams))
            found.append(Outcome("decode", forecast, measured))
        else:
            found.append(Outcome("prefill", known(prefill_speed(shape, chip)), measured))
    return found


def test_the_readings_behind_the_constants_are_met(
    small: Shape, half: Shape, zen: Chip, xeon: Chip
) -> None:
    met = outcomes(half, zen, ZEN_HALF) + outcomes(half, xeon, XEON_HALF)
    met += outcomes(small, xeon, XEON_SMALL)
    for name, count, readings in ZEN_SMALL:
        shape = replace(small, quantisation=name, active_bytes=count, weight_bytes=count)
        met += outcomes(shape, zen, readings)
    decode, prefill = score(met)
    assert (decode.count, prefill.count) == (21, 6)
    assert decode.median_error < 0.10
    assert prefill.median_error < 0.20
    assert decode.worst_error < 0.35
    assert prefill.worst_error < 0.30
    assert decode.inside >= 0.8
    assert prefill.inside >= 0.8


def test_published_readings_of_graphics_cards_lie_in_the_interval() -> None:
    """llama-bench: TinyLlama-1.1B 762 and 18,709 tok/s on an RTX 4090 (ai-benchmarks, no. 43)."""
    tiny = Shape(
        architecture="llama",
        layers=22,
        hidden=2048,
        heads=32,
        kv_heads=4,
        key_size=64,
        value_size=64,
        feed_forward=5632,
        vocabulary=32_000,
        context_tokens=2048,
        parameters=1_100_048_384,
        active_parameters=1_034_512_384,
        weight_bytes=667_000_000,
        active_bytes=630_000_000,
        quantisation="Q4_K_M",
    )
    catalogue = load_catalogue()
    card = as_chip(catalogue, next(k for k in catalogue.chip if k.name == "RTX 4090"))
    assert holds(known(decode_speed(tiny, card)), 762)
    assert holds(known(prefill_speed(tiny, card)), 18_709)


@relaxed
@given(
    factor=st.floats(1.0, 20.0),
    streams=st.integers(1, 64),
    cores=st.integers(1, 64),
)
def test_more_of_anything_good_is_never_slower(
    small: Shape, zen: Chip, factor: float, streams: int, cores: int
) -> None:
    base = known(decode_speed(small, zen, streams=streams))
    assert zen.bandwidth is not None
    wide = around(zen.bandwidth.mid * factor, "B/s", factor=1.25, source="more")
    assert known(decode_speed(small, replace(zen, bandwidth=wide), streams=streams)).mid >= base.mid
    assert known(decode_speed(small, zen, streams=streams + 1)).mid >= base.mid
    fewer, more = replace(zen, cores=cores), replace(zen, cores=cores + 1)
    assert known(prefill_speed(small, more)).mid >= known(prefill_speed(small, fewer)).mid
    lighter = replace(small, active_bytes=int(small.active_bytes / factor))
    assert known(decode_speed(lighter, zen, streams=streams)).mid >= base.mid


@relaxed
@given(streams=st.integers(1, 64), context=st.integers(0, 8192))
def test_context_already_there_never_speeds_a_step_up(
    small: Shape, zen: Chip, streams: int, context: int
) -> None:
    empty = known(decode_speed(small, zen, streams=streams))
    full = known(decode_speed(small, zen, streams=streams, context_tokens=context))
    assert full.mid <= empty.mid
    assert full.low <= full.mid <= full.high


@given(
    experts=st.integers(2, 256),
    used_share=st.floats(0.01, 0.99),
    streams=st.integers(1, 512),
)
def test_a_mixture_reads_more_with_more_streams_but_never_more_than_the_file(
    experts: int, used_share: float, streams: int
) -> None:
    used = max(1, min(experts - 1, int(experts * used_share)))
    shared, per_expert = 10_000_000, 1_000_000
    shape = Shape(
        architecture="moe",
        layers=24,
        hidden=2048,
        heads=16,
        kv_heads=4,
        key_size=128,
        value_size=128,
        feed_forward=1024,
        vocabulary=32_000,
        context_tokens=4096,
        parameters=10**9,
        active_parameters=10**8,
        weight_bytes=shared + experts * per_expert,
        active_bytes=shared + used * per_expert,
        quantisation="Q4_0",
        experts=experts,
        experts_used=used,
    )
    one, many, more = (step_bytes(shape, count) for count in (1, streams, streams + 1))
    assert one == pytest.approx(shape.active_bytes)
    assert one <= many * (1 + 1e-9)
    assert many <= more * (1 + 1e-9)
    assert more <= shape.weight_bytes * (1 + 1e-9)


def test_a_cpu_never_measured_gets_a_wider_interval_and_says_so(small: Shape, zen: Chip) -> None:
    foreign = replace(zen, instruction_sets=("asimd", "asimddp"), bandwidth=None)
    guess, sure = known(decode_speed(small, foreign)), known(decode_speed(small, zen))
    assert guess.high / guess.low > 1.5 * (sure.high / sure.low)
    assert "not measured" in guess.source
    assert "assumed" in guess.source


def test_a_chip_whose_figures_nobody_published_gets_no_forecast(small: Shape) -> None:
    catalogue = load_catalogue()
    ppu = as_chip(catalogue, next(k for k in catalogue.chip if k.name == "T-Head PPU"))
    assert decode_speed(small, ppu) is None
    assert prefill_speed(small, ppu) is None


def test_a_person_reads_speed_with_its_interval(small: Shape, zen: Chip) -> None:
    text = show(known(decode_speed(small, zen)))
    assert text.endswith(")")
    assert " tok/s (" in text


def test_a_table_that_is_only_looked_up_is_not_multiplied_with(half: Shape, small: Shape) -> None:
    """A file's shape counts every weight as active; its bytes tell that one table is not read."""
    counted = replace(half, active_parameters=half.parameters)
    assert met(counted) == met(half) == half.parameters - half.vocabulary * half.hidden
    assert met(small) == small.parameters, "its table is the head as well"
    assert met(replace(counted, experts=8, experts_used=2)) == half.parameters, "cannot be told"
