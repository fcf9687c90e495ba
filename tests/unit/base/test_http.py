"""The small client against servers of every manner, good and bad, over real sockets."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
import pytest_asyncio

from haneul.base import http
from haneul.base.errors import BadRequest, EngineFailed, EngineUnavailable
from haneul.base.http import Address, Client
from haneul.base.http_connection import HIGH_WATER_BYTES, Disconnected

OK = b"HTTP/1.1 200 OK\r\n"


@pytest_asyncio.fixture
async def client():
    made = Client()
    yield made
    await made.aclose()


@asynccontextmanager
async def serving(*answers, is_kept=False):
    """A server that gives each request the next of the answers, then closes unless it is kept."""
    requests = []

    async def serve(reader, writer):
        try:
            while True:
                requests.append(await reader.readuntil(b"\r\n\r\n"))
                for piece in answers[min(len(requests), len(answers)) - 1]:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.01)
                if not is_kept:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield Address("127.0.0.1", port), requests


async def get(client, to):
    reply = await client.send(to, "GET", "/x")
    return reply.status, await reply.read()


@pytest.mark.parametrize(
    "pieces",
    [
        (OK + b"content-length: 5\r\n\r\nhello",),
        (OK + b"content-length: 5\r\n\r\n", b"he", b"llo"),
        tuple(bytes([byte]) for byte in OK + b"content-length: 5\r\n\r\nhello"),
        (OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n", b"3\r\nllo\r\n0\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\n\r\nhe", b"llo"),
        (OK + b"connection: close\r\n\r\nhello",),
    ],
    ids=["whole", "pieces", "bytes", "chunked", "http-1.0", "to-the-end"],
)
async def test_a_body_of_every_framing_is_read(client, pieces):
    async with serving(pieces) as (to, _):
        assert await get(client, to) == (200, b"hello")


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ((), Disconnected),
        ((b"HTTP/1.1 20",), Disconnected),
        ((OK + b"content-length: 9\r\n\r\nhello",), Disconnected),
        ((OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhe",), Disconnected),
        ((b"SSH-2.0-OpenSSH\r\n",), EngineFailed),
        ((OK + b"transfer-encoding: chunked\r\n\r\nxyz\r\n",), EngineFailed),
    ],
    ids=["nothing", "half-a-head", "short", "cut-chunk", "not-http", "bad-chunk"],
)
async def test_a_broken_answer_is_an_error_that_says_which(client, pieces, error):
    async with serving(pieces) as (to, _):
        with pytest.raises(error):
            await get(client, to)


async def test_a_connection_is_kept_and_used_again(client):
    answer = (OK + b"content-length: 1\r\n\r\nx",)
    async with serving(answer, is_kept=True) as (to, requests):
        for _ in range(3):
            assert await get(client, to) == (200, b"x")
        assert len(requests) == 3
        assert len(client._idle[to]) == 1


async def test_a_kept_connection_that_was_closed_meanwhile_is_replaced(client):
    answer = (OK + b"content-length: 1\r\n\r\nx",)
    async with serving(answer) as (to, requests):
        for _ in range(3):
            assert await get(client, to) == (200, b"x")
            await asyncio.sleep(0.02)
        assert len(requests) == 3


async def test_a_request_that_a_kept_connection_swallowed_is_sent_once_more_and_no_more(client):
    """However many connections are kept: an engine that takes it and dies is not asked on."""
    requests, all_are_here = [], asyncio.Event()

    async def serve(reader, writer):
        with suppress(asyncio.IncompleteReadError):
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            if len(requests) == 5:
                all_are_here.set()
            if len(requests) <= 5:
                await all_are_here.wait()
                writer.write(OK + b"content-length: 1\r\n\r\nx")
                requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        to = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        await asyncio.gather(*(get(client, to) for _ in range(5)))
        assert len(client._idle[to]) == 5
        with pytest.raises(Disconnected):
            await client.send(to, "POST", "/")
        assert len(requests) == 5 + 2
        await client.aclose()
        await asyncio.sleep(0.05)


async def test_an_answer_that_is_not_read_is_hung_up_on(client):
    gone = asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"content-length: 1000\r\n\r\nx")
        await reader.read()
        gone.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        to = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        async with await client.send(to, "GET", "/"):
            pass
        await asyncio.wait_for(gone.wait(), 5)
        assert not client._idle.get(to)


async def test_a_slow_reader_holds_the_engine_back_and_not_memory(client):
    total = 64 << 20
    sent = 0

    async def serve(reader, writer):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + f"content-length: {total}\r\n\r\n".encode())
        while sent < total:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        to = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        reply = await client.send(to, "GET", "/")
        await asyncio.sleep(0.3)
        assert reply._connection.unread <= HIGH_WATER_BYTES + (256 << 10)
        assert sent < total
        assert len(await reply.read(limit_bytes=total)) == total


async def test_a_body_beyond_the_limit_is_refused(client):
    async with serving((OK + b"content-length: 100\r\n\r\n" + b"x" * 100,)) as (to, _):
        reply = await client.send(to, "GET", "/")
        with pytest.raises(EngineFailed, match="larger"):
            await reply.read(limit_bytes=99)


async def test_nobody_there_is_unavailable_with_a_time_to_retry(client):
    async with serving(()) as (to, _):
        pass
    for nowhere in (to, http.unix("/nowhere/at.sock")):
        with pytest.raises(EngineUnavailable) as caught:
            await client.send(nowhere, "GET", "/")
        assert caught.value.retry_after_s


@pytest.mark.parametrize(
    ("url", "to"),
    [
        ("http://127.0.0.1:8000", Address("127.0.0.1", 8000)),
        ("http://Engine/base/", Address("engine", 80, prefix="/base")),
        ("http://[::1]:9", Address("::1", 9)),
    ],
)
def test_an_address_is_read_from_a_url(url, to):
    assert http.address(url) == to


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "https://x",
        "ftp://x",
        "http://",
        "http://[::1",
        "http://x:y",
        "http://x:99999",
        "http://user@x",
        "http://x?q=1",
    ],
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(BadRequest, match="not an http URL"):
        http.address(url)


async def test_a_reply_that_was_read_has_no_power_over_the_next_on_its_connection(client):
    hello = (OK + b"content-length: 5\r\n\r\nhello",)
    slow = (OK + b"content-length: 5\r\n\r\n", b"he", b"l", b"lo")
    async with serving(hello, slow, is_kept=True) as (to, requests):
        async with await client.send(to, "GET", "/x") as first:
            assert await first.read() == b"hello"
            second = await client.send(to, "GET", "/x")
        assert await second.read() == b"hello"
        assert len(requests) == 2


async def test_an_answer_whose_head_was_there_before_is_read_as_if_it_were_new(client):
    def of(body, status=b"200 OK", kind=b"a"):
        head = b"HTTP/1.1 %b\r\nkind: %b\r\ncontent-length: %d\r\n\r\n" % (status, kind, len(body))
        return head + body

    answers = [
        (of(b"hello"),),
        (of(b"hello"),),
        (of(b"good day to you"),),
        (of(b"")[:-2], b"\r\n"),
        (of(b"hello", kind=b"b"),),
        (of(b"no", status=b"503 Busy", kind=b"b"),),
        (of(b"hello")[:-2], b"lo"),
        (OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",),
        (of(b"x" * 100_000),),
        (of(b"bye"),),
    ]
    async with serving(*answers, is_kept=True) as (to, requests):
        found = []
        for _ in answers:
            reply = await client.send(to, "GET", "/x")
            found.append((reply.status, reply.headers.get(b"kind"), await reply.read()))
            length = reply.headers.get(b"content-length")
            assert length is None or int(length) == len(found[-1][2])
        assert [(status, len(body)) for status, _, body in found] == [
            *((200, 5), (200, 5), (200, 15), (200, 0), (200, 5), (503, 2)),
            *((200, 5), (200, 5), (200, 100_000), (200, 3)),
        ]
        assert [kind for _, kind, _ in found] == [*([b"a"] * 4), b"b", b"b", b"a", None, b"a", b"a"]
        assert len(requests) == len(answers)
        assert len(client._idle[to]) == 1, "all of it over one connection"


async def test_what_an_engine_says_unasked_is_no_answer_to_the_next_who_asks(client):
    hello = OK + b"content-length: 5\r\n\r\nhello"
    evil = OK + b"content-length: 4\r\n\r\nevil"
    async with serving((hello, evil), is_kept=True) as (to, _):
        assert await get(client, to) == (200, b"hello")
        await asyncio.sleep(0.1)
        assert await get(client, to) == (200, b"hello")
