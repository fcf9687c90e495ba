"""An embedded engine behind several processes: asked by all, stopped, woken by whoever comes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys

import aiohttp
import pytest
import pytest_asyncio

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

HANEUL = (sys.executable, "-m", "haneul")
READY_S = 120.0


class Up:
    """A running `haneul up --workers 3`, and the commands that go with it."""

    def __init__(self, folder, model):
        self.environ = {**os.environ, "HANEUL_HOME": str(folder / "home"), "HANEUL_TUNE": "false"}
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._flags = ("--port", str(self.port), "--model", str(model), "--no-input")

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            *(*HANEUL, "up", "--workers", "3", *self._flags),
            env=self.environ,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(READY_S):
            while b"Ctrl-C stops" not in await self.process.stdout.readline():
                assert not self.process.stdout.at_eof()

    async def run(self, *words):
        """What a command prints, decoded."""
        command = await asyncio.create_subprocess_exec(
            *(*HANEUL, *words, "--json"), env=self.environ, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await command.communicate()
        assert command.returncode == 0
        return json.loads(said)

    async def stop(self):
        self.process.send_signal(signal.SIGTERM)
        rest = asyncio.create_task(self.process.stdout.read())
        code = await asyncio.wait_for(self.process.wait(), 60)
        await rest
        return code


@pytest_asyncio.fixture(loop_scope="module")
async def up(short_folder, tiny_model):
    found = Up(short_folder, tiny_model)
    await found.start()
    yield found
    if found.process.returncode is None:
        await found.stop()


async def test_all_workers_ask_the_engine_and_wake_it(up):
    secret = (await up.run("keys", "create", "k"))["key"]
    url = f"http://127.0.0.1:{up.port}/v1/chat/completions"
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as web:

        async def chat():
            headers = {"authorization": f"Bearer {secret}"}
            async with web.post(url, json=body, headers=headers) as answer:
                return answer.status, await answer.json()

        answers = [await chat() for _ in range(9)]
        assert (await up.run("stop", "tiny"))["state"] == "stopped"
        answers += await asyncio.gather(*(chat() for _ in range(9)))
    assert {status for status, _ in answers} == {200}
    assert {answer["usage"]["completion_tokens"] for _, answer in answers} == {3}
    status = await up.run("ps")
    assert [worker["state"] for worker in status["workers"]] == ["ready", "ready"]
    (model,) = status["models"]
    assert (model["state"], model["running"], model["waiting"]) == ("ready", 0, 0)
    used = await up.run("usage", "--key", "k")
    assert sum(line["requests"] for line in used["usage"]) == 18
    assert await up.stop() == 0
