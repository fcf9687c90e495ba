"""multipart/form-data: what clients write is read back whole, and everything else is refused."""

from __future__ import annotations

import itertools

import aiohttp
import httpx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest
from haneul.base.multipart import PARTS_MAX, Form, Head, Part, boundary_of, read_form

KIND = "multipart/form-data; boundary=x"
names = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters='"\\%\x7f'))
fields = st.lists(
    st.tuples(names.filter(lambda name: 0 < len(name) <= 40), st.binary()), max_size=6
)


def form(*parts, boundary=b"x"):
    """A body of (head, data) parts."""
    lines = [b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + data for head, data in parts]
    return b"\r\n".join([*lines, b"--" + boundary + b"--\r\n"])


def field(name, data=b"v"):
    return f'Content-Disposition: form-data; name="{name}"'.encode(), data


@given(fields, st.text("abcXYZ019'()+_,./:=?-", min_size=1, max_size=70))
def test_a_form_is_read_back_whole(sent, boundary):
    line = boundary.encode()
    assume(not any(b"--" + line in data for _, data in sent))
    body = form(*(field(name, data) for name, data in sent), boundary=line)
    read = read_form(body, f'multipart/form-data; boundary="{boundary}"')
    assert read == [Part(name, data) for name, data in sent]


@given(st.binary(max_size=300), st.text("abc .ü-", min_size=1, max_size=20))
def test_what_the_genuine_client_sends_is_read(data, filename):
    request = httpx.Request(
        "POST", "http://e", files={"file": (filename, data)}, data={"model": "ü", "t[]": ["a", "b"]}
    )
    read = read_form(request.read(), request.headers["content-type"])
    assert {(part.name, part.data) for part in read} == {
        ("file", data),
        ("model", "ü".encode()),
        ("t[]", b"a"),
        ("t[]", b"b"),
    }
    assert [part.filename for part in read if part.name == "file"] == [filename]


async def test_what_another_client_sends_is_read_too():
    writer = aiohttp.FormData({"model": "m"})
    writer.add_field("file", b"\r\n--x\r\n\x00", filename="a.wav", content_type="audio/wav")
    payload = writer()
    read = read_form(await payload.as_bytes(), payload.content_type)
    assert [(part.name, part.data) for part in read] == [
        ("model", b"m"),
        ("file", b"\r\n--x\r\n\x00"),
    ]


def test_text_before_and_after_the_form_is_passed_over():
    body = b"hello\r\n" + form(field("a")) + b"bye"
    assert read_form(body, KIND) == [Part("a", b"v")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x",
        b"--x-",
        form(field("a"))[:-5],  # the last boundary is cut
        form(field("a")).replace(b"--x--", b"--xy--"),
        form((b"", b"v")),
        form((b'Content-Disposition: attachment; name="a"', b"v")),
        form((b"Content-Disposition: form-data", b"v")),
        form((b'Content-Disposition: form-data; name=""', b"v")),
        form((b'Content-Disposition: form-data; name="a" b', b"v")),
        form((b'Content-Disposition: form-data; name="a"; name="b"', b"v")),
        form((field("a")[0] + b"\r\nContent-Transfer-Encoding: base64", b"v")),
        form((field("a")[0] + b"\r\nno colon", b"v")),
        form((b'Content-Disposition: form-data; name="\xff"', b"v")),
        form((field("a" * 5000)[0], b"v")),
        form((field("a" * 129)[0], b"v")),
        form(*[field("a")] * (PARTS_MAX + 1)),
        form(field("a")).replace(b"--x\r\n", b"--x oops\r\n"),
    ],
)
def test_what_is_no_form_is_refused(body):
    with pytest.raises(BadRequest):
        read_form(body, KIND)


@given(fields, st.lists(st.integers(1, 40), min_size=1, max_size=8), st.binary(max_size=200))
def test_a_form_that_comes_in_pieces_is_read_as_the_whole_is(sent, sizes, behind):
    whole = form(*(field(name, data) for name, data in sent))
    for body in (whole, whole[:-4], b"before\r\n" + whole + behind, whole.replace(b"name", b"n")):
        pieces, at = [], 0
        for size in itertools.cycle(sizes):
            pieces.append(body[at : at + size])
            at += size
            if at >= len(body):
                break
        assert outcome(pieces) == outcome([body])


def outcome(pieces):
    """The parts, or that they are refused."""
    reader, parts = Form(KIND), []
    try:
        for piece in pieces:
            for told in reader.feed(piece):
                if isinstance(told, Head):
                    parts.append((told, b""))
                else:
                    parts[-1] = (parts[-1][0], parts[-1][1] + told)
        reader.end()
    except BadRequest as refused:
        return refused.message
    return parts


def test_of_a_part_that_comes_no_more_is_kept_back_than_a_boundary_has():
    reader = Form(KIND)
    reader.feed(form(field("a"))[:-9])
    for _ in range(8):
        told = reader.feed(b"y" * 10_000)
        assert sum(len(each) for each in told if isinstance(each, bytes)) >= 9_990


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/mixed; boundary=x",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'x' * 71}",
    ],
)
def test_another_kind_of_body_is_refused(kind):
    with pytest.raises(BadRequest, match="multipart/form-data"):
        boundary_of(kind)


@given(st.binary(max_size=400), st.text(max_size=60))
def test_no_bytes_break_the_reader(data, kind):
    for body, content_type in (
        (data, KIND),
        (b"--x\r\n" + data + b"\r\n--x--", KIND),
        (data, kind),
    ):
        try:
            assert all(isinstance(part, Part) for part in read_form(body, content_type))
        except BadRequest:
            pass
