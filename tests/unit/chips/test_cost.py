"""What an hour and a million tokens cost: laws, and files that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from haneul.base.errors import BadRequest, CommandError
from haneul.base.units import NANO
from haneul.chips.catalogue import as_chip, load_catalogue
from haneul.chips.chip import Chip
from haneul.chips.cost import HourCost, hour_cost, token_price
from haneul.chips.estimate import Estimate, around
from haneul.chips.fleet import Amount, Machine, load

relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
speeds = st.floats(min_value=0.01, max_value=1e6)
shares = st.floats(min_value=0.001, max_value=1.0)


def speed(mid: float, spread: float = 1.4) -> Estimate:
    return around(mid, "tok/s", factor=spread, source="test")


def hour(total: int = 50_000_000) -> HourCost:
    return HourCost(
        currency="USD",
        basis="rent",
        hardware_nano=0,
        rent_nano=total,
        power_nano=0,
        other_nano=0,
        total_nano=total,
        low_nano=total // 2,
        high_nano=total * 2,
        source="test",
    )


def known(cost: HourCost | None) -> HourCost:
    assert cost is not None
    return cost


def card(name: str) -> Chip:
    catalogue = load_catalogue()
    return as_chip(catalogue, next(entry for entry in catalogue.chip if entry.name == name))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    return path


@relaxed
@given(
    cores=st.integers(1, 512),
    memory_gb=st.integers(0, 4096),
    count=st.integers(1, 64),
)
def test_the_parts_of_an_hour_add_up_exactly(
    zen: Chip, cores: int, memory_gb: int, count: int
) -> None:
    chip = replace(zen, cores=cores, memory_bytes=memory_gb * 10**9, count=count)
    cost = known(hour_cost(load(), chip))
    parts = (cost.hardware_nano, cost.rent_nano, cost.power_nano, cost.other_nano)
    assert sum(parts) == cost.total_nano
    assert all(part >= 0 for part in parts)
    assert cost.low_nano <= cost.total_nano <= cost.high_nano


@given(st.integers(1, 10**13), speeds, speeds, shares, shares)
def test_more_utilisation_is_never_dearer(
    total: int, decode: float, prefill: float, one: float, other: float
) -> None:
    less, more = sorted((one, other))
    idle, busy = (
        token_price(hour(total), decode=speed(decode), prefill=speed(prefill), utilisation=share)
        for share in (less, more)
    )
    for name in ("input", "cached_input", "output"):
        assert getattr(busy, name).mid_nano <= getattr(idle, name).mid_nano
        assert getattr(busy, name).high_nano <= getattr(idle, name).high_nano


@given(st.integers(1, 10**13), speeds, st.floats(1.0, 100.0))
def test_faster_is_never_dearer(total: int, mid: float, gain: float) -> None:
    slow, fast = (
        token_price(hour(total), decode=speed(value), prefill=speed(value), utilisation=0.3)
        for value in (mid, mid * gain)
    )
    assert fast.output.mid_nano <= slow.output.mid_nano
    assert fast.input.mid_nano <= slow.input.mid_nano


@given(st.integers(1, 10**13), speeds, speeds, shares, shares)
def test_a_price_is_an_interval_and_a_cached_token_is_never_dearer_than_a_fresh_one(
    total: int, decode: float, prefill: float, utilisation: float, share: float
) -> None:
    price = token_price(
        hour(total),
        decode=speed(decode),
        prefill=speed(prefill),
        utilisation=utilisation,
        cached_share=share,
    )
    for part in (price.input, price.cached_input, price.output):
        assert part.low_nano <= part.mid_nano <= part.high_nano
    assert price.cached_input.mid_nano <= price.input.mid_nano


def test_tokens_of_the_hours_sold_pay_for_all_hours() -> None:
    """100 tok/s for 30 % of an hour are 108,000 tokens; together they cost the hour."""
    price = token_price(hour(54_000_000), decode=speed(100), prefill=speed(1000), utilisation=0.3)
    assert price.output.mid_nano == 500_000_000
    assert price.input.mid_nano == 50_000_000
    assert price.cached_input.mid_nano == 5_000_000
    assert price.output.mid_nano * 108_000 // 1_000_000 == 54_000_000


def test_a_price_needs_speeds_and_a_share(zen: Chip) -> None:
    with pytest.raises(BadRequest):
        token_price(hour(), decode=speed(1), prefill=speed(1), utilisation=0)
    with pytest.raises(BadRequest):
        token_price(hour(), decode=speed(1), prefill=speed(1), utilisation=0.5, cached_share=2)
    still = Estimate(low=0, mid=1, high=2, unit="tok/s", source="test")
    with pytest.raises(BadRequest):
        token_price(hour(), decode=still, prefill=speed(1), utilisation=0.5)


def test_a_small_machine_costs_cents_an_hour_by_default(zen: Chip) -> None:
    """2 cores and 24 GB: 240 in hardware, 90 % over 4 years, 8 W on average."""
    cost = known(hour_cost(load(), zen))
    assert cost.basis == "purchase"
    assert cost.hardware_nano == round(240 * 0.9 / (4 * 8766) * NANO)
    assert cost.power_nano == round(8.3 / 1000 * 1.3 * 0.15 * NANO)
    assert 5_000_000 < cost.total_nano < 20_000_000


def test_a_rented_card_costs_its_rent_and_an_unpriced_one_is_unknown() -> None:
    fleet = load()
    cost = known(hour_cost(fleet, card("H100 SXM")))
    assert (cost.basis, cost.rent_nano, cost.total_nano) == ("rent", 2_950_000_000, 2_950_000_000)
    assert (cost.low_nano, cost.high_nano) == (1_990_000_000, 5_000_000_000)
    assert known(hour_cost(fleet, replace(card("H100 SXM"), count=8))).total_nano == 23_600_000_000
    assert hour_cost(fleet, card("T-Head PPU")) is None


def test_the_owners_price_replaces_the_assumption(tmp_path: Path, zen: Chip) -> None:
    path = write(
        tmp_path,
        """[chips."cpu-zen4"]
rent_per_hour = { amount = "0.085", source = "our list" }
[chips.npu-alibaba-t-head-ppu]
purchase = { amount = "10000", source = "invoice" }
""",
    )
    fleet = load(path)
    rented = known(hour_cost(fleet, zen))
    assert (rented.basis, rented.total_nano, rented.source) == ("rent", 85_000_000, "our list")
    assert rented.low_nano == rented.high_nano == rented.total_nano
    bought = known(hour_cost(fleet, card("T-Head PPU")))
    assert bought.basis == "purchase"
    assert bought.power_nano > 0


def test_power_that_nobody_told_is_not_counted_and_that_is_said() -> None:
    fleet = load()
    chip = Chip(id="gpu-x", name="X", kind="gpu", vendor="X")
    assert hour_cost(replace(fleet, chips={"gpu-x": Machine()}), chip) is None
    bought = Machine(purchase=Amount("1000", source="invoice"))
    cost = known(hour_cost(replace(fleet, chips={"gpu-x": bought}), chip))
    assert cost.power_nano == 0
    assert "power unknown" in cost.source


def test_lines_that_are_not_given_keep_their_defaults(tmp_path: Path) -> None:
    path = write(
        tmp_path, '[figures]\nelectricity_per_kwh = { value = 0.31, source = "our bill" }\n'
    )
    fleet = load(path)
    assert fleet.figures.electricity_per_kwh.value == 0.31
    assert fleet.figures.life_years == load().figures.life_years


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[figures]\nlive_years = { value = 3, source = 'x' }\n", "live_years"),
        ("[figures]\nlife_years = { value = 0, source = 'x' }\n", "life_years"),
        ("[figures]\nlife_years = { value = 3 }\n", "source"),
        ("[figures]\nutilisation_share = { value = 0, source = 'x' }\n", "utilisation_share"),
        ("[figures]\npue = { value = 0.5, source = 'x' }\n", "pue"),
        ("currency = 'dollars'\n", "currency"),
        ("currency = 'EUR'\n", "electricity_per_kwh"),
        ("[chips.a]\nrent_per_hour = { amount = '-1', source = 'x' }\n", "amount"),
        (
            "[chips.a]\nrent_per_hour = { amount = '1', source = 'x' }\n"
            "purchase = { amount = '1', source = 'x' }\n",
            "both",
        ),
        ("not toml at all", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(CommandError, match=named):
        load(write(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read"):
        load(tmp_path / "none.toml")


def test_another_currency_must_bring_its_own_amounts(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """currency = "EUR"
[figures]
electricity_per_kwh = { value = 0.25, source = "our bill" }
[cpu]
price_per_core = { value = 55, source = "our invoice" }
price_per_gb = { value = 4, source = "our invoice" }
""",
    )
    fleet = load(path)
    assert fleet.currency == "EUR"
    assert hour_cost(fleet, card("H100 SXM")) is None  # seen rents are in USD
