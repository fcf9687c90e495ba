"""Models in several files are taken when the files belong together, and refused with the reason."""

import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haneul.base import gguf, gguf_parts, safetensors_index
from haneul.base.errors import BrokenFile
from haneul.base.safetensors import read_header
from haneul.testing.gguf import TINY, TINY_WEIGHTS, Weights, gguf_bytes
from haneul.testing.safetensors import safetensors_bytes

PARTS = [TINY_WEIGHTS[:1], TINY_WEIGHTS[1:2], TINY_WEIGHTS[2:]]


def split(number, *, parts=3, tensors=3, **more):
    """The metadata of a part as llama.cpp's own splitter writes it."""
    told = {"split.no": number, "split.count": parts, "split.tensors.count": tensors}
    return (TINY if number == 0 else {}) | told | more


@pytest.fixture
def folder(tmp_path):
    """Writes the parts of a model, each from its metadata and tensors; returns the first."""

    def write(*files, stem="tiny", count=None):
        count = count or len(files)
        for number, (metadata, weights) in enumerate(files, 1):
            name = f"{stem}-{number:05d}-of-{count:05d}.gguf"
            (tmp_path / name).write_bytes(gguf_bytes(metadata, weights))
        return tmp_path / f"{stem}-00001-of-{count:05d}.gguf"

    return write


def good():
    return [(split(number), weights) for number, weights in enumerate(PARTS)]


def test_parts_of_one_model_make_one_header(folder, tmp_path):
    whole = gguf_parts.check_files(folder(*good()))
    assert whole.parts == 3
    assert [tensor.name for tensor in whole.tensors] == [w.name for w in TINY_WEIGHTS]
    assert whole.file_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert whole.metadata["general.architecture"] == "llama"


def test_first_part_may_hold_no_tensor(folder):
    files = [(split(0, parts=2), []), (split(1, parts=2), TINY_WEIGHTS)]
    assert len(gguf_parts.check_files(folder(*files)).tensors) == 3


def test_whole_file_is_a_model_of_one_part(folder):
    path = folder((TINY, TINY_WEIGHTS), stem="whole")
    assert gguf_parts.check_files(path) == gguf.check_file(path)


def change(number, metadata=None, weights=None):
    files = good()
    was = files[number]
    files[number] = (metadata or was[0], was[1] if weights is None else weights)
    return files


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (change(1, split(2)), "Part 2 of 3 says that it is number 3"),
        (change(1, {"general.name": "x"}), "Part 2 of 3 says that it is none"),
        (change(2, split(2, parts=4)), "Part 3 is of 4 parts"),
        (change(2, split(2, tensors=9)), "of different models"),
        (change(1, split(1, **{"general.architecture": "qwen2"})), "another general.architecture"),
        (change(0, split(0, parts=2)), "one of 2 parts, and not called"),
        (change(0, split(0, parts=70_000)), "split.count is missing or not a whole number"),
        (change(0, split(5)), "split.no is 5 of 3"),
        (change(0, split(0, **{"split.no": True})), "split.no is missing"),
        (change(2, None, []), "hold 2 tensors, not 3"),
        (change(2, None, [*PARTS[2], Weights("z", (32,))]), "more than 3 tensors"),
        (change(2, None, PARTS[1]), "lies in two parts"),
        (change(1, None, [Weights("a", (32,), offset=32)]), "begins at byte 32"),
        (change(0, {**split(0), "llama.block_count": 0}), "llama.block_count is 0"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(folder, files, reason):
    with pytest.raises(BrokenFile) as caught:
        gguf_parts.check_files(folder(*files))
    assert reason in caught.value.message


def test_missing_and_broken_parts_are_named(folder, tmp_path):
    first = folder(*good())
    (tmp_path / "tiny-00003-of-00003.gguf").unlink()
    with pytest.raises(BrokenFile, match=r"tiny-00003-of-00003\.gguf: There"):
        gguf_parts.check_files(first)
    (tmp_path / "tiny-00002-of-00003.gguf").write_bytes(b"PK")
    with pytest.raises(BrokenFile, match=r"tiny-00002-of-00003\.gguf: The file has only 2 bytes"):
        gguf_parts.check_files(first)


def test_part_alone_is_no_model(folder, tmp_path):
    folder(*good())
    with pytest.raises(BrokenFile, match="not called as the first"):
        gguf_parts.check_files(tmp_path / "tiny-00002-of-00003.gguf")
    with pytest.raises(BrokenFile, match="one of 3 parts"):
        gguf.check_file(tmp_path / "tiny-00001-of-00003.gguf")


def test_names_of_parts_are_counted_as_engines_count_them():
    assert gguf_parts.names("m-00002-of-00003.gguf") == tuple(
        f"m-0000{n}-of-00003.gguf" for n in (1, 2, 3)
    )
    for alone in ("m.gguf", "m-00004-of-00003.gguf", "m-00000-of-00001.gguf"):
        assert gguf_parts.names(alone) == (alone,)
    assert gguf_parts.names("m-00001-of-99999.gguf") == ("m-00001-of-99999.gguf",)


SHARDS = {
    "model-00001-of-00002.safetensors": {"a": ("F32", (2,)), "b": ("U8", (3,))},
    "model-00002-of-00002.safetensors": {"c": ("BF16", (4, 4))},
}
MAP = {tensor: name for name, tensors in SHARDS.items() for tensor in tensors}


@pytest.fixture
def sharded(tmp_path):
    """Writes shards and their index; returns the index."""

    def write(index, shards=SHARDS):
        for name, tensors in shards.items():
            (tmp_path / name).write_bytes(safetensors_bytes(tensors))
        path = tmp_path / "model.safetensors.index.json"
        path.write_bytes(index if isinstance(index, bytes) else json.dumps(index).encode())
        return path

    return write


def test_shards_hold_what_their_index_says(sharded):
    whole = safetensors_index.check_files(
        sharded({"metadata": {"total_size": 43}, "weight_map": MAP})
    )
    assert (whole.tensors, whole.tensor_bytes, whole.claimed_bytes) == (3, 43, 43)
    assert whole.unlisted == ()


def test_total_of_the_index_is_told_and_tensors_it_leaves_out_are_named(sharded):
    listed = {name: file for name, file in MAP.items() if name != "b"}
    whole = safetensors_index.check_files(sharded({"weight_map": listed}))
    assert (whole.unlisted, whole.claimed_bytes, whole.tensor_bytes) == (("b",), None, 43)


FIRST, SECOND = SHARDS


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (b"", "not JSON"),
        (b"[]", "no weight_map"),
        (b'{"weight_map":{}}', "no weight_map"),
        (b'{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}', "twice"),
        ({"weight_map": {"a": "../model.safetensors"}}, "no safetensors file of this folder"),
        ({"weight_map": {"a": "/etc/model.safetensors"}}, "no safetensors file of this folder"),
        ({"weight_map": {"a": "x/y.safetensors"}}, "no safetensors file of this folder"),
        ({"weight_map": {"a": "model.bin"}}, "no safetensors file of this folder"),
        ({"weight_map": {"a": ["model.safetensors"]}}, "no safetensors file of this folder"),
        ({"weight_map": {**MAP, "d": "other.safetensors"}}, "other.safetensors: There is no file"),
        ({"weight_map": {**MAP, "d": SECOND}}, "tensor 'd' is in no file"),
        ({"weight_map": {**MAP, "a": SECOND}}, f"tensor 'a' lies in {FIRST}; the index says"),
        (b"[" * (3 << 20), "more than 2097152 values"),
    ],
)
def test_index_that_lies_is_refused(sharded, index, reason):
    with pytest.raises(BrokenFile) as caught:
        safetensors_index.check_files(sharded(index))
    assert reason in caught.value.message


def test_tensor_in_two_shards_is_refused(sharded):
    twice = {FIRST: SHARDS[FIRST], SECOND: {**SHARDS[SECOND], "a": ("F32", (2,))}}
    with pytest.raises(BrokenFile, match=f"tensor 'a' lies in {FIRST} and in {SECOND}"):
        safetensors_index.check_files(sharded({"weight_map": MAP}, twice))


def test_broken_shard_is_named(sharded, tmp_path):
    path = sharded({"weight_map": MAP})
    (tmp_path / SECOND).write_bytes(struct.pack("<Q", 8) + b"{}")
    with pytest.raises(BrokenFile, match=f"{SECOND}: The file is cut short"):
        safetensors_index.check_files(path)


def test_shards_that_are_elsewhere_are_checked_by_their_headers(sharded, tmp_path):
    index = safetensors_index.read_index(sharded({"weight_map": MAP}))
    headers = {name: read_header(tmp_path / name) for name in index.files}
    assert safetensors_index.check_shards(index, headers).tensors == 3
    with pytest.raises(BrokenFile, match=f"names {SECOND}, which is not there"):
        safetensors_index.check_shards(index, {FIRST: headers[FIRST]})


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=12), inner),
    ).map(lambda value: json.dumps({"weight_map": value, "metadata": value}).encode())
)
def test_any_index_is_read_or_refused(data):
    try:
        index = safetensors_index.parse_index(data)
    except BrokenFile:
        return
    assert all("/" not in name for name in index.files)
