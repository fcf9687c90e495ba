"""Memory: the forecast against real engines, and the laws of fitting."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from haneul.chips.chip import Chip
from haneul.chips.estimate import holds
from haneul.chips.footprint import fits, footprint, kv_bytes, kv_bytes_per_token
from haneul.chips.shape import Layers, Shape

relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


# Megabytes of all processes of the engine, by format and slots of 4,096 tokens each.
SMALL_MB = {("Q4_1", 1): 332, ("Q4_1", 8): 1015, ("Q4_0", 1): 381, ("Q4_0", 8): 1068}
SMALL_MB |= {("Q8_0", 1): 373, ("Q8_0", 8): 1062}
HALF_MB = {("Q4_K_M", 1): 801, ("Q4_K_M", 8): 1172, ("Q4_0", 1): 977, ("Q4_0", 8): 1354}
HALF_MB |= {("Q8_0", 1): 957, ("Q8_0", 8): 1330}
SMALL_BYTES = {"Q4_1": 96_576_768, "Q4_0": 89_941_248, "Q8_0": 143_000_000}
HALF_BYTES = {"Q4_K_M": 485_452_288, "Q4_0": 490_850_000, "Q8_0": 669_764_000}


def test_memory_of_real_engines_is_met_within_three_percent(small: Shape, half: Shape) -> None:
    for shape, sizes, readings in (
        (small, SMALL_BYTES, SMALL_MB),
        (half, HALF_BYTES, HALF_MB),
    ):
        for (quantisation, slots), measured_mb in readings.items():
            file = replace(shape, quantisation=quantisation, weight_bytes=sizes[quantisation])
            total = footprint(file, context_tokens=4096, slots=slots).total
            assert holds(total, measured_mb * 1e6)
            assert total.mid == pytest.approx(measured_mb * 1e6, rel=0.03)


def test_a_second_copy_counts_as_seen_but_need_not_stay_free(half: Shape) -> None:
    plain = footprint(replace(half, quantisation="Q4_1"), context_tokens=4096, slots=1)
    copied = footprint(replace(half, quantisation="Q4_0"), context_tokens=4096, slots=1)
    assert copied.copied_bytes == pytest.approx(201e6, rel=0.01), "4.5 bits of 358 million"
    assert copied.total.mid - plain.total.mid == copied.copied_bytes
    assert copied.lasting.high == pytest.approx(plain.lasting.high)


def test_keys_and_values_of_one_token_are_counted_by_their_own_heads(
    small: Shape, half: Shape
) -> None:
    assert kv_bytes_per_token(small) == 23_040
    assert kv_bytes_per_token(half) == 12_288


def test_a_window_bounds_what_engines_keep_that_let_go_of_what_it_left(small: Shape) -> None:
    shape = replace(small, sliding_window=512)
    windowed = footprint(shape, context_tokens=8192, slots=2, has_windows=True)
    own = footprint(shape, context_tokens=8192, slots=2)
    whole = footprint(small, context_tokens=8192, slots=2)
    assert windowed.kv_bytes == (512 + 512) * 2 * kv_bytes_per_token(small)
    assert own.kv_bytes == whole.kv_bytes
    assert windowed.total.high == own.total.high == whole.total.high
    assert windowed.total.low == own.total.low < whole.total.low


def test_unknown_heads_are_counted_as_all_heads_and_widen_the_interval(small: Shape) -> None:
    unknown = footprint(replace(small, kv_heads=0), context_tokens=4096, slots=1)
    known = footprint(small, context_tokens=4096, slots=1)
    assert unknown.total.high > known.total.high
    assert unknown.total.low < known.total.mid


def test_published_cache_sizes_are_met(half: Shape) -> None:
    """DeepSeek's own table (arXiv 2505.09343, table 1): bytes of one token at 16 bits."""
    latent = replace(half, layers=61, memory=(Layers(count=61, numbers=512 + 64),))
    qwen = replace(half, layers=80, kv_heads=8, key_size=128, value_size=128)
    llama = replace(half, layers=126, kv_heads=8, key_size=128, value_size=128)
    assert kv_bytes_per_token(latent) == 70_272
    assert kv_bytes_per_token(qwen) == 327_680
    assert kv_bytes_per_token(llama) == 516_096


def test_layers_that_look_back_a_window_stop_growing_and_linear_ones_never_grow(
    half: Shape,
) -> None:
    mixed = replace(
        half,
        layers=4,
        memory=(
            Layers(count=2, numbers=100, window=1000),
            Layers(count=1, numbers=100),
            Layers(count=1, numbers=0, state_bytes=5000),
        ),
    )
    assert kv_bytes(mixed, 10, batch_tokens=0) == (2 + 1) * 10 * 100 * 2 + 5000
    assert kv_bytes(mixed, 3000, batch_tokens=0) == (2 * 1000 + 3000) * 100 * 2 + 5000
    assert kv_bytes(mixed, 3000, is_cautious=True) == 3 * 3000 * 100 * 2 + 5000


def test_an_entry_that_tokens_share_is_counted_once(half: Shape) -> None:
    shared = replace(half, memory=(Layers(count=3, numbers=512, every=4),))
    assert kv_bytes(shared, 4000) == 3 * 512 * 1000 * 2
    assert kv_bytes(shared, 4001) == 3 * 512 * 1001 * 2


groups = st.lists(
    st.builds(
        Layers,
        count=st.integers(1, 100),
        numbers=st.integers(0, 5000),
        window=st.integers(0, 5000),
        every=st.integers(1, 128),
        state_bytes=st.integers(0, 10**7),
    ),
    min_size=1,
    max_size=4,
).map(tuple)


@relaxed
@given(memory=groups, context=st.integers(0, 300_000), more=st.integers(0, 9000))
def test_more_context_never_keeps_less_and_caution_never_counts_less(
    half: Shape, memory: tuple[Layers, ...], context: int, more: int
) -> None:
    shape = replace(half, memory=memory)
    assert kv_bytes(shape, context) <= kv_bytes(shape, context + more)
    assert kv_bytes(shape, context) <= kv_bytes(shape, context, is_cautious=True)
    assert kv_bytes(shape, context, batch_tokens=0) <= kv_bytes(shape, context)


@relaxed
@given(context=st.integers(1, 100_000), slots=st.integers(1, 64), window=st.integers(0, 9000))
def test_the_parts_add_up_and_more_context_never_needs_less(
    half: Shape, context: int, slots: int, window: int
) -> None:
    shape = replace(half, sliding_window=window)
    need = footprint(shape, context_tokens=context, slots=slots)
    parts = (need.weights_bytes, need.kv_bytes, need.compute_bytes, need.copied_bytes)
    assert need.total.mid == sum(parts)
    assert need.total.low <= need.total.mid <= need.total.high
    more = footprint(shape, context_tokens=context + 1, slots=slots)
    wider = footprint(shape, context_tokens=context, slots=slots + 1)
    assert more.total.mid >= need.total.mid
    assert wider.total.mid >= need.total.mid


def test_fitting_compares_the_cautious_end_with_what_is_free(small: Shape, zen: Chip) -> None:
    need = footprint(small, context_tokens=4096, slots=4)
    room = fits(need, replace(zen, memory_free_bytes=round(need.total.high) + 1))
    tight = fits(need, replace(zen, memory_free_bytes=round(need.total.mid)))
    assert room.fits is True
    assert tight.fits is False
    assert tight.reason.startswith("Does not fit: needs ")
    assert "weights 96.6 MB" in tight.reason


def test_unknown_free_memory_is_said_not_guessed(small: Shape, zen: Chip) -> None:
    need = footprint(small, context_tokens=4096, slots=4)
    answer = fits(need, replace(zen, memory_free_bytes=None))
    assert answer.fits is None
    assert "unknown" in answer.reason


def test_memory_of_alike_cards_adds_up(half: Shape, zen: Chip) -> None:
    need = footprint(half, context_tokens=4096, slots=4)
    card = replace(zen, kind="gpu", memory_free_bytes=round(need.total.high * 0.6))
    assert fits(need, card).fits is False
    assert fits(need, replace(card, count=2)).fits is True
