"""WAV files: every coding is read as the same sound, and what is no WAV is refused by name."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest, UnsupportedValue
from haneul.engine.media.samples import samples, written
from haneul.engine.media.wav import read_head

CODINGS = [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)]


def coded(mono, kind, bits):
    """The samples' bytes, each value rounded by itself."""
    if kind == 3:
        return struct.pack(f"<{len(mono)}{'f' if bits == 32 else 'd'}", *mono)
    if bits == 8:
        return bytes(round(value * 127) + 128 for value in mono)
    top = 2 ** (bits - 1) - 1
    return b"".join(round(value * top).to_bytes(bits // 8, "little", signed=True) for value in mono)


def wav(body, kind, bits, *, channels=1, rate=16_000, extensible=False, before=b"", size=None):
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * channels * bits // 8, 0, bits)
    if extensible:
        form = struct.pack("<H", 0xFFFE) + form[2:] + struct.pack("<HHIH", 22, bits, 0, kind)
        form += b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
    chunks = before + b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(body) if size is None else size) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def read(data):
    return samples(data, read_head(data, param="file"))


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(("kind", "bits"), CODINGS)
def test_every_coding_is_read_as_the_same_sound(kind, bits, extensible):
    mono = np.sin(np.arange(500) / 7) * 0.9
    heard = read(wav(coded(mono, kind, bits), kind, bits, extensible=extensible))
    assert heard.dtype == np.float32
    assert np.abs(heard - mono).max() < (0.02 if bits == 8 else 1e-4)


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=50), st.integers(1, 8))
def test_channels_are_heard_as_their_mean(values, channels):
    frames = [values[at : at + channels] for at in range(0, len(values), channels)]
    frames = [frame for frame in frames if len(frame) == channels]
    body = struct.pack(f"<{len(values)}h", *values)  # a cut frame at the end is left out
    heard = read(wav(body, 1, 16, channels=channels))
    expected = [sum(frame) / channels / 32768 for frame in frames]
    assert np.allclose(heard, expected, atol=1e-6)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=200), st.integers(4_000, 192_000))
def test_what_is_written_is_read_by_others_and_by_us(values, rate):
    data = written(np.array(values, np.float32), rate)
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (rate, 1, 2)
        theirs = struct.unpack(f"<{len(values)}h", file.readframes(len(values)))
    assert np.abs(np.array(theirs) / 32767 - values).max() < 1e-4
    assert np.abs(read(data) - values).max() < 1e-4


def test_other_chunks_before_the_samples_are_passed_over():
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\x00"  # padded to an even length
    assert len(read(wav(b"\x01\x00" * 9, 1, 16, before=odd))) == 9


def test_a_streamed_file_that_knows_no_length_is_read_to_its_end():
    assert len(read(wav(b"\x01\x00" * 9, 1, 16, size=0xFFFFFFFF))) == 9


def test_its_length_is_told_in_begun_milliseconds():
    head = read_head(wav(b"\x00\x00" * 16_001, 1, 16), param="file")
    assert head.duration_ms == 1001


@pytest.mark.parametrize(
    ("begin", "name"),
    [(b"ID3\x04", "MP3"), (b"OggS", "Ogg"), (b"fLaC", "FLAC"), (b"\x00\x00\x00\x20ftypM4A", "MP4")],
)
def test_another_container_is_refused_by_name_and_says_what_to_do(begin, name):
    with pytest.raises(UnsupportedValue, match=rf"{name} .*ffmpeg") as refused:
        read_head(begin + bytes(64), param="file")
    assert refused.value.param == "file"


@pytest.mark.parametrize(
    "data",
    [
        wav(b"", 2, 4),  # ADPCM
        wav(b"", 1, 12),
        wav(b"", 3, 16),
        wav(b"", 1, 16, channels=9),
        wav(b"", 1, 16, channels=0),
        wav(b"", 1, 16, rate=3_999),
        wav(b"", 1, 16, rate=0),
        wav(b"", 1, 16)[:30],
        b"RIFF\x04\x00\x00\x00WAVE",
        b"",
    ],
)
def test_what_cannot_be_read_is_refused(data):
    with pytest.raises(BadRequest):
        read_head(data, param="file")


def test_samples_that_are_no_numbers_are_refused():
    for value in (float("nan"), float("inf")):
        with pytest.raises(BadRequest, match="numbers"):
            read(wav(struct.pack("<2f", 0.0, value), 3, 32))


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(tail):
    data = wav(b"\x00\x00" * 4, 1, 16)
    for cut in (data[:12] + tail, data[:20] + tail, tail):
        try:
            assert len(read(cut)) == read_head(cut, param="file").frames
        except BadRequest:
            pass
