"""A header is read from the first bytes of a file that lies elsewhere, and bounded everywhere."""

import os
import struct
import threading
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haneul.base import gguf, safetensors
from haneul.base.errors import BrokenFile
from haneul.base.first_bytes import CHUNK_BYTES, More
from haneul.testing.gguf import TINY, TINY_WEIGHTS, Weights, gguf_bytes
from haneul.testing.safetensors import safetensors_bytes, with_header

LONG = {**TINY, "tokenizer.ggml.tokens": ["하늘"] * 30_000}  # its header is longer than 64 KiB
FILES = {
    "gguf": (gguf, gguf_bytes(LONG)),
    "safetensors": (
        safetensors,
        safetensors_bytes({f"layers.{n}.weight": ("BF16", (8, 2)) for n in range(2000)}),
    ),
}


@pytest.mark.parametrize("format", FILES)
def test_header_is_read_by_asking_for_as_many_bytes_as_it_says(tmp_path, format):
    reader, data = FILES[format]
    path = tmp_path / "model"
    path.write_bytes(data)
    whole = reader.read_header(path)
    asked, have = [], 1024
    while isinstance(found := reader.read_first(data[:have], file_bytes=len(data)), More):
        asked.append(found.bytes)
        have = found.bytes
    assert found == whole
    assert len(asked) <= 5
    assert have < 4 * whole.data_offset


@pytest.mark.parametrize("format", FILES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_first_bytes_give_the_header_or_ask_for_more_than_there_are(format, data):
    reader, file = FILES[format]
    have = data.draw(st.integers(0, len(file)))
    found = reader.read_first(file[:have], file_bytes=len(file))
    if isinstance(found, More):
        assert have < found.bytes <= len(file)
    else:
        assert found == reader.read_first(file, file_bytes=len(file))


@pytest.mark.parametrize("format", FILES)
def test_file_of_unknown_length_has_the_bytes_that_its_tensors_claim(format):
    reader, data = FILES[format]
    known = reader.read_first(data, file_bytes=len(data))
    end = max(tensor.offset + tensor.size_bytes for tensor in known.tensors)
    assert reader.read_first(data, file_bytes=None).file_bytes == known.data_offset + end


@pytest.mark.parametrize("format", FILES)
def test_tensors_past_the_stated_length_are_refused_before_they_are_fetched(format):
    reader, data = FILES[format]
    header = reader.read_first(data, file_bytes=len(data))
    with pytest.raises(BrokenFile, match="cut short or lies"):
        reader.read_first(data[: header.data_offset], file_bytes=header.data_offset + 8)


def test_header_of_a_file_of_a_terabyte_is_read_from_its_head_alone(tmp_path):
    tensors = [Weights("blk.0.big", (1 << 20, 1 << 18))]  # a tebibyte of F32
    head = gguf_bytes({**TINY, "a.note": "x"}, [])
    path = tmp_path / "model.gguf"
    info = struct.pack("<Q", 9) + b"blk.0.big" + struct.pack("<IQQIQ", 2, 1 << 20, 1 << 18, 0, 0)
    body = head[:8] + struct.pack("<Q", len(tensors)) + head[16:].rstrip(b"\0")
    data = (body + info).ljust(-(-len(body + info) // 32) * 32, b"\0")
    path.write_bytes(data)
    os.truncate(path, len(data) + (1 << 40))
    tracemalloc.start()
    try:
        header = gguf.read_header(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert header.tensors[0].size_bytes == 1 << 40
    assert peak < 8 * CHUNK_BYTES


def test_long_arrays_pass_through_a_window_and_not_into_memory(tmp_path):
    path = tmp_path / "model.gguf"
    numbers = 24 << 20
    head = gguf_bytes({**TINY, "z.numbers": [1]}, [])
    at = head.index(b"z.numbers") + 9
    data = head[:at] + struct.pack("<IIQ", 9, 4, numbers)
    path.write_bytes(data)
    os.truncate(path, len(data) + 4 * numbers)
    tracemalloc.start()
    try:
        header = gguf.read_header(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert header.metadata["z.numbers"] == gguf.Array(4, numbers)
    assert peak < 8 * CHUNK_BYTES


def test_headers_beyond_every_bound_are_refused(tmp_path):
    path = tmp_path / "model"

    def refused(reader, data, size=None):
        path.write_bytes(data)
        os.truncate(path, size or len(data))
        with pytest.raises(BrokenFile) as caught:
            reader.read_header(path)
        return caught.value.message

    texts = {f"k{n}": "x" * (15 << 20) for n in range(5)}
    assert "texts are longer" in refused(gguf, gguf_bytes(texts, []))
    numbers = {f"k{n}": [1] * 4096 for n in range(300)}
    assert "more than 1048576 numbers" in refused(gguf, gguf_bytes(numbers, []))
    head = gguf_bytes({**TINY, "z.numbers": [1]}, [])
    at = head.index(b"z.numbers") + 9
    long = head[:at] + struct.pack("<IIQ", 9, 4, 1 << 27)
    assert "larger than 256 MiB" in refused(gguf, long, 1 << 31)
    assert "at most" in refused(safetensors, struct.pack("<Q", 1 << 30) + b"{", 1 << 31)
    brackets = with_header(b'{"a":' + b"[" * (2 << 20) + b"}")
    assert "more than 1048576 values" in refused(safetensors, brackets)


def test_pipe_folder_and_device_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reasons = []

    def read():
        for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
            for reader in (gguf, safetensors):
                with pytest.raises(BrokenFile) as caught:
                    reader.read_header(path)
                reasons.append(caught.value.message)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    reading.join(timeout=20)
    assert len(reasons) == 6
    assert all("cannot be read" in reason for reason in reasons)


def test_file_that_is_cut_while_it_is_read_is_an_error(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes(LONG, TINY_WEIGHTS))

    class Cutting:
        """A reader of the file that finds it shorter than its owner said."""

        def read(self, count):
            return b"GGUF\3\0\0\0" if not self.__dict__.setdefault("calls", []) else b""

    cursor = gguf.Cursor(Cutting(), path.stat().st_size, gguf.BOUNDS)
    cursor.take(4, "the magic number")
    cursor.file.calls.append(1)
    with pytest.raises(BrokenFile, match="ended at byte"):
        cursor.take(10, "the rest")
