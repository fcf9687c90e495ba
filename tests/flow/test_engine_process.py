"""The engine as a process: start, hang-ups, overload, stop, and every way to die."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHAT = "/v1/chat/completions"


def run(*arguments):
    command = [sys.executable, "-m", "haneul.engine", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def children(pid):
    """The process ids of all descendants."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *children(child)]
    return found


def told_of(pid, what):
    """What the system says of a process."""
    return Path(f"/proc/{pid}/{what}").read_text()


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def until(condition, within_s=5.0):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def hang_up_after(engine, body, seconds):
    """Sends a request, waits until it is in the kernel and a while longer, and hangs up."""
    reader, writer = await asyncio.open_connection(engine.to.host, engine.to.port)
    data = json.dumps(body).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    await engine.until_metric("kernel_running", min(body.get("n", 1), 2), within_s=10)
    await asyncio.sleep(seconds)
    writer.close()
    await writer.wait_closed()
    del reader


@pytest.fixture
async def slow_engine(start_engine, smollm2):
    """A real model with one place, so that answers last."""
    engine = start_engine(smollm2, "--slots", "1", "--queue", "1", "--threads", "1")
    await engine.ready()
    yield engine
    engine.stop()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_hang_up_frees_the_place_within_half_a_second(slow_engine, stream):
    body = slow_engine.body("Tell a long story.", max_tokens=1500, stream=stream, ignore_eos=True)
    await hang_up_after(slow_engine, body, 1.0)
    await slow_engine.until_metric("running", 0, within_s=0.5)
    await slow_engine.until_metric("kernel_running", 0, within_s=0.5)
    assert await slow_engine.metric("hang_ups_total") == 1
    assert 0 < await slow_engine.metric('tokens_total{kind="completion"}') < 1000


async def test_a_hang_up_while_the_prompt_is_read_frees_the_place_too(slow_engine):
    body = slow_engine.body("one two three four " * 450, max_tokens=5)
    await hang_up_after(slow_engine, body, 0.5)
    await slow_engine.until_metric("running", 0, within_s=0.5)
    await slow_engine.until_metric("kernel_running", 0, within_s=2)  # after one batch


async def test_a_hang_up_ends_every_choice(start_engine, smollm2):
    engine = start_engine(smollm2, "--slots", "2", "--threads", "1")
    await engine.ready()
    body = engine.body("Tell a long story.", max_tokens=900, n=4, stream=True, ignore_eos=True)
    await hang_up_after(engine, body, 1.0)
    await engine.until_metric("kernel_running", 0, within_s=1)
    assert await engine.metric("waiting") == 0
    engine.stop()


async def test_beyond_the_queue_requests_are_refused_at_once(slow_engine):
    body = slow_engine.body("Tell a story.", max_tokens=60, ignore_eos=True)
    asked = [asyncio.create_task(slow_engine.ask_raw("POST", CHAT, body)) for _ in range(6)]
    answers = await asyncio.gather(*asked)
    statuses = sorted(status for status, _, _ in answers)
    assert statuses == [200, 200, 503, 503, 503, 503]
    refused = next(answer for answer in answers if answer[0] == 503)
    assert json.loads(refused[2])["error"]["code"] == "overloaded"
    assert int(refused[1][b"retry-after"]) > 0


async def test_waiting_requests_are_counted(slow_engine):
    body = slow_engine.body("Tell a story.", max_tokens=40, ignore_eos=True)
    asked = [asyncio.create_task(slow_engine.ask("POST", CHAT, body)) for _ in range(2)]
    await slow_engine.until_metric("waiting", 1, within_s=2)
    assert await slow_engine.metric("running") == 1
    await asyncio.gather(*asked)
    assert await slow_engine.metric("waiting") == 0


async def test_the_socket_answers_while_the_model_loads(start_engine, smollm2, short_folder):
    path = short_folder / "e.sock"
    engine = start_engine(smollm2, "--threads", "1", uds=path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert await engine.health() == "loading"
    status, told = await engine.ask("POST", CHAT, engine.body())
    assert (status, told["error"]["code"]) == (503, "engine_unavailable")
    await engine.ready()
    _, models = await engine.ask("GET", "/v1/models")
    assert models["data"][0]["id"] == engine.model
    assert models["data"][0]["max_model_len"] == 4096
    await engine.chat(max_tokens=2)
    assert engine.stop(signal.SIGTERM) == 0
    assert list(short_folder.iterdir()) == []


async def test_a_long_socket_path_leaves_room_for_the_kernels(
    start_engine, tiny_model, short_folder
):
    path = short_folder / ("x" * (105 - len(str(short_folder))))
    engine = start_engine(tiny_model, uds=path)
    await engine.ready()
    await engine.chat(max_tokens=1)
    assert engine.stop(signal.SIGTERM) == 0


async def test_a_term_signal_lets_a_running_answer_end(start_engine, smollm2):
    engine = start_engine(smollm2, "--slots", "2", "--threads", "1")
    await engine.ready()
    asked = asyncio.create_task(engine.chat("Tell a story.", max_tokens=30, ignore_eos=True))
    await engine.until_metric("kernel_running", 1, within_s=5)
    engine.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.1)
    assert await engine.health() == "draining"
    assert (await engine.ask("POST", CHAT, engine.body()))[0] == 503
    assert (await asked)["usage"]["completion_tokens"] == 30
    assert await asyncio.to_thread(engine.process.wait, 10) == 0


async def test_a_term_signal_cuts_what_lasts_too_long_with_a_reason(start_engine, smollm2):
    engine = start_engine(smollm2, "--threads", "1")
    await engine.ready()
    body = engine.body("Tell a story.", max_tokens=3000, stream=True, ignore_eos=True)
    asked = asyncio.create_task(engine.ask_raw("POST", CHAT, body))
    await engine.until_metric("kernel_running", 1, within_s=5)
    started = time.monotonic()
    engine.process.send_signal(signal.SIGTERM)
    last = (await asked)[2].decode().strip().split("\n\n")[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_unavailable"
    assert await asyncio.to_thread(engine.process.wait, 10) == 0
    assert 4 < time.monotonic() - started < 9


async def test_a_term_signal_while_loading_ends_it_cleanly(start_engine, smollm2):
    engine = start_engine(smollm2)
    inside = children(engine.process.pid)
    assert engine.stop(signal.SIGTERM) == 0
    await until(lambda: not any(map(is_alive, inside)))


def cut(tiny):
    return tiny.read_bytes()[:200_000]


def flipped(tiny):
    data = bytearray(tiny.read_bytes())
    data[8:16] = b"\xff" * 8  # a number of tensors beyond any file
    return bytes(data)


def renamed(tiny):
    return tiny.read_bytes().replace(b"llama", b"lhama")


@pytest.mark.parametrize("damage", [cut, flipped, renamed, lambda _: b"", lambda _: b"garbage"])
def test_a_broken_file_ends_with_code_3_and_its_reason(tiny_model, tmp_path, damage):
    path = tmp_path / "broken.gguf"
    path.write_bytes(damage(tiny_model))
    done = run(path, "--port", "0")
    assert done.returncode == 3
    reason = json.loads(done.stderr.strip().splitlines()[-1])["error"]
    assert reason
    assert str(tmp_path) not in reason


def test_a_missing_file_ends_with_code_3(tmp_path):
    done = run(tmp_path / "none.gguf", "--port", "0")
    assert done.returncode == 3
    assert json.loads(done.stderr)["error"]


def test_wrong_arguments_end_with_code_2(tiny_model):
    assert run(tiny_model).returncode == 2
    assert run(tiny_model, "--port", "0", "--slots", "0").returncode == 2


async def test_the_engine_dies_with_its_parent(tiny_model, short_folder):
    """The parent is killed, so nobody tells the engine; the system does."""
    path = short_folder / "e.sock"
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-m', 'haneul.engine',"
        f" {str(tiny_model)!r}, '--uds', {str(path)!r}, '--die-with-parent'],"
        " stdout=subprocess.PIPE); p.stdout.readline(); print(p.pid, flush=True); p.wait()"
    )
    command = [sys.executable, "-c", code]
    parent = await asyncio.to_thread(subprocess.Popen, command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    engine = int(await asyncio.to_thread(parent.stdout.readline))
    await until(lambda: len(children(engine)) == 1)
    family = [engine, *children(engine)]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    await until(lambda: not any(map(is_alive, family)))


async def test_the_kernels_die_with_a_killed_engine(start_engine, tiny_model):
    engine = start_engine(tiny_model)
    await engine.ready()
    await engine.ask("POST", "/v1/embeddings", {"model": "m", "input": "x"})
    kernels = children(engine.process.pid)
    assert len(kernels) == 3  # tokens, templates, vectors
    engine.stop(signal.SIGKILL)
    await until(lambda: not any(map(is_alive, kernels)))


async def test_a_killed_embedding_kernel_is_started_again(start_engine, tiny_model):
    engine = start_engine(tiny_model)
    await engine.ready()
    body = {"model": engine.model, "input": "x"}
    first = await engine.ask("POST", "/v1/embeddings", body)
    embedding = max(children(engine.process.pid))
    os.kill(embedding, signal.SIGKILL)
    await until(lambda: embedding not in children(engine.process.pid))
    assert await engine.ask("POST", "/v1/embeddings", body) == first
    engine.stop()


async def test_a_killed_kernel_ends_the_engine_with_code_4(start_engine, smollm2):
    engine = start_engine(smollm2)
    await engine.ready()
    body = engine.body("Tell a story.", max_tokens=900, stream=True, ignore_eos=True)
    asked = asyncio.create_task(engine.ask_raw("POST", CHAT, body))
    await engine.until_metric("kernel_running", 1, within_s=5)
    os.kill(children(engine.process.pid)[0], signal.SIGKILL)
    _, _, data = await asked
    last = data.decode().strip().split("\n\n")[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["type"] == "server_error"
    assert await asyncio.to_thread(engine.process.wait, 10) == 4


async def test_processes_have_few_rights_and_little_environment(start_engine, tiny_model):
    os.environ["HANEUL_SECRET_CANARY"] = "sk-canary"
    try:
        engine = start_engine(tiny_model, "--nice", "3")
    finally:
        del os.environ["HANEUL_SECRET_CANARY"]
    await engine.ready()
    started = children(engine.process.pid)
    assert len(started) == 2  # the kernel, and the sandbox of templates
    assert all("canary" not in told_of(pid, "environ").lower() for pid in started)
    for pid in (engine.process.pid, *started):
        assert "Max core file size        0 " in told_of(pid, "limits")
        assert "NoNewPrivs:\t1" in told_of(pid, "status")
        assert os.getpriority(os.PRIO_PROCESS, pid) == 3
    engine.stop()


async def test_a_client_that_comes_back_finds_its_connection(engine):
    """Ten requests over one kept connection."""
    reader, writer = await asyncio.open_connection(engine.to.host, engine.to.port)
    for _ in range(10):
        writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()


def test_the_front_imports_nothing_heavy():
    code = "import sys, haneul.engine.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"aiohttp", "sqlalchemy", "httpx", "pydantic", "numpy", "xllamacpp"}
    layers = {name for name in done.stdout.split() if name.startswith("haneul.")}
    assert all(name.split(".")[1] in ("base", "engine") for name in layers)
