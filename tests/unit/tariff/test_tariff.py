"""Prices of one's own tokens: from a forecast first, from a measurement then, on the same rule."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from haneul.chips.calibrate import Correction
from haneul.chips.chip import Chip
from haneul.chips.cost import hour_cost
from haneul.chips.estimate import around
from haneul.chips.fleet import load
from haneul.models import catalogue
from haneul.services import tariff
from haneul.services.measure import Speeds
from haneul.services.tariff import Forecast

CHIP = Chip(
    id="cpu-test-2c",
    name="test",
    kind="cpu",
    vendor="test",
    cores=2,
    memory_bytes=16 << 30,
    memory_free_bytes=8 << 30,
    instruction_sets=("avx2",),
    bandwidth=around(20e9, "B/s", factor=1.2, source="test"),
)
FLEET = load()
HOUR = hour_cost(FLEET, CHIP)
assert HOUR is not None
speeds = st.floats(1, 1e5)


@given(prefill=speeds, decode=speeds, gain=st.floats(1, 8))
def test_a_sold_out_hour_of_output_pays_for_its_share_of_the_hour(prefill, decode, gain):
    measured = tariff.measured(Speeds(prefill, decode, decode * gain, streams=4))
    price = tariff.price_row(FLEET, HOUR, model="m", speeds=measured)
    sold_s = 3600 * FLEET.figures.utilisation_share.value
    income_nano = decode * gain * sold_s * price.output_nano / 1e6
    assert (
        abs(income_nano - HOUR.total_nano) <= 0.01 * HOUR.total_nano + decode * gain * sold_s / 1e6
    )
    assert 0 <= price.cached_nano <= price.input_nano


def test_a_model_without_a_known_speed_costs_nothing_and_says_so():
    price = tariff.price_row(FLEET, HOUR, model="m", speeds=Forecast(None, None, None))
    assert (price.input_nano, price.cached_nano, price.output_nano) == (0, 0, 0)
    assert msgspec.json.decode(price.basis)["source"].startswith("unknown speed")


def test_a_price_names_what_it_rests_on():
    entry = catalogue.load().find("smollm2:135m")
    said = tariff.forecast(entry.shape, CHIP, slots=4)
    basis = msgspec.json.decode(tariff.price_row(FLEET, HOUR, model="m", speeds=said).basis)
    assert set(basis["speeds"]) == {"prefill", "decode", "capacity"}
    assert "assumption" in basis["hour"]["source"]
    assert basis["hour"]["dated"]


def test_a_correction_moves_only_its_own_kind():
    entry = catalogue.load().find("smollm2:135m")
    said = tariff.forecast(entry.shape, CHIP, slots=4)
    moved = said.refined({"decode": Correction(factor=2.0, spread=1.2, count=1)})
    assert said.decode is not None
    assert moved.decode is not None
    assert moved.decode.mid == 2 * said.decode.mid
    assert "corrected" in moved.decode.source
    assert moved.prefill == said.prefill


@given(speeds, speeds, speeds)
def test_what_is_kept_of_a_measurement_is_what_was_measured(prefill, decode, capacity):
    measured = Speeds(prefill, decode, capacity, streams=4)
    rows = tariff.measurement_rows("m", "d", CHIP, "engine 1", measured)
    kept = {row.kind: row.value / tariff.THOUSANDTHS for row in rows}
    for kind, value in (("prefill", prefill), ("decode", decode), ("capacity", capacity)):
        assert abs(kept[kind] - value) <= 0.0005 * 1.01
    assert all(row.unit == "tok/s" for row in rows)
