"""The HTTP level: heads, bodies and connections of every bad kind."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import time
from contextlib import suppress

import aiohttp
import pytest
import pytest_asyncio

from haneul.console.pages import read_pages
from haneul.listener import Listener
from haneul.openapi.document import document
from haneul.protocol import Connection
from haneul.server import Server
from haneul.services import dialects, keys
from haneul.services.keyring import FRESH_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = "host: localhost\r\n"


class Plain:
    """One connection, bytes in, bytes out."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    async def send(self, text):
        self.writer.write(text if isinstance(text, bytes) else text.encode("latin-1"))
        with suppress(ConnectionError):
            await self.writer.drain()

    async def answer(self, within_s=10):
        """Status, headers and body of one answer."""
        async with asyncio.timeout(within_s):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = head.rstrip().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
            return int(status.split()[1]), headers, body

    async def rest(self, within_s=10):
        """Everything until the connection ends."""
        async with asyncio.timeout(within_s):
            return await self.reader.read(-1)


@pytest_asyncio.fixture(loop_scope="module")
async def connect():
    """Opens plain connections; all of them end with the test."""
    opened = []

    async def start(port):
        opened.append(await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))
        return Plain(*opened[-1])

    yield start
    for _, writer in opened:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


class Hasty(Connection):
    """The same bounds in a tenth of the time."""

    head_s = 0.4
    linger_s = 0.4
    stall_s = 0.4

    def connection_made(self, transport):
        """With a kernel that holds back little, so that an answer is left in the process."""
        plain = transport.get_extra_info("socket")
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        super().connection_made(transport)


@pytest_asyncio.fixture(loop_scope="module")
async def hasty_port(cloud):
    """A second port of the running cloud with bounds that a test can wait for."""
    server = Server(cloud.cloud.gateway, cloud.cloud.api, dialects.every())
    listener = Listener(server, server.errors, kind=Hasty)
    listening = socket.create_server(("127.0.0.1", 0))
    await listener.open([listening])
    yield listening.getsockname()[1]
    await listener.close(drain_s=0, cut_off_s=1)


def post(path, body, *lines, secret=""):
    """A request as text."""
    key = f"authorization: Bearer {secret}\r\n" if secret else ""
    head = f"POST {path} HTTP/1.1\r\n{HOST}{key}content-length: {len(body)}\r\n"
    return (head + "".join(f"{line}\r\n" for line in lines) + "\r\n").encode() + body


def error_of(body):
    return json.loads(body)["error"]


# heads
async def test_a_slow_head_is_408(hasty_port, connect):
    plain = await connect(hasty_port)
    await plain.send(f"GET /healthz HTTP/1.1\r\n{HOST}x: ")
    began = time.monotonic()
    for _ in range(12):
        await plain.send("a")
        await asyncio.sleep(0.05)
    status, headers, body = await plain.answer()
    assert (status, error_of(body)["code"]) == (408, "request_timeout")
    assert headers["x-request-id"].startswith("req_")
    assert await plain.rest() == b""
    assert time.monotonic() - began < 3


async def test_a_connection_that_says_nothing_is_closed_without_a_word(hasty_port, connect):
    plain = await connect(hasty_port)
    assert await plain.rest(within_s=3) == b""
    blank = await connect(hasty_port)
    await blank.send("\r\n" * 3)
    assert b" 200 " not in await blank.rest(within_s=3)


async def test_a_slow_second_head_on_a_kept_connection_is_408_too(hasty_port, connect):
    plain = await connect(hasty_port)
    await plain.send(f"GET /healthz HTTP/1.1\r\n{HOST}\r\n")
    assert (await plain.answer())[0] == 200
    await plain.send("GET /healthz HTTP/1.1\r\n")
    assert (await plain.answer(within_s=3))[0] == 408


@pytest.mark.parametrize(
    "head",
    [
        f"GET / HTTP/1.1\r\n{HOST}x: {'y' * 70_000}\r\n\r\n",
        f"GET / HTTP/1.1\r\n{HOST}x: {'y' * 300_000}",
        f"GET /{'y' * 70_000} HTTP/1.1\r\n{HOST}\r\n",
        f"GET / HTTP/1.1\r\n{HOST}" + "x: y\r\n" * 5_000 + "\r\n",
        f"GET / HTTP/1.1\r\n{HOST}{'y' * 200_000}",
    ],
    ids=["value", "endless-value", "path", "five-thousand-headers", "name"],
)
async def test_a_huge_head_is_431(cloud, connect, head):
    plain = await connect(cloud.cloud.port)
    await plain.send(head)
    status, _, body = await plain.answer()
    assert (status, error_of(body)["code"]) == (431, "request_head_too_large")


async def test_an_endless_head_behind_a_running_request_ends_the_connection(cloud, key, connect):
    engine = await cloud.add_engine(hang_after=1)
    plain = await connect(cloud.cloud.port)
    body = {"model": engine.models[0], "messages": [{"role": "user", "content": "x"}]}
    data = json.dumps(body | {"stream": True}).encode()
    await plain.send(post("/v1/chat/completions", data, secret=key.secret))
    await plain.reader.readuntil(b"data: ")
    await plain.send(f"GET / HTTP/1.1\r\n{HOST}x: ")
    for _ in range(40):
        await plain.send("y" * 10_000)
    await cloud.until(lambda: engine.seen.running == 0, 2, "the request went with its connection")
    assert [row.state for row in await cloud.rows(key.key.id)] == ["aborted"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nbad header\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: " + b"9" * 500 + b"\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        bytes(range(256)) * 40,
    ],
    ids=[
        "tls",
        "words",
        "no-path",
        "version",
        "no-colon",
        "negative-length",
        "two-lengths",
        "length-and-chunked",
        "astronomic-length",
        "byte-in-the-path",
        "connect",
        "all-bytes",
    ],
)
async def test_what_is_no_http_is_400_in_the_same_shape(cloud, connect, data):
    plain = await connect(cloud.cloud.port)
    await plain.send(data)
    status, headers, body = await plain.answer()
    assert (status, error_of(body)["type"]) == (400, "invalid_request_error")
    assert headers["x-request-id"].startswith("req_")
    assert (await cloud.ask("GET", "/healthz")).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:80", "", "localhost.evil"]
)
async def test_a_foreign_host_name_is_refused_on_loopback(cloud, connect, host):
    plain = await connect(cloud.cloud.port)
    await plain.send(f"GET /metrics HTTP/1.1\r\nhost: {host}\r\n\r\n")
    status, _, body = await plain.answer()
    assert (status, error_of(body)["code"]) == (403, "permission_denied")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:8420", "[::1]:8420", "[::1]"]
)
async def test_loopback_names_are_answered(cloud, connect, host):
    plain = await connect(cloud.cloud.port)
    await plain.send(f"GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n")
    assert (await plain.answer())[0] == 200


# bodies
async def test_a_length_of_99_gb_is_413_before_a_byte_of_it(cloud, key, connect):
    plain = await connect(cloud.cloud.port)
    head = f"authorization: Bearer {key.secret}\r\ncontent-length: 99000000000\r\n\r\n"
    began = time.monotonic()
    await plain.send(f"POST /v1/chat/completions HTTP/1.1\r\n{HOST}{head}")
    status, _, body = await plain.answer()
    assert (status, error_of(body)["code"]) == (413, "request_too_large")
    assert time.monotonic() - began < 2
    (row,) = await cloud.rows(key.key.id)
    assert (row.state, row.status) == ("refused", 413)


async def test_a_body_nobody_reads_is_taken_for_a_while_then_the_connection_ends(
    cloud, key, hasty_port, connect
):
    plain = await connect(hasty_port)
    head = f"authorization: Bearer {key.secret}\r\ncontent-length: 99000000000\r\n\r\n"
    await plain.send(f"POST /v1/chat/completions HTTP/1.1\r\n{HOST}{head}")
    assert (await plain.answer())[0] == 413
    began = time.monotonic()
    with suppress(ConnectionError, RuntimeError):  # uvloop's word for a transport that is closed
        while time.monotonic() - began < 10:
            plain.writer.write(b"x" * 65536)
            await plain.writer.drain()
            await asyncio.sleep(0.02)
    assert time.monotonic() - began < 3


async def test_a_body_nobody_reads_that_ends_soon_leaves_the_connection_in_use(
    cloud, hasty_port, connect
):
    plain = await connect(hasty_port)
    await plain.send(f"POST /nowhere HTTP/1.1\r\n{HOST}content-length: 200000\r\n\r\n")
    assert (await plain.answer())[0] == 404
    await plain.send(b"x" * 200_000)
    await asyncio.sleep(0.6)
    await plain.send(f"GET /healthz HTTP/1.1\r\n{HOST}\r\n")
    assert (await plain.answer())[0] == 200


async def test_a_large_body_that_was_there_before_it_was_wanted_leaves_the_connection_in_use(
    cloud, connect
):
    engine = await cloud.add_engine()
    body = {"model": engine.models[0], "messages": [{"role": "user", "content": "x" * 265_000}]}
    for _ in range(4):
        made = await cloud.make_key()  # who that is has to be read from the database first
        plain = await connect(cloud.cloud.port)
        for _ in range(2):
            data = json.dumps(body).encode()
            await plain.send(post("/v1/chat/completions", data, secret=made.secret))
            assert (await plain.answer(within_s=5))[0] == 200


async def test_a_chunked_body_beyond_the_limit_is_413(start_cloud, connect):
    cloud = await start_cloud(body_max_bytes=10_000)
    key = await cloud.make_key()
    plain = await connect(cloud.cloud.port)
    head = f"authorization: Bearer {key.secret}\r\ntransfer-encoding: chunked\r\n\r\n"
    await plain.send(f"POST /v1/chat/completions HTTP/1.1\r\n{HOST}{head}")
    for _ in range(5):
        await plain.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")
    status, _, body = await plain.answer()
    assert (status, error_of(body)["code"]) == (413, "request_too_large")


async def test_a_body_slower_than_its_deadline_is_408_and_noted(start_cloud, connect):
    cloud = await start_cloud(body_s=0.5)
    key = await cloud.make_key()
    plain = await connect(cloud.cloud.port)
    head = f"authorization: Bearer {key.secret}\r\ncontent-length: 1000\r\n\r\n"
    await plain.send(f"POST /v1/chat/completions HTTP/1.1\r\n{HOST}{head}")
    for _ in range(8):
        await plain.send("x")
        await asyncio.sleep(0.1)
    status, headers, body = await plain.answer()
    assert (status, error_of(body)["code"]) == (408, "request_timeout")
    row = await cloud.row(headers["x-request-id"])
    assert (row.state, row.status) == ("refused", 408)


async def test_a_chunked_body_is_read_whole(cloud, key):
    engine = await cloud.add_engine()
    body = {"model": engine.models[0], "messages": [{"role": "user", "content": "x " * 500}]}
    data = json.dumps(body).encode()

    async def pieces():
        for at in range(0, len(data), 100):
            yield data[at : at + 100]

    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {key.secret}"}) as web,
        web.post(f"{cloud.root}/v1/chat/completions", data=pieces()) as answer,
    ):
        assert answer.status == 200
        assert (await answer.json())["usage"]["prompt_tokens"] == 500


async def test_a_compressed_body_is_refused_and_not_unpacked(cloud, key):
    bomb = gzip.compress(b"0" * 10_000_000)
    for data in (bomb, b"not gzip at all"):
        answer = await cloud.ask(
            "POST", "/v1/completions", data, secret=key.secret, **{"content-encoding": "gzip"}
        )
        assert (answer.status, answer.error()["code"]) == (400, "invalid_request_error")


async def test_a_client_that_waits_for_100_continue_is_told_to_go_on(cloud, key, connect):
    engine = await cloud.add_engine()
    body = json.dumps({"model": engine.models[0], "prompt": "x"}).encode()
    plain = await connect(cloud.cloud.port)
    text = post("/v1/completions", body, "expect: 100-continue", secret=key.secret)
    await plain.send(text[: -len(body)])
    assert (await plain.answer())[0] == 100
    await plain.send(body)
    assert (await plain.answer())[0] == 200


# connections
async def test_pipelined_requests_are_answered_in_order(cloud, key, connect):
    engine = await cloud.add_engine(delay_s=0.02)
    plain = await connect(cloud.cloud.port)
    body = json.dumps({"model": engine.models[0], "prompt": "x"}).encode()
    await plain.send(
        post("/v1/completions", body, secret=key.secret)
        + f"GET /nowhere HTTP/1.1\r\n{HOST}\r\n".encode()
        + post("/v1/completions", body, secret=key.secret)
    )
    assert [(await plain.answer())[0] for _ in range(3)] == [200, 404, 200]
    assert [row.state for row in await cloud.rows(key.key.id)] == ["done", "done"]


async def test_slow_heads_and_slow_bodies_do_not_hinder_others(cloud, key, connect):
    engine = await cloud.add_engine()
    for number in range(150):
        plain = await connect(cloud.cloud.port)
        if number % 3:
            await plain.send("GET / HTTP/1.1\r\nx: ")
        else:
            head = f"authorization: Bearer {key.secret}\r\ncontent-length: 9999\r\n\r\n"
            await plain.send(f"POST /v1/completions HTTP/1.1\r\n{HOST}{head}{{")
    began = time.monotonic()
    for _ in range(10):
        assert (await cloud.chat(key.secret, engine.models[0])).status == 200
    assert time.monotonic() - began < 3


async def test_a_tail_that_nobody_takes_does_not_keep_its_connection(cloud, key, hasty_port):
    engine = await cloud.add_engine(words=["x" * 100_000])
    loop = asyncio.get_running_loop()
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    plain.setblocking(False)
    await loop.sock_connect(plain, ("127.0.0.1", hasty_port))
    body = json.dumps({"model": engine.models[0], "prompt": "x"}).encode()
    await loop.sock_sendall(plain, post("/v1/completions", body, secret=key.secret))
    await cloud.until(lambda: engine.seen.completion_tokens == 1)
    await asyncio.sleep(1.5)
    got = 0
    try:
        while data := await asyncio.wait_for(loop.sock_recv(plain, 65536), 5):
            got += len(data)
    except ConnectionError:
        pass
    finally:
        plain.close()
    assert got < 100_000


async def test_head_requests_say_the_length_of_the_page_and_send_none_of_it(cloud, connect):
    plain = await connect(cloud.cloud.port)
    for path in ("/", "/healthz", "/v1/models", "/nowhere"):
        await plain.send(f"GET {path} HTTP/1.1\r\n{HOST}\r\n")
        status, headers, body = await plain.answer()
        await plain.send(f"HEAD {path} HTTP/1.1\r\n{HOST}\r\n")
        head = (await plain.reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith(f"HTTP/1.1 {status} ")
        if path != "/healthz":
            assert f"content-length: {len(body)}\r\n" in head
        assert headers["x-request-id"] not in head
    await plain.send(f"GET /healthz HTTP/1.1\r\n{HOST}\r\n")
    assert (await plain.answer())[0] == 200


async def test_a_page_that_has_not_changed_is_304(cloud):
    page = await cloud.ask("GET", "/")
    again = await cloud.ask("GET", "/", **{"if-none-match": page.headers["etag"]})
    assert (again.status, again.data) == (304, b"")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


async def test_what_haneul_cannot_do_over_http_it_does_not_try(cloud, connect):
    plain = await connect(cloud.cloud.port)
    upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n"
    await plain.send(f"GET /v1/models HTTP/1.1\r\n{HOST}{upgrade}\r\n")
    assert (await plain.answer())[0] == 401


# the description
async def test_the_description_lists_every_address_and_nothing_else(cloud):
    described = {
        (path.partition("{")[0], method.upper())
        for path, methods in document()["paths"].items()
        for method in methods
    }
    served = {
        (path, method) for path, methods in cloud.cloud.api.routes().items() for method in methods
    }
    served = {(path, method) for path, method in served if path not in read_pages()}
    served |= {(path, "POST") for path in cloud.cloud.dialects.at}
    assert described == served
    answer = await cloud.ask("GET", "/openapi.json")
    assert answer.json()["openapi"] == "3.1.0"
    schemas = answer.json()["components"]["schemas"]
    assert {"ChatRequest", "CompletionRequest", "EmbeddingRequest", "Error"} <= schemas.keys()


def completion(model, secret, text):
    body = json.dumps({"model": model, "prompt": text, "max_tokens": 2}).encode()
    return post("/v1/completions", body, secret=secret)


async def test_a_head_that_comes_again_is_answered_as_if_it_were_new(cloud, key, connect):
    engine, other = await cloud.add_engine(), await cloud.make_key()
    plain, model = await connect(cloud.cloud.port), engine.models[0]
    ids = set()
    for text in ("a", "a", "bb", "c" * 200, "a"):
        await plain.send(completion(model, key.secret, text))
        status, headers, _ = await plain.answer()
        assert status == 200
        ids.add(headers["x-request-id"])
    assert len(ids) == 5, "each is a request of its own"
    await plain.send(completion(model, other.secret, "a"))
    _, headers, _ = await plain.answer()
    assert (await cloud.row(headers["x-request-id"])).key_id == other.key.id
    await plain.send(completion(model, other.secret[:-1] + "!", "a"))
    assert (await plain.answer())[0] == 401


async def test_a_known_head_may_come_in_pieces_and_before_its_turn(cloud, key, connect):
    engine = await cloud.add_engine(delay_s=0.02)
    plain = await connect(cloud.cloud.port)
    one = completion(engine.models[0], key.secret, "a")
    for pieces in ([one], [one], [one + one[:70], one[70:]], [one[:-3], one[-3:]], [one, one]):
        for piece in pieces:
            await plain.send(piece)
            await asyncio.sleep(0.01)
        for _ in range(len(b"".join(pieces)) // len(one)):
            assert (await plain.answer())[0] == 200
    assert len(await cloud.rows(key.key.id)) == 7


async def test_a_key_that_is_revoked_is_refused_within_its_second_on_a_known_head(cloud, connect):
    engine, key = await cloud.add_engine(), await cloud.make_key()
    plain = await connect(cloud.cloud.port)
    request = completion(engine.models[0], key.secret, "a")
    for _ in range(2):
        await plain.send(request)
        assert (await plain.answer())[0] == 200
    name = key.key.name
    await cloud.cloud.database.call(lambda store: keys.revoke(store, name, actor="test"))
    await asyncio.sleep(FRESH_S + 0.1)
    await plain.send(request)
    assert (await plain.answer())[0] == 401
