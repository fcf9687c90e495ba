"""A policy in a file: what was saved comes back, and nothing that lies is used."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import msgspec
import numpy as np
import pytest

from haneul.auto import file as policies
from haneul.auto.guarantee import certify
from haneul.auto.policy import decide
from haneul.base.errors import BrokenFile
from tests.unit.auto.made_up import outcomes


@pytest.fixture
def saved(policy, tmp_path):
    path = tmp_path / "policy.npz"
    policies.save(policy, path)
    return path


def rewritten(path, **changed):
    """The same file with other arrays, its digest made anew as a forger would."""
    with np.load(path) as found:
        arrays = {name: found[name] for name in found.files if name != "digest"}
    arrays |= changed
    digest = np.frombuffer(policies._digest(arrays), np.uint8)
    np.savez(path, digest=digest, **arrays)


def test_a_policy_read_back_decides_alike(policy, tmp_path):
    path = tmp_path / "policy.npz"
    sure = certify(policy, outcomes(800, seed=9), alpha=0.08)
    digest = policies.save(sure, path)
    again, told = policies.load(path)
    assert told == digest
    assert again.guarantee == sure.guarantee
    for prompt in outcomes(20, seed=10).prompts:
        for price in (0.0, 50.0, 1e9):
            want = decide(sure, prompt, tokens_in=30.0, price=price)
            assert decide(again, prompt, tokens_in=30.0, price=price) == want


def test_a_changed_byte_is_found(saved):
    data = bytearray(saved.read_bytes())
    data[len(data) // 2] ^= 1
    saved.write_bytes(data)
    with pytest.raises(BrokenFile):
        policies.load(saved)


def test_a_cut_file_is_refused(saved):
    saved.write_bytes(saved.read_bytes()[:1000])
    with pytest.raises(BrokenFile, match="cannot be read"):
        policies.load(saved)


def test_objects_are_never_unpickled(saved):
    held = np.array([{"a": 1}], dtype=object)
    packed = io.BytesIO()
    np.savez(packed, facts=held)
    saved.write_bytes(packed.getvalue())
    with pytest.raises(BrokenFile, match="plain arrays"):
        policies.load(saved)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("table", lambda one: one[:, :-1], "shape"),
        ("linear", lambda one: one.astype(np.float64), "kind"),
        ("weights", lambda one: one * np.float32(np.nan), "finite"),
        ("row_of", lambda one: one + np.int32(1 << 20), "rows"),
        ("familiar_scale", lambda one: one * 0, "rows"),
        ("shape_scale", lambda one: one * 0, "divide"),
        ("sweep_quality", lambda one: one[::-1], "order"),
        ("sweep_prices", lambda one: one[::-1], "order"),
        ("facts", lambda one: one[:-4], "facts"),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(saved, name, change, reason):
    with np.load(saved) as found:
        held = found[name]
    rewritten(saved, **{name: change(held)})
    with pytest.raises(BrokenFile, match=reason):
        policies.load(saved)


@pytest.mark.parametrize(
    "facts", [{"best": 9}, {"format": 7}, {"models": []}, {"pairs": [{"cheap": -1}]}]
)
def test_facts_that_name_what_is_not_there_are_refused(saved, facts):
    with np.load(saved) as found:
        held = msgspec.json.decode(found["facts"].tobytes())
    rewritten(saved, facts=np.frombuffer(msgspec.json.encode(held | facts), np.uint8))
    with pytest.raises(BrokenFile):
        policies.load(saved)


def test_a_file_that_would_unpack_without_end_is_refused_unread(saved):
    with (
        zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("weights.npy", "w") as member,
    ):
        for _ in range(300):
            member.write(bytes(1 << 20))
    with pytest.raises(BrokenFile, match="unpacks"):
        policies.load(saved)


def told(description: str) -> bytes:
    """The head of an array that says so of itself, and eight bytes of it."""
    text = description.encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(8)


HEAD = "{{'descr': '{}', 'fortran_order': False, 'shape': {}}}\n"


@pytest.mark.parametrize(
    "head",
    [
        told(HEAD.format("<f4", (1 << 33,))),  # 32 GiB, of which eight bytes are there
        told(HEAD.format("<f4", (1 << 70, 1 << 70))),
        told(HEAD.format("<f4", (-1, -2))),
        told(HEAD.format("<V0", (1 << 60,))),
        told("{'descr': ('\n"),
        told("{'descr': {}, 'fortran_order': False, 'shape': (2,)}\n"),
        told("(" * 5000),
        b"no array at all",
    ],
)
def test_an_array_that_lies_of_its_size_or_kind_is_refused_before_room_is_made(saved, head):
    with zipfile.ZipFile(saved, "w") as archive:
        archive.writestr("weights.npy", head)
    tracemalloc.start()
    try:
        with pytest.raises(BrokenFile, match="plain arrays"):
            policies.load(saved)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_member_whose_packing_is_broken_is_refused(saved):
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights.npy", told(HEAD.format("<f4", (2,))))
    data = bytearray(saved.read_bytes())
    start = 30 + len("weights.npy")
    data[start : start + 4] = b"\xff\xff\xff\xff"
    saved.write_bytes(data)
    with pytest.raises(BrokenFile, match="plain arrays"):
        policies.load(saved)
