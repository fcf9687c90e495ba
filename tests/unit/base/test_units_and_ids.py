"""Amounts, sizes and times as people read them; identifiers that sort and never repeat."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest
from haneul.base.ids import is_id, new_id
from haneul.base.units import parse_money, show_bytes, show_duration, show_money, show_time


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("5", 5_000_000_000),
        ("0.15", 150_000_000),
        ("0.000000001", 1),
        ("0.0000000005", 1),
        ("0.00000000049", 0),
        ("1e3", 10**12),
        ("0", 0),
        (" 2 ", 2_000_000_000),
        ("1000000000", 10**18),
    ],
)
def test_amounts_are_read_to_the_nano_unit(text, nano):
    assert parse_money(text) == nano


@pytest.mark.parametrize("text", ["", "-1", "five", "1,5", "NaN", "Infinity", "1e99", "0x5", "1 2"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(BadRequest, match="amount"):
        parse_money(text)


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (0, "USD 0.00"),
        (1, "USD 0.000000001"),
        (150_000_000, "USD 0.15"),
        (-1_500_000_000, "USD -1.50"),
        (12_345_678_901, "USD 12.345678901"),
    ],
)
def test_amounts_are_shown_without_idle_zeros(nano, shown):
    assert show_money(nano, "USD") == shown


def test_sizes_durations_and_times_carry_their_units():
    assert show_bytes(98_400_000) == "98.4 MB"
    assert show_bytes(999) == "999 B"
    assert show_bytes(5e15) == "5000.0 TB"
    assert show_duration(0.42) == "420 ms"
    assert show_duration(3.2) == "3.2 s"
    assert show_duration(250) == "4 min 10 s"
    assert show_duration(7500) == "2 h 05 min"
    assert show_time(0) == "1970-01-01 00:00:00Z"


@given(st.floats(0, 10**7, allow_nan=False) | st.sampled_from([0.9996, 59.96, 3599.6]))
def test_no_duration_shows_a_whole_greater_unit_in_a_smaller_one(seconds):
    *_, (last, unit) = re.findall(r"([0-9.]+) (ms|s|min|h)", show_duration(seconds))
    assert float(last) < {"ms": 1000, "s": 60, "min": 60, "h": 10**9}[unit]


def test_identifiers_are_unlike_and_of_one_form():
    made = [new_id("req") for _ in range(2000)]
    assert len(set(made)) == 2000
    assert all(is_id("req", one) for one in made)
    assert [one[:12] for one in made] == sorted(one[:12] for one in made), "they sort by time"


@pytest.mark.parametrize("text", ["", "req", "req_", "key_" + "0" * 26, "req_" + "u" * 26, "req_0"])
def test_other_texts_are_no_identifiers(text):
    assert not is_id("req", text)
