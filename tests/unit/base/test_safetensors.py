"""The safetensors reader takes what the reference library takes, and refuses liars in words."""

import json
import struct
import time

import pytest
import safetensors as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from haneul.base.errors import BrokenFile
from haneul.base.safetensors import DTYPES, read_first, read_header
from haneul.testing.safetensors import safetensors_bytes, with_header

GOOD = {"a": ("F32", (2, 3)), "b.weight": ("BF16", (4,)), "가": ("I8", ())}
ENTRY = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}


@pytest.fixture
def refused(tmp_path):
    """Writes the bytes and returns the reason they are refused for."""

    def refuse(data: bytes) -> str:
        path = tmp_path / "model.safetensors"
        path.write_bytes(data)
        with pytest.raises(BrokenFile) as caught:
            read_header(path)
        assert str(tmp_path) not in caught.value.message
        return caught.value.message

    return refuse


def test_header_says_where_each_tensor_lies(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes(GOOD, metadata={"format": "pt"}))
    header = read_header(path)
    assert header.metadata == {"format": "pt"}
    assert [(t.name, t.dtype, t.shape, t.offset, t.size_bytes) for t in header.tensors] == [
        ("a", "F32", (2, 3), 0, 24),
        ("b.weight", "BF16", (4,), 24, 8),
        ("가", "I8", (), 32, 1),
    ]
    assert header.data_offset + 33 == header.file_bytes == path.stat().st_size


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_as_wide_as_the_reference_library_says(tmp_path, dtype):
    data = safetensors_bytes({"x": (dtype, (8, 4))})
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    ((name, facts),) = reference.deserialize(data)
    assert (name, facts["dtype"], len(facts["data"])) == (
        "x",
        dtype,
        read_header(path).tensors[0].size_bytes,
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\x01\0\0", "cut short: the length of the header ends at byte 8 of 3"),
        (struct.pack("<Q", 100) + b"{}", "cut short: the header ends at byte 108 of 10"),
        (struct.pack("<Q", 1 << 63) + b"{}", "claims 9223372036854775808 bytes"),
        (b"PK\3\4" + b"\0" * 90, "not a safetensors file"),
        (with_header(b"[]"), "does not begin with '{'"),
        (with_header(b' {"a":1}'), "does not begin with '{'"),
        (with_header(b'{"a"'), "not JSON"),
        (with_header(b"{\xff}"), "not UTF-8"),
        (with_header("{}".encode("utf-16")), "does not begin"),
        (with_header(b'{"a":' + b"[" * 9000 + b"]" * 9000 + b"}"), "nested too deep"),
        (with_header(b'{"a":1,"a":2}'), "has the name 'a' twice"),
        (
            with_header(b'{"a":{"dtype":"U8","dtype":"I8","shape":[],"data_offsets":[0,1]}}', b"1"),
            "has the name 'dtype' twice",
        ),
        (with_header(b'{"\\ud83d":1}'), "not Unicode"),
        (with_header({"a": 3}), "not described by dtype"),
        (with_header({"a": {**ENTRY, "more": 1}}, b"1234"), "alone"),
        (with_header({"a": {**ENTRY, "dtype": "F7"}}, b"1234"), "unknown dtype 'F7'"),
        (with_header({"a": {**ENTRY, "dtype": 7}}, b"1234"), "unknown dtype '7'"),
        (with_header({"a": {**ENTRY, "shape": [4.0]}}, b"1234"), "not a list of whole numbers"),
        (with_header({"a": {**ENTRY, "shape": [True]}}, b"1234"), "not a list of whole numbers"),
        (with_header({"a": {**ENTRY, "shape": [-4]}}, b"1234"), "below 0"),
        (with_header({"a": {**ENTRY, "shape": "4"}}, b"1234"), "not a list"),
        (with_header({"a": {**ENTRY, "shape": [1] * 40}}, b"1234"), "40 dimensions"),
        (with_header({"a": {**ENTRY, "shape": [float("nan")]}}, b"1234"), "NaN where a number"),
        (with_header({"a": {**ENTRY, "shape": [10**30]}}, b"1234"), "31 digits"),
        (with_header({"a": {**ENTRY, "data_offsets": [4, 0]}}, b"1234"), "the smaller first"),
        (with_header({"a": {**ENTRY, "data_offsets": [0]}}, b"1234"), "two offsets"),
        (with_header({"a": {**ENTRY, "data_offsets": [0, 3]}}, b"1234"), "takes 3 bytes"),
        (with_header({"a": {**ENTRY, "shape": [1 << 40, 1 << 40]}}, b"1234"), "overflows"),
        (with_header({"a": {**ENTRY, "shape": [1 << 40, 1 << 40, 0]}}, b"1234"), "overflows"),
        (with_header({"a": {**ENTRY, "dtype": "F4", "shape": [3]}}, b"1234"), "whole byte"),
        (with_header({"a": ENTRY}, b"123"), "cut short or lies: tensor 'a' ends 1 bytes past"),
        (with_header({"a": ENTRY}, b"12345"), "last 1 bytes of the file belong to no tensor"),
        (with_header({"a": {**ENTRY, "data_offsets": [1, 5]}}, b"12345"), "1 bytes before tensor"),
        (with_header({"a": ENTRY, "b": ENTRY}, b"1234"), "tensor 'b' overlaps tensor 'a'"),
        (with_header({"__metadata__": {"a": 1}}), "__metadata__ is not a list of texts"),
        (with_header({"__metadata__": []}), "__metadata__ is not a list of texts"),
        (with_header({"x" * 2000: ENTRY}, b"1234"), "name of more than 1024 bytes"),
    ],
)
def test_broken_file_is_refused_with_its_reason(refused, data, reason):
    assert reason in refused(data)


def test_tensors_of_no_elements_share_a_place():
    data = safetensors_bytes({"a": ("F32", (0, 9)), "b": ("F32", (0,)), "c": ("U8", (1,))})
    header = read_first(data, file_bytes=len(data))
    assert [tensor.size_bytes for tensor in header.tensors] == [0, 0, 1]


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
shapes = st.lists(st.integers(0, 6), max_size=4)
tensors = st.dictionaries(
    names.filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from([name for name, bits in DTYPES.items() if bits % 8 == 0]), shapes),
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(tensors=tensors, metadata=st.none() | st.dictionaries(names, names, max_size=3))
def test_every_honest_file_is_read_as_the_reference_library_reads_it(tensors, metadata):
    data = safetensors_bytes(tensors, metadata=metadata)
    header = read_first(data, file_bytes=len(data))
    theirs = {name: (facts["dtype"], facts["shape"]) for name, facts in reference.deserialize(data)}
    assert {t.name: (t.dtype, list(t.shape)) for t in header.tensors} == theirs
    assert header.metadata == (metadata or {})


lies = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from([*DTYPES, "F7", ""]),
        "shape": st.lists(st.integers(-1, 1 << 66) | st.integers(0, 5), max_size=4),
        "data_offsets": st.lists(st.integers(0, 40), min_size=1, max_size=3),
    },
)


@settings(max_examples=300, deadline=None)
@given(tensors=tensors.filter(bool), lie=lies, data=st.data())
def test_what_is_read_is_read_by_the_reference_library_too(tensors, lie, data):
    name = data.draw(st.sampled_from(sorted(tensors)))
    file = safetensors_bytes(tensors, **{name: lie})
    try:
        header = read_first(file, file_bytes=len(file))
    except BrokenFile:
        return
    assert {tensor.name for tensor in header.tensors} == {
        name for name, _ in reference.deserialize(file)
    }


def test_hundred_thousand_tensors_are_read_in_time_that_grows_with_them(tmp_path):
    def spent(count):
        path = tmp_path / f"{count}.safetensors"
        path.write_bytes(safetensors_bytes({f"t.{n}": ("U8", (1, 1)) for n in range(count)}))
        began = time.process_time()
        assert len(read_header(path).tensors) == count
        return time.process_time() - began

    few = max(spent(5000), spent(5000), 0.005)
    assert spent(50_000) < few * 60


def test_json_text_of_the_header_may_be_padded_and_ordered_as_it_likes():
    text = json.dumps({"b": {"shape": [1], "data_offsets": [1, 2], "dtype": "U8"}, "a": None})
    text = text.replace("null", '{"data_offsets":[0,1],"dtype":"U8","shape":[1]}') + "  \n "
    data = struct.pack("<Q", len(text)) + text.encode() + b"12"
    assert [t.name for t in read_first(data, file_bytes=len(data)).tensors] == ["a", "b"]
    assert len(reference.deserialize(data)) == 2
