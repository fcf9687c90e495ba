"""What is billed beside tokens: seconds, pictures, characters, in a page, a price and a file."""

from __future__ import annotations

import io
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest
from haneul.base.multipart import Part, read_form
from haneul.base.units import MILLION
from haneul.services.flights import UNITS_MAX, Counters, Flights, Opened
from haneul.services.media.asked import TRANSCRIPTIONS, Upload, read_upload
from haneul.services.media.sound import LEAST_BYTES_PER_S, longest_us, wav_us
from haneul.services.prices import Rates, cost_nano, rates_of, worst_nano
from haneul.store.ledger import RequestRow
from haneul.store.prices import PriceRow


def opened(unit):
    row = RequestRow(
        id="r",
        key_id="k",
        route="speech",
        state="aborted",
        status=499,
        currency="USD",
        received_us=5,
        finished_us=5,
        unit=unit,
    )
    return Opened(row=row, rates=Rates(unit_nano=15_000_000_000), hour_nano=0)


@given(st.integers(1, UNITS_MAX))
def test_units_outlive_a_kill_as_tokens_do(tmp_path_factory, units):
    path = tmp_path_factory.mktemp("flights") / "flights"
    with Flights(path, 2) as table:
        flight = table.open(opened("character"))
        flight.counters = Counters(prompt_tokens=3, units=units)
        flight.save()
    with Flights(path, 2) as table:
        ((_, row),) = table.left()
    assert (row.units, row.prompt_tokens, row.state) == (units, 3, "aborted")
    assert row.cost_nano == (units * 15_000_000_000 + MILLION // 2) // MILLION


def test_a_page_that_is_used_again_has_no_units_of_the_one_before(tmp_path):
    with Flights(tmp_path / "flights", 1) as table:
        flight = table.open(opened("image"))
        flight.counters.units = 9
        flight.save()
        flight.free()
        for unit, expected in (("image", 0), (None, None)):
            again = table.open(opened(unit))
            assert table.left()[0][1].units == expected
            again.free()


@given(st.integers(0, 10**9), st.integers(0, 10**12))
def test_a_unit_costs_its_price_and_the_worst_is_never_less(units, unit_nano):
    rates = Rates(unit_nano=unit_nano)
    cost = cost_nano(rates, prompt=0, cached=0, completion=0, units=units)
    assert cost == (units * unit_nano + MILLION // 2) // MILLION
    assert cost <= worst_nano(rates, prompt_max=0, completion_max=0, units_max=units)


def test_a_price_counts_for_its_own_unit_alone():
    price = PriceRow(
        id="p",
        model="m",
        engine="e",
        currency="USD",
        input_nano=1,
        cached_nano=1,
        output_nano=1,
        created_us=1,
        unit="image",
        unit_nano=7,
    )
    assert rates_of(price, unit="image").unit_nano == 7
    assert rates_of(price, unit="character").unit_nano == 0
    assert rates_of(price).unit_nano == 0


@given(st.sampled_from([8000, 16000, 44100]), st.integers(1, 4), st.integers(0, 5000))
def test_a_wav_file_tells_its_length_and_others_are_bounded(rate, channels, frames):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(bytes(frames * channels * 2))
    data = file.getvalue()
    assert wav_us(data) == longest_us(data) == frames * MILLION // rate


@given(st.binary(max_size=300))
def test_any_file_has_a_bound(data):
    assert wav_us(b"RIFF0000WAVE" + data) is None or longest_us(b"RIFF0000WAVE" + data) >= 0
    if not data.startswith(b"RIFF"):
        assert longest_us(data) == len(data) * MILLION // LEAST_BYTES_PER_S


NAMES = st.text(min_size=1, max_size=20).filter(lambda name: name.strip() == name)


@given(st.dictionaries(st.sampled_from(["model", "prompt", "a b", 'x"y']), st.binary(max_size=40)))
def test_a_form_goes_on_as_it_came(fields):
    parts = [Part(name, data) for name, data in fields.items()]
    parts.append(Part("file", b"\r\n--x\r\n", 'a"b.mp3'))
    upload = Upload(parts=parts, boundary="haneul-0123")
    again = read_form(upload.named("other"), "multipart/form-data; boundary=haneul-0123")
    expected = [
        Part(part.name, b"other" if part.name == "model" else part.data, part.filename)
        for part in parts
    ]
    assert again == expected


@given(st.binary(max_size=300))
def test_any_form_is_read_or_refused(data):
    for body in (data, b"--x\r\n" + data, b"--x\r\n" + data + b"\r\n--x--\r\n"):
        with pytest.raises(BadRequest):
            read_upload(TRANSCRIPTIONS, body, "multipart/form-data; boundary=x")
