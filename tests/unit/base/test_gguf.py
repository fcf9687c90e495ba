"""The GGUF reader: honest files are read as the reference package reads them, liars are refused."""

import struct
import time

import pytest
from gguf import GGML_QUANT_SIZES, GGUFReader
from hypothesis import example, given, settings
from hypothesis import strategies as st

from haneul.base.errors import BrokenFile
from haneul.base.gguf import Array, check_file, read_header
from haneul.base.gguf_types import TENSOR_TYPES
from haneul.testing.gguf import TINY, TINY_WEIGHTS, Weights, gguf_bytes

GOOD = gguf_bytes()


@pytest.fixture
def refused(tmp_path):
    """Writes the bytes and returns the reason they are refused for."""

    def refuse(data: bytes) -> str:
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        with pytest.raises(BrokenFile) as caught:
            check_file(path)
        assert str(tmp_path) not in str(caught.value)
        return str(caught.value)

    return refuse


def header_of(tmp_path, data, reader=check_file):
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    return reader(path)


def test_table_of_tensor_types_is_that_of_the_reference_package():
    theirs = {int(kind): (kind.name, *sizes) for kind, sizes in GGML_QUANT_SIZES.items()}
    assert {number: tuple(form) for number, form in TENSOR_TYPES.items()} == theirs


@pytest.mark.parametrize("version", [2, 3])
def test_header_says_what_the_reference_reader_says(tmp_path, version):
    header = header_of(tmp_path, gguf_bytes(version=version))
    theirs = GGUFReader(tmp_path / "model.gguf")
    assert header.version == version
    assert header.data_offset == theirs.data_offset
    assert header.file_bytes == len(GOOD)
    assert [
        (t.name, list(t.dims), t.type, header.data_offset + t.offset, t.size_bytes)
        for t in header.tensors
    ] == [
        (t.name, t.shape.tolist(), t.tensor_type.name, t.data_offset, int(t.n_bytes))
        for t in theirs.tensors
    ]
    for key, value in header.metadata.items():
        if not isinstance(value, Array):
            assert value == theirs.fields[key].contents()


def test_long_arrays_and_strings_are_counted_and_not_kept(tmp_path):
    data = gguf_bytes({**TINY, "a.numbers": [1] * 5000, "a.few": [1, 2, 3], "b.last": "here"})
    metadata = header_of(tmp_path, data).metadata
    assert metadata["a.numbers"] == Array(4, 5000)
    assert metadata["a.few"] == (1, 2, 3)
    assert metadata["tokenizer.ggml.tokens"] == Array(8, 4)
    assert metadata["b.last"] == "here"


def test_vocabulary_of_300_000_entries_is_read_within_a_third_of_a_second(tmp_path):
    data = gguf_bytes({**TINY, "tokenizer.ggml.merges": ["ab cde"] * 300_000})
    started = time.process_time()
    header = header_of(tmp_path, data)
    assert time.process_time() - started < 0.3
    assert header.metadata["tokenizer.ggml.merges"] == Array(8, 300_000)


def with_u64(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + struct.pack("<Q", value) + data[at + 8 :]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"GG", "only 2 bytes"),
        (b"PK\3\4" + GOOD[4:], "not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 1) + GOOD[8:], "version 1"),
        (b"GGUF" + struct.pack("<I", 99) + GOOD[8:], "version 99"),
        (b"GGUF" + struct.pack(">I", 3) + GOOD[8:], "big-endian"),
        (with_u64(GOOD, 8, 1 << 60), "claims 1152921504606846976 tensors"),
        (with_u64(GOOD, 8, 100_000), "more than its bytes can hold"),
        (with_u64(GOOD, 16, 1 << 63), "metadata pairs; at most"),
        (with_u64(GOOD, 24, 1 << 62), "metadata key claims"),
        (GOOD[:-1], "cut short"),
        (GOOD[:40], "more than its bytes can hold"),
        (GOOD[:200], "cut short"),
        (gguf_bytes({**TINY, "general.alignment": 48}), "power of two"),
        (gguf_bytes({**TINY, "general.alignment": True}), "general.alignment has the type 7"),
        (gguf_bytes({**TINY, "general.type": "mmproj"}), "goes with a model"),
        (gguf_bytes({**TINY, "split.count": 3}), "one of 3 parts"),
        (gguf_bytes({**TINY, "general.architecture": "../x"}), "not a name"),
        (gguf_bytes({**TINY, "general.architecture": 3}), "not a name"),
        (gguf_bytes({**TINY, "llama.block_count": 0}), "between 1 and 4096"),
        (gguf_bytes({**TINY, "llama.embedding_length": 1 << 40}), "between 1 and 1048576"),
        (gguf_bytes({**TINY, "llama.context_length": "long"}), "not a whole number"),
        (gguf_bytes({**TINY, "llama.attention.head_count": 1 << 33}), "number of heads"),
        (gguf_bytes({**TINY, "llama.embedding_length": 64}), "rows of 32, not of 64"),
        (gguf_bytes(weights=()), "no tensors"),
        (gguf_bytes(weights=[*TINY_WEIGHTS, TINY_WEIGHTS[0]]), "stands there twice"),
        (gguf_bytes(weights=[Weights("a", (32,), offset=16)]), "not aligned"),
        (gguf_bytes(weights=[*TINY_WEIGHTS, Weights("z", (8,), offset=32)]), "overlaps"),
        (gguf_bytes(weights=[Weights("a", (33,), "Q4_0")]), "do not divide into Q4_0"),
        (gguf_bytes(weights=[Weights("a" * 64, (32,))]), "tensor name claims 64 bytes"),
        (gguf_bytes(weights=[Weights("a", (1, 1, 1, 1, 1))]), "5 dimensions"),
        (gguf_bytes(weights=[Weights("a", (32, 0))]), "dimension of 0"),
    ],
)
def test_broken_file_is_refused_with_its_reason(refused, data, reason):
    assert reason in refused(data)


@pytest.mark.parametrize(
    ("dims", "reason"),
    [
        ((1 << 62, 8), "overflows"),
        ((1 << 32, 1 << 32), "overflows"),
        ((1 << 63, 1), "dimension"),
        ((1 << 40, 1), "cut short or lies"),
    ],
)
def test_sizes_that_wrap_around_or_pass_the_end_of_the_file_are_refused(refused, dims, reason):
    honest = gguf_bytes(weights=[Weights("a", (32, 1))])
    at = honest.index(struct.pack("<QQ", 32, 1))
    assert reason in refused(honest[:at] + struct.pack("<QQ", *dims) + honest[at + 16 :])


def test_unknown_tensor_and_value_types_and_nested_arrays_are_refused(refused):
    tensor = gguf_bytes(weights=[Weights("a", (32,))])
    at = tensor.index(struct.pack("<QI", 32, 0)) + 8
    assert "unknown type 77" in refused(tensor[:at] + struct.pack("<I", 77) + tensor[at + 4 :])
    value = GOOD.index(b"general.file_type") + len("general.file_type")
    assert "unknown type 13" in refused(GOOD[:value] + struct.pack("<I", 13) + GOOD[value + 4 :])
    array = GOOD.index(b"tokenizer.ggml.tokens") + len("tokenizer.ggml.tokens") + 4
    assert "array of arrays" in refused(GOOD[:array] + struct.pack("<I", 9) + GOOD[array + 4 :])


@pytest.mark.parametrize("kind", [8, 4, 12])
def test_array_of_claimed_billions_is_refused_before_memory_is_taken(refused, kind):
    array = GOOD.index(b"tokenizer.ggml.tokens") + len("tokenizer.ggml.tokens") + 4
    lying = GOOD[:array] + struct.pack("<IQ", kind, 1 << 30) + GOOD[array + 12 :]
    started = time.perf_counter()
    assert "claims 1073741824" in refused(lying)
    assert time.perf_counter() - started < 0.1


def test_duplicate_metadata_key_is_refused(refused):
    lines = GOOD.replace(b"llama.block_count", b"general.file_type")
    assert "stands there twice" in refused(lines)


def test_missing_file_and_folder_are_refused_in_words(tmp_path):
    with pytest.raises(BrokenFile, match="no file"):
        check_file(tmp_path / "absent.gguf")
    with pytest.raises(BrokenFile, match="cannot be read"):
        check_file(tmp_path)


def judged(path, data: bytes) -> None:
    """Either a header whose tensors lie inside the file, or BrokenFile; nothing else, and soon."""
    path.write_bytes(data)
    started = time.perf_counter()
    try:
        header = read_header(path)
    except BrokenFile:
        header = None
    try:
        check_file(path)
    except BrokenFile:
        pass
    assert time.perf_counter() - started < 1
    if header is not None:
        for tensor in header.tensors:
            assert header.data_offset + tensor.offset + tensor.size_bytes <= len(data)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "model.gguf"


@settings(max_examples=400, deadline=None)
@given(cut=st.integers(0, len(GOOD)))
@example(cut=len(GOOD))
def test_any_truncation_is_judged(scratch, cut):
    judged(scratch, GOOD[:cut])


@settings(max_examples=600, deadline=None)
@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, 700),
            st.one_of(
                st.binary(min_size=1, max_size=9),
                st.integers(0, (1 << 64) - 1).map(lambda n: struct.pack("<Q", n)),
                st.sampled_from(
                    [0, 1, 1 << 31, 1 << 32, 1 << 62, (1 << 63) - 1, (1 << 64) - 1]
                ).map(lambda n: struct.pack("<Q", n)),
            ),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_overwritten_bytes_are_judged(scratch, edits):
    data = bytearray(GOOD)
    for at, raw in edits:
        data[at : at + len(raw)] = raw
    judged(scratch, bytes(data))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_behind_the_magic_number_are_judged(scratch, raw):
    judged(scratch, b"GGUF\3\0\0\0" + raw)
