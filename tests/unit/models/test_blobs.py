"""The store of blobs: one form of digest, no links, names that stand for bytes that are here."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest, NotFound
from haneul.models.folder.blobs import Blobs, Kept

DATA = b"model bytes"
SIZE = len(DATA)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path):
    opened = Blobs(tmp_path / "models")
    opened.open()
    return opened


def put(store, data=DATA):
    fresh = store.partial / "fresh"
    fresh.write_bytes(data)
    return store.take(fresh, hashlib.sha256(data).hexdigest())


def kept(name="tiny", sha256=SHA256, size=SIZE):
    return Kept(name=name, sha256=sha256, bytes=size, source="url", revision="", licence="")


def test_blob_lies_under_its_digest_and_is_removed_with_its_names(store):
    path = put(store)
    assert path == store.path(SHA256)
    assert path.read_bytes() == DATA
    assert store.size(SHA256) == len(DATA)
    store.remember(kept())
    assert store.recall("tiny") == kept()
    store.remove(SHA256)
    assert store.size(SHA256) is None
    assert store.recall("tiny") is None
    with pytest.raises(NotFound):
        store.remove(SHA256)


@given(st.text(max_size=80))
def test_only_64_lower_case_hexadecimal_digits_become_a_path(text):
    with pytest.raises(BadRequest):
        Blobs(Path("/nowhere")).path(text)


@pytest.mark.parametrize(
    "digest", ["../" * 21 + "a", SHA256.upper(), SHA256 + "\n", SHA256[:-1], f"{SHA256}/x"]
)
def test_digest_that_is_not_one_is_refused(store, digest):
    with pytest.raises(BadRequest):
        store.path(digest)


def test_link_in_the_place_of_a_blob_is_no_blob_and_is_replaced(store, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(DATA)
    store.path(SHA256).symlink_to(secret)
    assert store.size(SHA256) is None
    path = put(store)
    assert not path.is_symlink()
    assert secret.read_bytes() == DATA


def test_name_is_forgotten_when_its_blob_is_gone_or_of_another_size(store):
    put(store)
    store.remember(kept(size=5))
    assert store.recall("tiny") is None
    store.remember(kept(name="absent", sha256="0" * 64))
    assert store.recall("absent") is None


def test_damaged_note_of_a_name_is_no_note(store):
    put(store)
    store.remember(kept())
    for path in (store.folder / "names").iterdir():
        path.write_bytes(b'{"name": "tiny", "sha256": ')
    assert store.recall("tiny") is None


def test_bytes_that_changed_under_their_digest_are_found(store):
    path = put(store)
    assert store.verify(SHA256)
    path.write_bytes(b"other bytes")
    assert not store.verify(SHA256)
