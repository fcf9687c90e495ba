"""The cloud as its user has it: `haneul up` in a process of its own, commands beside it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

READY_S = 60.0
SLOWNESS = float(os.environ.get("HANEUL_TEST_SLOWNESS", "3"))  # of a busy machine, for deadlines
HANEUL = [sys.executable, "-m", "haneul"]


class Up:
    """A running `haneul up` on a home of its own, and the commands that go with it."""

    def __init__(self, home: Path, model: str, *flags: str) -> None:
        self.home = home
        self.environ = {**os.environ, "HANEUL_HOME": str(home), "NO_COLOR": "1"}
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.began = time.monotonic()
        self.output = home.parent / f"{home.name}.out"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*HANEUL, "up", "--port", str(self.port), "--model", model, "--no-input", *flags],
                env=self.environ,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def until(self, text: str) -> str:
        """The output, once it holds the text."""
        deadline = time.monotonic() + READY_S
        while text not in (said := self.output.read_text()):
            assert self.process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        return said

    def run(
        self, *arguments: str, code: int = 0, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*HANEUL, *arguments], env=self.environ, input=stdin, capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def json(self, *arguments: str, stdin: str = "") -> Any:
        return json.loads(self.run(*arguments, "--json", stdin=stdin).stdout)

    def client(self, key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.base_url, api_key=key, max_retries=0)

    def engine_pids(self) -> list[int]:
        return [
            pid for pid in processes() if "-m haneul.engine " in command(pid) and self.owns(pid)
        ]

    def engine_metric(self, name: str) -> float:
        """A metric of the engine itself, over its own socket."""
        (socket_path,) = [
            path for path in (self.home / "run").glob("*.sock") if "cloud" not in path.name
        ]
        asked = ["curl", "-s", "--unix-socket", str(socket_path), "http://engine/metrics"]
        said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        return float(re.search(rf"^haneul_engine_{name} (\S+)$", said, re.MULTILINE)[1])

    def owns(self, pid: int) -> bool:
        return str(self.home) in command(pid)

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


def processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@pytest.fixture(scope="module")
def homes() -> Iterator[Path]:
    """A folder with a short path: sockets lie in the homes."""
    with tempfile.TemporaryDirectory(prefix="hn-") as folder:
        yield Path(folder)


Start = Callable[..., Up]


@pytest.fixture(scope="module")
def start(homes: Path) -> Iterator[Start]:
    """Starts clouds by the name of their home; those still running end with the tests."""
    started: list[Up] = []

    def begin(home: str, model: Path, *flags: str) -> Up:
        started.append(Up(homes / home, str(model), *flags))
        return started[-1]

    yield begin
    for running in started:
        if running.process.poll() is None:
            running.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def up(start: Start, tiny_model: Path) -> Up:
    """A cloud with the tiny model, shared; its first screen is complete."""
    running = start("shared", tiny_model)
    running.until("Ctrl-C stops")
    return running


@pytest.fixture(scope="module")
def key(up: Up) -> str:
    return up.json("keys", "create", "tester", "--budget", "5")["key"]


def test_the_first_screen_says_everything_a_newcomer_needs(up: Up):
    said = up.output.read_text()
    assert re.search(r"listening on http://127\.0\.0\.1:\d+", said)
    assert re.search(r"Chips\n  .+ cores?, .+ memory", said)
    assert re.search(r"smollm2:135m +98\.4 MB .+ tok/s +[\d.]+–[\d.]+", said), (
        "a forecast and a price"
    )
    assert re.search(r"forecast: [\d.,]+–[\d.,]+ tok/s", said)
    assert re.search(r"measured (just now|while others .+): [\d.,]+ tok/s", said)
    assert re.search(r"key +sk-hn-\w{57}\n +shown this once; may spend USD 5\.00", said)
    assert f"base URL  {up.base_url}" in said
    assert re.search(r"curl http\S+/chat/completions -H 'Authorization: Bearer sk-hn-", said)
    assert re.search(r"tokens in, \d+ out, .+, USD 0\.\d+; haneul trace req_\w{26}", said)


def test_the_first_answer_of_the_screen_can_be_traced(up: Up):
    (request_id,) = re.findall(r"haneul trace (req_\w{26})", up.output.read_text())
    record = up.json("trace", request_id)
    assert record["state"] == "done"
    assert record["key"] == "first"
    assert record["engine"] == "embedded"
    assert record["chip"].startswith("cpu-")
    assert len(record["digest"]) == 64
    assert record["first_token_us"] > record["received_us"]
    screen = up.run("trace", request_id).stdout
    for word in ("route", "version", "engine", "chip", "first token", "price", "per token used"):
        assert word in screen
    assert len(screen.splitlines()) <= 24, "one screen"


def test_the_curl_line_of_the_screen_works_as_it_is(up: Up):
    line = re.search(r"  (curl .+\\\n.+)\n", up.output.read_text())
    assert line
    done = subprocess.run(["bash", "-c", line[1]], capture_output=True, text=True)
    assert json.loads(done.stdout)["choices"][0]["message"]["role"] == "assistant"


def test_the_openai_client_works_unchanged(up: Up, key: str):
    client = up.client(key)
    assert [model.id for model in client.models.list()] == ["tiny"]
    whole = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "hi"}], max_tokens=8, seed=1
    )
    events = list(
        client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": "hi"}],
            max_tokens=8,
            seed=1,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
    assert text == whole.choices[0].message.content
    assert events[-1].choices == []
    assert events[-1].usage.completion_tokens == whole.usage.completion_tokens
    vectors = client.embeddings.create(model="tiny", input=["a", "b"]).data
    assert [vector.index for vector in vectors] == [0, 1]
    assert client.completions.create(model="tiny", prompt="a", max_tokens=2).choices[0].text


def test_many_answers_of_one_request_are_all_given_and_all_billed(up: Up, key: str):
    answer = up.client(key).chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "hi"}],
        max_tokens=3,
        n=20,
        extra_body={"ignore_eos": True},
    )
    assert len(answer.choices) == 20
    assert answer.usage.completion_tokens == 60
    record = up.json("trace", answer._request_id)
    assert record["completion_tokens"] == 60
    assert record["cost_nano"] == answer.usage.cost_nano


def test_a_key_made_while_the_cloud_runs_works_at_once_and_a_revoked_one_stops(up: Up):
    made = up.json("keys", "create", "brief", "--budget", "0.5", "--rpm", "100")
    assert made["budget_nano"] == 500_000_000
    client = up.client(made["key"])
    assert client.models.list().data
    up.run("keys", "revoke", "brief")
    time.sleep(1.1)
    with pytest.raises(openai.AuthenticationError, match="revoked"):
        client.models.list()


def test_the_commands_speak_json_and_plain_words(up: Up):
    assert up.json("ps")["default_model"] == "tiny"
    assert [model["name"] for model in up.json("ls")["models"]] == ["tiny"]
    assert len(up.json("ls", "--all")["catalogue"]) > 20
    assert "smollm2:135m" in up.run("ls", "--all").stdout
    assert up.json("usage")["usage"]
    assert "Owning the chips" in up.run("usage").stdout or up.json("usage")["owned"]["hours"] == 0
    assert up.json("chips")["chips"][0]["kind"] == "cpu"
    assert {finding["area"] for finding in up.json("doctor")} >= {"home", "models", "cloud"}
    for name in ("ps", "ls", "usage", "chips", "doctor"):
        assert "\x1b[" not in up.run(name).stdout, "NO_COLOR is kept"


def test_run_and_chat_stream_answers_with_their_cost(up: Up):
    done = up.run("run", "tiny", "hello", "--max-tokens", "4")
    assert done.stdout.strip()
    assert re.search(r"\d+ tokens in, \d+ out, .+ req_\w{26}\]", done.stderr)
    assert up.json("run", "tiny", "--max-tokens", "4", stdin="piped")["usage"]["cost_nano"] > 0
    two = up.run("chat", "--max-tokens", "3", "--json", stdin="one\ntwo\n").stdout
    answers = json.loads("[" + two.replace("}\n{", "},\n{") + "]")
    assert answers[1]["usage"]["prompt_tokens"] > answers[0]["usage"]["prompt_tokens"]


def test_exit_codes_tell_failure_from_wrong_usage(up: Up):
    assert "no record" in up.run("trace", "req_none", code=1).stderr
    assert "no model called" in up.run("pull", "smollm9", code=1).stderr
    assert "Usage" in up.run("keys", "create", code=2).stderr
    assert "No such command" in up.run("nonsense", code=2).stderr
    assert json.loads(up.run("trace", "req_none", "--json", code=1).stderr)["error"]["code"]


def test_another_cloud_is_an_engine_like_any_other(
    up: Up, start: Start, homes: Path, tiny_model: Path
):
    provider_key = up.json("keys", "create", "downstream", "--budget", "1")["key"]
    key_file = homes / "provider.key"
    key_file.write_text(provider_key + "\n")
    front = start("front", tiny_model)
    front.until("Ctrl-C stops")
    added = front.json(
        *("engines", "add", "next-door", up.base_url, "--key-file", str(key_file)),
        *("--price-in", "0.10", "--price-cached", "0.05", "--price-out", "0.40"),
    )
    assert added["models"] == ["tiny"]
    answer = front.json("run", "next-door/tiny", "hello", "--max-tokens", "4")
    record = front.json("trace", answer["request_id"])
    assert record["engine"] == "next-door"
    assert record["metering"] == "engine"
    assert record["hour_nano"] == 0, "its chip is not ours"
    used = (record["prompt_tokens"], record["cached_tokens"], record["completion_tokens"])
    prompt, cached, completion = used
    exact = (prompt - cached) * 100_000_000 + cached * 50_000_000 + completion * 400_000_000
    assert abs(record["cost_nano"] * 1_000_000 - exact) <= 500_000
    (billed,) = up.json("usage", "--key", "downstream")["usage"]
    assert (billed["prompt_tokens"], billed["completion_tokens"]) == (prompt, completion)
    assert provider_key not in front.run("engines", "ls", "--json").stdout
    assert front.json("engines", "rm", "next-door") == {"removed": "next-door"}
    assert "no engine" in front.run("engines", "rm", "next-door", code=1).stderr
    assert front.stop() == 0
    assert provider_key.encode() not in (front.home / "haneul.db").read_bytes()


def test_a_stopped_model_is_loaded_again_by_the_next_request(up: Up, key: str):
    assert up.json("stop", "tiny")["state"] == "stopped"
    assert up.engine_pids() == []
    answer = up.client(key).completions.create(model="tiny", prompt="a", max_tokens=1)
    assert answer.usage.completion_tokens == 1


def test_a_second_cloud_on_the_same_home_is_refused(up: Up):
    done = up.run("up", "--port", "0", "--no-input", code=1)
    assert "running on this home already" in done.stderr


def test_a_client_that_hangs_up_frees_the_engine_and_pays_for_what_it_was_sent(up: Up, key: str):
    stream = up.client(key).chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "hi"}],
        max_tokens=4000,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    received = sum(bool(next(stream).choices) for _ in range(10))
    request_id = stream.response.headers["x-request-id"]
    stream.close()
    hung_up = time.monotonic()
    while up.engine_metric("running") or up.json("ps")["models"][0]["running"]:
        assert time.monotonic() - hung_up < 2 * SLOWNESS, "the slot is still taken"
    record = up.json("trace", request_id)
    assert record["state"] == "aborted"
    assert received - 1 <= record["completion_tokens"] < 4000
    price = record["price"]
    billed = record["prompt_tokens"] - record["cached_tokens"]
    exact = (
        billed * price["input_nano"]
        + record["cached_tokens"] * price["cached_nano"]
        + record["completion_tokens"] * price["output_nano"]
    )
    assert abs(record["cost_nano"] * 1_000_000 - exact) <= 500_000


def test_an_engine_killed_in_mid_stream_ends_the_answer_with_an_error_and_comes_back(
    up: Up, key: str
):
    client = up.client(key)
    client.completions.create(model="tiny", prompt="a", max_tokens=1)
    (pid,) = up.engine_pids()  # looked up before: the answer does not take long
    stream = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "hi"}],
        max_tokens=3000,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    for _ in range(5):
        next(stream)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(openai.APIError, match="engine"):
        list(stream)
    record = up.json("trace", stream.response.headers["x-request-id"])
    assert record["state"] == "failed"
    assert record["completion_tokens"] >= 4, "the first event says the role only"
    assert record["cost_nano"] > 0
    refusals = refusals_until_answered(client, within_s=10)
    assert {refusal.status_code for refusal in refusals} <= {503}
    assert all(int(refusal.response.headers["retry-after"]) >= 1 for refusal in refusals)


def refusals_until_answered(
    client: openai.OpenAI, *, within_s: float
) -> list[openai.InternalServerError]:
    """What the client was told until it was answered again."""
    deadline = time.monotonic() + within_s
    refusals: list[openai.InternalServerError] = []
    while time.monotonic() < deadline:
        try:
            client.completions.create(model="tiny", prompt="a", max_tokens=1)
            return refusals
        except openai.InternalServerError as refusal:
            refusals.append(refusal)
            time.sleep(0.2)
    pytest.fail(f"the engine did not come back within {within_s} s")


def test_an_engine_that_hangs_is_killed_and_replaced(start: Start, tiny_model: Path):
    running = start("hang", tiny_model)
    running.until("Ctrl-C stops")
    (pid,) = running.engine_pids()
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + 40
    while not (new := [each for each in running.engine_pids() if each != pid]):
        assert time.monotonic() < deadline, "the hung engine is still there"
        time.sleep(0.2)
    assert new
    assert running.stop() == 0


def test_a_second_start_is_quick_and_shows_no_key(start: Start, tiny_model: Path):
    first = start("twice", tiny_model)
    first.until("Ctrl-C stops")
    engines = first.engine_pids()
    assert first.stop() == 0
    assert engines
    assert not any(first.owns(pid) for pid in processes()), "a process was left behind"
    second = start("twice", tiny_model)
    said = second.until("Ready after")
    seconds = time.monotonic() - second.began
    assert "sk-hn-" not in said
    assert "  measured " in said
    assert second.stop(signal.SIGTERM) == 0
    assert seconds < 5 * SLOWNESS


def test_everything_dies_with_a_killed_cloud_and_its_requests_are_booked(
    start: Start, tiny_model: Path
):
    first = start("killed", tiny_model)
    first.until("Ctrl-C stops")
    secret = first.json("keys", "create", "k", "--budget", "1")["key"]
    stream = first.client(secret).chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "hi"}],
        max_tokens=3000,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    received = 0
    for event in stream:
        received += bool(event.choices and event.choices[0].delta.content)
        if received == 8:
            break
    request_id = stream.response.headers["x-request-id"]
    first.stop(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(first.owns(pid) for pid in processes()):
        assert time.monotonic() < deadline, "an engine outlived its cloud"
        time.sleep(0.05)
    second = start("killed", tiny_model)
    assert "cut off by the last stop were booked" in second.until("Ready after")
    record = second.json("trace", request_id)
    assert record["state"] == "aborted"
    assert record["error_code"] == "cloud_killed"
    assert record["completion_tokens"] >= received
    assert record["cost_nano"] > 0
    assert second.stop() == 0


def test_a_broken_model_file_is_refused_with_the_reason(
    start: Start, homes: Path, tiny_model: Path
):
    broken = homes / "broken.gguf"
    broken.write_bytes(tiny_model.read_bytes()[:-1000])
    running = start("broken", broken)
    assert running.process.wait(30) == 1
    assert "broken.gguf" in running.output.read_text() or "bytes" in running.output.read_text()
    assert "Traceback" not in running.output.read_text()


@pytest.mark.parametrize("context", [64, 512])
def test_a_small_context_is_measured_within_its_bounds(
    start: Start, tiny_model: Path, context: int
):
    running = start(f"small{context}", tiny_model, "--context", str(context))
    assert "  measured " in running.until("Ctrl-C stops")
    assert running.json("ps")["models"][0]["context_tokens"] == context
    assert running.stop() == 0


def test_a_taken_port_is_named(homes: Path, tiny_model: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environ = {**os.environ, "HANEUL_HOME": str(homes / "port")}
        done = subprocess.run(
            [*HANEUL, "up", "--port", str(port), "--model", str(tiny_model), "--no-input"],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
