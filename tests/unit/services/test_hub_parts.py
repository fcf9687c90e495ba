"""Ranges, tickets, places and commits of the hub, each by itself."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest, NotFound, Overloaded, RangeNotSatisfiable
from haneul.models.manifest import File
from haneul.services.hub import commits
from haneul.services.hub.access import Lanes
from haneul.services.hub.files import wanted
from haneul.services.hub.tickets import Tickets
from haneul.services.hub.ways import Way

ETAG = b'"' + b"a" * 64 + b'"'
SHA = "c" * 64


class Asked:
    """A call, as far as ranges are concerned."""

    def __init__(self, **headers):
        self.headers = {name.replace("_", "-").encode(): value for name, value in headers.items()}
        self.extra_headers = []


def span_of(text, size, **more):
    return wanted(Asked(range=text.encode(), **more), size, ETAG)


@given(st.integers(0, 200), st.integers(0, 250), st.integers(0, 250))
def test_a_range_is_the_bytes_that_it_names(size, first, last):
    content = bytes(index % 251 for index in range(size))
    expected = content[first : last + 1]
    try:
        span = span_of(f"bytes={first}-{last}", size)
    except RangeNotSatisfiable:
        assert first >= size
        return
    if last < first:
        assert span == (0, size, False), "no range: the whole file"
    else:
        assert content[span.at : span.at + span.length] == expected
        assert span.is_part


@given(st.integers(1, 200), st.integers(1, 250))
def test_a_range_can_be_the_rest_or_the_last_bytes(size, number):
    content = bytes(index % 251 for index in range(size))
    last = span_of(f"bytes=-{number}", size)
    assert content[last.at : last.at + last.length] == content[-number:]
    if number < size:
        rest = span_of(f"bytes={number}-", size)
        assert content[rest.at : rest.at + rest.length] == content[number:]


def test_nothing_can_be_had_of_beyond_the_end_and_the_size_is_told():
    asked = Asked(range=b"bytes=100-")
    with pytest.raises(RangeNotSatisfiable):
        wanted(asked, 100, ETAG)
    assert (b"content-range", b"bytes */100") in asked.extra_headers


@pytest.mark.parametrize(
    "text", ["", "bytes=", "bytes=-", "bytes=1-2,4-5", "lines=1-2", "bytes=a-b", "bytes 1-2"]
)
def test_what_is_no_range_or_several_gets_the_whole(text):
    assert span_of(text, 100) == (0, 100, False)


def test_a_part_of_another_version_is_not_given():
    assert span_of("bytes=1-2", 100, if_range=ETAG).is_part
    assert span_of("bytes=1-2", 100, if_range=b'"other"') == (0, 100, False)


@given(st.text(st.characters(codec="ascii"), max_size=8), st.integers(0, 1 << 50))
def test_a_ticket_says_what_it_was_written_for(key_id, size):
    tickets = Tickets(b"p" * 32)
    ticket = tickets.read(tickets.write(key_id, SHA, size))
    assert (ticket.key_id, ticket.sha256, ticket.size) == (key_id, SHA, size)


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_ticket_that_was_changed_anywhere_is_none(place, change):
    text = Tickets(b"p" * 32).write("k", SHA, 5)
    data = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    data[place % len(data)] ^= change
    forged = base64.urlsafe_b64encode(bytes(data)).decode().rstrip("=")
    with pytest.raises(NotFound):
        Tickets(b"p" * 32).read(forged)


@pytest.mark.parametrize("text", ["", "x", "é", "=" * 9, "a" * 5000, "!!"])
def test_what_is_no_ticket_is_not_found(text):
    with pytest.raises(NotFound):
        Tickets(b"p" * 32).read(text)


def test_a_ticket_of_another_cloud_is_none():
    with pytest.raises(NotFound):
        Tickets(b"q" * 32).read(Tickets(b"p" * 32).write("k", SHA, 5))


def test_one_key_cannot_take_every_place_and_each_is_given_back():
    lanes = Lanes(4)
    with lanes.place("a"), lanes.place("a"):
        with pytest.raises(Overloaded), lanes.place("a"):
            pass
        with lanes.place("b"), lanes.place("b"), pytest.raises(Overloaded), lanes.place("c"):
            pass
    with lanes.place("a"), lanes.place("a"):
        pass


def test_what_stands_last_in_an_address_may_hold_slashes():
    way = Way("/hub/{a}/resolve/{b}/{c}", {})
    assert way.fits("/hub/x/resolve/main/deep/er/file") == {
        "a": "x",
        "b": "main",
        "c": "deep/er/file",
    }
    assert way.fits("/hub/x/y/resolve/main/file") is None


BEFORE = {
    path: File(path, "a" * 64, 3) for path in ("m.gguf", "README.md", "1_Pooling/config.json")
}


def read(*lines):
    return commits.read(b"\n".join(json.dumps(line).encode() for line in lines), BEFORE)


def test_a_commit_keeps_what_it_does_not_name():
    told = read(
        {"key": "header", "value": {"summary": "s", "parentCommit": "a" * 40}},
        {"key": "file", "value": {"path": "a.txt", "content": "aGk=", "encoding": "base64"}},
        {"key": "lfsFile", "value": {"path": "m.gguf", "oid": SHA, "algo": "sha256", "size": 9}},
        {"key": "deletedFolder", "value": {"path": "1_Pooling/"}},
    )
    assert told.contents == {"a.txt": b"hi"}
    assert {path: large.oid for path, large in told.larges.items()} == {"m.gguf": SHA}
    assert list(told.kept) == ["README.md"]
    assert told.head.parent_commit == "a" * 40


@pytest.mark.parametrize(
    "line",
    [
        {"key": "nothing", "value": {}},
        {"key": "file", "value": {"path": "a.txt"}},
        {"key": "file", "value": {"path": "a.txt", "content": "=", "encoding": "base64"}},
        {"key": "lfsFile", "value": {"path": "m.gguf", "oid": "xyz"}},
        {"key": "lfsFile", "value": {"path": "m.gguf", "oid": SHA, "algo": "md5"}},
        {"key": "file", "value": {"path": "model.pkl", "content": ""}},
        {"key": "file", "value": {"path": "../m.gguf", "content": ""}},
        {"key": "file", "value": {"path": "modeling.py", "content": ""}},
        [],
    ],
)
def test_what_a_commit_cannot_say_is_refused(line):
    with pytest.raises(BadRequest):
        read(line)


def test_what_is_not_there_cannot_be_deleted():
    with pytest.raises(NotFound, match="A file with this name doesn't exist"):
        read({"key": "deletedFile", "value": {"path": "other.txt"}})
