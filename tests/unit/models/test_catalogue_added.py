"""Entries that come with bundles fill gaps of the catalogue; a known name keeps its meaning."""

import pytest

from haneul.base.errors import BrokenFile
from haneul.models.bundle.collect import stated
from haneul.models.catalogue import load
from haneul.models.catalogue_added import add, of_home


@pytest.fixture
def file(tmp_path):
    return tmp_path / "catalogue.json"


def entry(name, *, dated="2026-12-01", **changes):
    """A document with one entry, made of one that is known."""
    (document,) = stated(["smollm2:135m"])
    return {
        "dated": dated,
        "model": [{**document["model"][0], "name": name, "aliases": [], **changes}],
    }


def test_entry_that_is_not_known_is_found_from_then_on(file):
    assert add(file, [entry("new:1b", licence="MIT")]) == ["new:1b"]
    found = of_home(file).find("new:1b")
    assert (found.licence, found.dated) == ("MIT", "2026-12-01")
    assert len(of_home(file).entries) == len(load().entries) + 1
    assert of_home(file).services == load().services


def test_home_without_entries_has_the_catalogue_of_haneul(file):
    assert of_home(file) is load()
    assert add(file, []) == []
    assert not file.exists()


def test_known_name_or_alias_keeps_its_meaning(file):
    own = load().find("smollm2:135m")
    elsewhere = [{"parts": ["https://elsewhere.example/model.gguf"]}]
    assert add(file, [entry("smollm2:135m", sources=elsewhere)]) == []
    assert add(file, [entry("new:1b", aliases=["smollm2:135m"], sources=elsewhere)]) == []
    assert of_home(file).find("smollm2:135m") == own


def test_newer_entry_replaces_an_older_one_and_not_the_other_way_round(file):
    add(file, [entry("new:1b", note="first")])
    assert add(file, [entry("new:1b", dated="2027-01-01", note="second")]) == []
    add(file, [entry("new:1b", dated="2026-11-01", note="old")])
    assert of_home(file).find("new:1b").note == "second"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"model": 3},
        {"model": [3, {"name": 4}]},
        entry("new:1b", unheard_of="a field of a later version"),
        entry("new:1b", quantisation="Q99", bytes=None),
        entry("new:1b", sources=[{"parts": ["::nonsense::"]}]),
        entry("new:1b", shape={}),
    ],
)
def test_entry_that_this_version_cannot_read_is_left_out(file, document):
    assert add(file, [document, entry("other:1b")]) == ["other:1b"]
    assert of_home(file).get("new:1b") is None


def test_file_that_was_damaged_is_said(file):
    file.write_bytes(b"[[")
    for use in (of_home, lambda path: add(path, [entry("new:1b")])):
        with pytest.raises(BrokenFile, match="cannot be read"):
            use(file)
