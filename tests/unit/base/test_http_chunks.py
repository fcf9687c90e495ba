"""Chunks that are read without a parser give the same body as the parser gives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from haneul.base.chunked import head_of_one, whole_chunks
from haneul.base.errors import EngineFailed
from haneul.base.http_connection import Connection, Shortcut

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
bodies = st.lists(st.binary(min_size=1, max_size=40) | st.just(b"\r\n"), max_size=12)
cuts = st.lists(st.integers(0, 400), max_size=12)


class Wire:
    """A transport on which nothing is sent."""

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def abort(self) -> None: ...


class Client:
    """Takes all, unless it is stalled."""

    def __init__(self) -> None:
        self.on_drained: Callable[[], None] | None = None
        self.is_stalled = False

    async def drained(self) -> None: ...


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    ends = sorted({0, len(data)} | {end for end in at if end < len(data)})
    return [data[begin:end] for begin, end in pairwise(ends)]


async def pour(pieces: list[bytes], shortcut: Shortcut | None = None) -> bytes:
    """What a body gives that comes in such pieces."""
    connection, taken = Connection(), bytearray()
    connection.connection_made(cast(Any, Wire()))
    connection.data_received(HEAD)
    pumping = asyncio.ensure_future(connection.pump(taken.extend, Client(), shortcut))
    await asyncio.sleep(0)
    for piece in pieces:
        connection.data_received(piece)
    await asyncio.wait_for(pumping, 5)
    return bytes(taken)


@given(bodies, cuts)
@example([b"abc", b"\r\n", b"0\r\n\r\n"], [8, 13])
def test_a_body_is_the_same_in_whatever_pieces_it_comes(said: list[bytes], at: list[int]) -> None:
    data = b"".join(map(chunk, said)) + LAST
    assert asyncio.run(pour(cut(data, at))) == b"".join(said)


@given(bodies, cuts)
def test_a_shortcut_is_offered_only_what_follows_whole_chunks(
    said: list[bytes], at: list[int]
) -> None:
    data = b"".join(map(chunk, said)) + LAST
    passed = list[bytes]()

    def take_one(piece: bytes) -> bool:
        if is_one := piece in map(chunk, said):
            passed.append(piece)
        return is_one

    rest = asyncio.run(pour(cut(data, at), take_one))
    assert len(rest) + sum(len(whole_chunks(piece)[0]) for piece in passed) == sum(map(len, said))


@given(st.integers(1, 1 << 20))
def test_the_head_of_a_chunk_follows_from_the_bytes_of_all_of_it(size: int) -> None:
    head = b"%x\r\n" % size
    assert head_of_one(len(head) + size + 2) == head


def test_bytes_that_no_single_chunk_has_have_no_head() -> None:
    assert [head_of_one(size) for size in (0, 4, 5, 21, 262)] == [b""] * 5


@pytest.mark.parametrize("size", [b"+1", b"0x1", b" 1", b"1_0", b"-1", b"1;a=b", b"00000001", b""])
def test_odd_sizes_are_left_to_the_parser(size: bytes) -> None:
    assert whole_chunks(size + b"\r\na\r\n") == (b"", 0)


async def test_a_size_that_is_none_after_whole_chunks_ends_the_answer_with_an_error() -> None:
    with pytest.raises(EngineFailed):
        await pour([chunk(b"a"), chunk(b"b"), b"+1\r\nc\r\n"])


async def test_a_chunk_with_an_extension_between_plain_ones_is_read() -> None:
    assert await pour([chunk(b"a"), b"1;x=y\r\nb\r\n", chunk(b"c") + LAST]) == b"abc"


async def test_what_came_while_the_reader_stalled_comes_before_what_follows() -> None:
    connection, taken, client = Connection(), list[bytes](), Client()
    connection.connection_made(cast(Any, Wire()))
    connection.data_received(HEAD)

    def never(piece: bytes) -> bool:
        assert not client.is_stalled
        return False

    pumping = asyncio.ensure_future(connection.pump(taken.append, client, never))
    await asyncio.sleep(0)
    connection.data_received(chunk(b"a"))  # by the parser
    client.is_stalled = True
    connection.data_received(chunk(b"b"))
    connection.data_received(chunk(b"c"))
    assert taken == [b"a"]
    client.is_stalled = False
    assert client.on_drained is not None
    client.on_drained()
    connection.data_received(LAST)
    await asyncio.wait_for(pumping, 5)
    assert taken == [b"a", b"bc"]
