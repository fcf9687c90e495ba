"""An engine behind https, as paid providers are: the same answers, hang-ups and faults."""

from __future__ import annotations

import asyncio
import ssl
import subprocess

import aiohttp
import pytest
import pytest_asyncio

from haneul.testing.engine import FakeEngine, Faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = [f"w{number}" for number in range(200)]
PROVIDER_KEY = "sk-provider-secret"


class Front:
    """Speaks TLS before a fake engine, and keeps what it was sent."""

    def __init__(self, engine, certificate, key):
        self.engine = engine
        self.got = b""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.context)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        await asyncio.sleep(0.05)

    async def serve(self, reader, writer):
        port = int(self.engine.url.rpartition(":")[2])
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        ways = [
            asyncio.create_task(self.pump(reader, up_writer, is_request=True)),
            asyncio.create_task(self.pump(up_reader, writer)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for one in (writer, up_writer):
            one.transport.abort()

    async def pump(self, reader, writer, *, is_request=False):
        while data := await reader.read(65536):
            self.got += data if is_request else b""
            writer.write(data)
            await writer.drain()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = [*made, "-keyout", key, "-out", certificate, *names]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@pytest_asyncio.fixture(loop_scope="module")
async def front(certificate):
    async with (
        FakeEngine(words=WORDS, delay_s=0.005) as engine,
        Front(engine, *certificate) as front,
    ):
        yield front


@pytest_asyncio.fixture(loop_scope="module")
async def served(process, front, certificate, tmp_path):
    """A cloud in front of it, that trusts its certificate; gives a function that asks it."""
    key_file = tmp_path / "provider-key"
    key_file.write_text(PROVIDER_KEY + "\n")
    url = f"https://localhost:{front.port}"
    made = process.prepare(url, ("echo",), key_file=str(key_file))
    await process.start("idle_s=1", SSL_CERT_FILE=str(certificate[0]))
    messages = [{"role": "user", "content": "two words"}]
    headers = {"authorization": f"Bearer {made.secret}"}
    async with aiohttp.ClientSession(headers=headers) as web:

        def ask(**fields):
            body = {"model": "fake/echo", "messages": messages, **fields}
            return web.post(f"http://127.0.0.1:{process.port}/v1/chat/completions", json=body)

        yield ask


async def rows(process, count):
    """Every record, once there are so many."""
    await process.until(lambda: len(process.rows()) == count, 10, "the records are there")
    return process.rows()


async def test_answers_whole_and_streamed_with_the_providers_key(served, front, process):
    async with served(max_tokens=3) as answer:
        assert (await answer.json())["usage"]["completion_tokens"] == 3
    async with served(max_tokens=4, stream=True) as answer:
        data = await answer.text()
    assert data.count('"content":"w') == 4
    assert data.endswith("data: [DONE]\n\n")
    assert f"authorization: bearer {PROVIDER_KEY}" in front.got.decode().lower()
    whole, streamed = await rows(process, 2)
    assert (whole["state"], streamed["state"]) == ("done", "done")
    assert streamed["cost_nano"] == 2 * 103 + 4 * 407
    assert not any(
        PROVIDER_KEY in str(value) for row in (whole, streamed) for value in row.values()
    )


async def test_a_hang_up_reaches_the_provider(served, front, process):
    async with served(stream=True) as answer:
        await answer.content.readuntil(b"\n\n")
        answer.close()
    seen = front.engine.seen
    await process.until(lambda: seen.hang_ups == 1 and seen.running == 0)
    (row,) = await rows(process, 1)
    assert row["state"] == "aborted"
    assert 1 <= row["completion_tokens"] <= seen.completion_tokens < len(WORDS)


@pytest.mark.parametrize(
    ("faults", "status", "code"),
    [
        (Faults(die_after=0), 503, "engine_unavailable"),
        (Faults(status=500), 502, "engine_failed"),
        (Faults(status=429, retry_after_s=9), 429, "rate_limit_exceeded"),
        (Faults(status=401), 502, "engine_failed"),
        (Faults(status=307), 502, "engine_failed"),
        (Faults(garbage=True), 502, "engine_failed"),
    ],
    ids=["dies", "500", "429", "401", "redirect", "garbage"],
)
async def test_a_providers_faults_are_told_as_any_engines(served, front, faults, status, code):
    front.engine.faults = faults
    async with served() as answer:
        error = (await answer.json())["error"]
        assert (answer.status, error["code"]) == (status, code)
        assert PROVIDER_KEY not in await answer.text()
        if status == 429:
            assert answer.headers["retry-after"] == "9"


async def test_a_provider_that_dies_or_hangs_in_the_middle_ends_the_stream_with_an_error(
    served, front
):
    for faults, code in (
        (Faults(die_after=3), "engine_unavailable"),
        (Faults(hang_after=3), "deadline_exceeded"),
    ):
        front.engine.faults = faults
        async with served(stream=True) as answer:
            data = await answer.text()
        assert data.count('"content":"w') == 3
        assert f'"code":"{code}"' in data
        assert "[DONE]" not in data


async def test_a_provider_nobody_vouches_for_is_not_talked_to(process, front, tmp_path):
    made = process.prepare(f"https://localhost:{front.port}", ("echo",))
    await process.start()
    headers = {"authorization": f"Bearer {made.secret}"}
    body = {"model": "echo", "messages": [{"role": "user", "content": "x"}]}
    async with (
        aiohttp.ClientSession(headers=headers) as web,
        web.post(f"http://127.0.0.1:{process.port}/v1/chat/completions", json=body) as answer,
    ):
        assert answer.status == 503
        assert (await answer.json())["error"]["code"] == "engine_unavailable"
    assert front.engine.seen.requests == 0
