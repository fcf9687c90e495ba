"""A revision's name follows from its files, and from nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BrokenFile
from haneul.models.manifest import File, dump, manifest, read

DIGEST = "ab" * 32
paths = st.text("abcz.-_/ 09", min_size=1, max_size=20)
files = st.lists(
    st.builds(
        File,
        path=st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?\.gguf", fullmatch=True),
        sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
        bytes=st.integers(0, 2**50),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda file: file.path,
)


@given(files=files, order=st.randoms())
def test_the_order_in_which_files_are_told_does_not_matter(files, order):
    shuffled = list(files)
    order.shuffle(shuffled)
    assert manifest("gguf", files).revision == manifest("gguf", shuffled).revision


@given(files=files)
def test_what_is_stored_is_read_again(files):
    made = manifest("gguf", files)
    assert read(dump(made)) == made
    assert read(dump(made)).revision == made.revision


@given(files=files)
def test_other_bytes_are_another_revision(files):
    first, *rest = files
    other = File(path=first.path, sha256="0" * 64, bytes=first.bytes)
    is_same = first.sha256 == other.sha256
    assert (manifest("gguf", files) == manifest("gguf", [other, *rest])) is is_same


@given(path=paths)
def test_no_path_leads_out_of_its_repository(path):
    try:
        made = manifest("gguf", [File(path=path, sha256=DIGEST, bytes=1)])
    except BrokenFile:
        return
    steps = made.files[0].path.split("/")
    assert all(step.strip(". ") for step in steps)
    assert not path.startswith("/")


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "no json",
        '{"format":"gguf","files":[]}',
        dump(manifest("gguf", [File("a", DIGEST, 1)])).replace("gguf", "pickle"),
        '{"format":"gguf","files":[{"path":"a","sha256":"AB","bytes":1}]}',
        dump(manifest("gguf", [File("a", DIGEST, 1)])).replace(":1", ":-1"),
    ],
)
def test_what_is_no_list_of_files_is_refused(text):
    with pytest.raises(BrokenFile):
        read(text)
