"""Memory: the forecast against real engines, and the laws of fitting."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from haneul.chips.chip import Chip
from haneul.chips.estimate import holds
from haneul.chips.footprint import fits, footprint, kv_bytes_per_token
from haneul.chips.shape import Shape

relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def test_resident_memory_of_real_engines_is_met_within_five_percent(
    small: Shape, half: Shape
) -> None:
    readings = [
        (small, 1024, 8, 364_298_240),
        (small, 1024, 4, 266_735_616),
        (half, 1024, 8, 772_108_288),
        (half, 1024, 4, 712_904_704),
    ]
    for shape, context_tokens, slots, measured in readings:
        total = footprint(shape, context_tokens=context_tokens, slots=slots).total
        assert holds(total, measured)
        assert total.mid == pytest.approx(measured, rel=0.05)


def test_keys_and_values_of_one_token_are_counted_by_their_own_heads(
    small: Shape, half: Shape
) -> None:
    assert kv_bytes_per_token(small) == 23_040
    assert kv_bytes_per_token(half) == 12_288


def test_a_sliding_window_bounds_the_middle_but_not_the_cautious_end(small: Shape) -> None:
    windowed = footprint(replace(small, sliding_window=512), context_tokens=8192, slots=2)
    whole = footprint(small, context_tokens=8192, slots=2)
    assert windowed.kv_bytes == (512 + 512) * 2 * kv_bytes_per_token(small)
    assert windowed.total.high == whole.total.high


def test_unknown_heads_are_counted_as_all_heads_and_widen_the_interval(small: Shape) -> None:
    unknown = footprint(replace(small, kv_heads=0), context_tokens=4096, slots=1)
    known = footprint(small, context_tokens=4096, slots=1)
    assert unknown.total.high > known.total.high
    assert unknown.total.low < known.total.mid


@relaxed
@given(context=st.integers(1, 100_000), slots=st.integers(1, 64), window=st.integers(0, 9000))
def test_the_parts_add_up_and_more_context_never_needs_less(
    half: Shape, context: int, slots: int, window: int
) -> None:
    shape = replace(half, sliding_window=window)
    need = footprint(shape, context_tokens=context, slots=slots)
    assert need.total.mid == need.weights_bytes + need.kv_bytes + need.compute_bytes
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
