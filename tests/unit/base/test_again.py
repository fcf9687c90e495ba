"""A head that is known by its bytes says what a parser would say of it, or it is not known."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.again import body_at, learn

NAMES = st.from_regex(rb"\A[a-z][a-z0-9-]{0,12}\Z").filter(
    lambda name: name not in (b"content-length", b"transfer-encoding", b"upgrade", b"connection")
)
VALUES = st.from_regex(rb"\A[!-~]([ -~]{0,20}[!-~])?\Z")
BODIES = st.binary(max_size=200)
CASES = st.sampled_from((b"content-length", b"Content-Length", b"CONTENT-LENGTH"))


class Parsed:
    """What httptools makes of one message."""

    def __init__(self, data):
        self.headers, self.count, self.body, self.is_whole = {}, 0, b"", False
        httptools.HttpRequestParser(self).feed_data(data)

    def on_header(self, name, value):
        self.headers[name.lower()] = value
        self.count += 1

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        self.is_whole = True


def message(headers, body, *, length=None):
    lines = [b"%b: %b\r\n" % pair for pair in headers]
    said = b"%d" % len(body) if length is None else length
    lines.insert(len(lines) // 2, b"content-length: %b\r\n" % said)
    return b"POST /v1/x HTTP/1.1\r\n" + b"".join(lines) + b"\r\n" + body


def learnt(data):
    parsed = Parsed(data)
    return learn(data, parsed.headers, parsed.count)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), BODIES, BODIES)
def test_what_is_known_again_is_what_a_parser_reads(headers, first, second):
    known = learnt(message(headers, first))
    again = message(headers, second)
    if known is None:
        return
    start = body_at(known, again)
    assert again[start:] == second
    assert Parsed(again).body == second
    assert Parsed(again).headers == {
        **Parsed(message(headers, first)).headers,
        b"content-length": b"%d" % len(second),
    }


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), BODIES, st.data())
def test_a_message_with_any_byte_of_its_head_changed_is_not_known(headers, body, data):
    one = message(headers, body)
    known = learnt(one)
    if known is None:
        return
    end = len(one) - len(body)
    at = data.draw(st.integers(0, end - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != one[at]))
    changed = one[:at] + bytes([byte]) + one[at + 1 :]
    start = body_at(known, changed)
    assert start == 0 or int(changed[len(known.before) : end - len(known.after)]) == len(body)


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\nabc",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcPOST / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nab",
    ],
    ids=["asked first", "in chunks", "no length", "the next begins", "not all of it"],
)
def test_a_head_that_may_be_read_otherwise_is_not_learnt(head):
    assert learnt(head) is None


@pytest.mark.parametrize("length", [b"", b"+3", b"0x3", b"3 ", b"1234567890", b"4", b"2", b"-3"])
def test_a_length_that_is_not_that_of_the_rest_is_left_to_the_parser(length):
    known = learnt(message([(b"host", b"x")], b"abc"))
    assert known is not None
    assert body_at(known, message([(b"host", b"x")], b"xyz", length=length)) == 0
    assert body_at(known, message([(b"host", b"x")], b"xyz")) > 0
