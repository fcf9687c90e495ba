"""Killed at any byte and any moment, a pull leaves nothing wrong behind, and the next goes on."""

import hashlib

import pytest

from bench.kills import count_corrupt, run
from haneul.models.folder.blobs import Blobs


@pytest.mark.slow
def test_no_kill_leaves_a_blob_or_a_revision_that_is_not_what_it_is_called(tmp_path):
    found = run(24, tmp_path, size_bytes=12 << 20, seed=5)
    assert found.kills >= 24
    assert found.corrupt == 0
    assert found.finished > 0


def test_damage_is_counted_where_there_is_some(tmp_path):
    blobs = Blobs(tmp_path)
    blobs.open()
    good = hashlib.sha256(b"good").hexdigest()
    blobs.path(good).write_bytes(b"good")
    assert count_corrupt(blobs) == 0
    blobs.path(hashlib.sha256(b"other").hexdigest()).write_bytes(b"another")
    (blobs.revisions / good).mkdir()
    assert count_corrupt(blobs) == 2
