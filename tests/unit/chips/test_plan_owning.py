"""What planned chips cost by the hour: bought or rented, with power, by the ledger's rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from haneul.base.errors import BadRequest
from haneul.chips.fleet import load
from haneul.chips.plan.asked import Group, parse_group
from haneul.chips.plan.chipfiles import load_chips
from haneul.chips.plan.owning import hour_of, rent_of, watts_of, with_figures

CHIPS, FLEET = load_chips(), load()


@given(
    count=st.integers(1, 5000),
    purchase=st.integers(0, 10**6),
    electricity=st.floats(0, 1),
    pue=st.floats(1, 3),
    utilisation=st.floats(0.001, 1),
)
def test_an_hour_is_the_sum_of_its_parts(count, purchase, electricity, pue, utilisation):
    fleet = with_figures(FLEET, electricity=electricity, pue=pue, utilisation=utilisation)
    hour = hour_of(fleet, Group(CHIPS["h100"], count), purchases={"h100": str(purchase)})
    assert hour is not None
    parts = hour.hardware_nano + hour.rent_nano + hour.power_nano + hour.other_nano
    assert hour.total_nano == parts
    assert hour.low_nano <= hour.total_nano <= hour.high_nano
    assert hour.rent_nano == 0


@given(price=st.floats(0, 0.9), more=st.floats(0.01, 1))
def test_dearer_power_never_makes_an_hour_cheaper(price, more):
    def total(electricity):
        fleet = with_figures(FLEET, electricity=electricity)
        found = hour_of(fleet, Group(CHIPS["ascend-910c"], 384), purchases={"ascend-910c": "20000"})
        return found.total_nano

    assert total(price) <= total(price + more)


def test_a_supernode_takes_the_power_of_all_of_it_with_its_hosts_counted_once():
    group = parse_group("384x910C", CHIPS)
    assert watts_of(group) == 559_000
    fleet = with_figures(FLEET, electricity=0.1, pue=1.0, utilisation=1.0)
    hour = hour_of(fleet, group, purchases={"ascend-910c": "0"})
    assert hour.power_nano == pytest.approx(55.9e9, rel=1e-6)


def test_a_rent_has_power_in_it_and_what_is_told_beats_what_was_seen():
    told = hour_of(FLEET, Group(CHIPS["h100"], 8), rents={"h100": "2.00"})
    assert (told.basis, told.total_nano, told.power_nano) == ("rent", 16 * 10**9, 0)
    seen = hour_of(FLEET, Group(CHIPS["h100"], 8))
    assert seen.total_nano == 8 * 2_950_000_000
    assert seen.low_nano < seen.total_nano < seen.high_nano
    assert rent_of(CHIPS["h100"], {"h100": "2.00"}).mid == 2
    assert rent_of(CHIPS["h100"], {}).mid == pytest.approx(2.95)


def test_what_nobody_knows_is_unknown():
    unpriced = replace(CHIPS["h100"], price=None, power_w=None)
    assert rent_of(unpriced, {}) is None
    assert hour_of(FLEET, Group(unpriced, 8)) is None
    assert watts_of(Group(unpriced, 8)) is None
    bought = hour_of(FLEET, Group(unpriced, 8), purchases={"h100": "30000"})
    assert bought.power_nano == 0
    assert "power unknown" in bought.source


def test_a_chip_is_not_bought_and_rented_at_once():
    with pytest.raises(BadRequest, match="both"):
        hour_of(FLEET, Group(CHIPS["h100"], 1), purchases={"h100": "1"}, rents={"h100": "1"})


@pytest.mark.parametrize(
    "figure",
    [{"pue": 0.5}, {"utilisation": 0.0}, {"utilisation": 2.0}, {"electricity": -1.0},
     {"life_years": 0.0}, {"pue": float("nan")}],
)  # fmt: skip
def test_a_figure_out_of_range_is_refused(figure):
    with pytest.raises(BadRequest, match="between"):
        with_figures(FLEET, **figure)
