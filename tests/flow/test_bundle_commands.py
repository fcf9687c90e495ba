"""Models carried from machine to machine by the commands, and served there without a network."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

pytestmark = pytest.mark.slow  # many commands, each a process of its own
READY_S = 60.0
# haneul as it is, in a process that ends where it asks for a name or an address elsewhere.
OFFLINE = """
import sys
def watch(event, arguments):
    place = arguments[0] if event == "socket.getaddrinfo" else arguments[1:] and arguments[1]
    if event in ("socket.getaddrinfo", "socket.connect", "socket.sendto"):
        host = place[0] if isinstance(place, tuple) else place
        is_here = event != "socket.getaddrinfo" and isinstance(place, (str, bytes))
        if not is_here and host not in (None, "127.0.0.1", "localhost", "::1"):
            sys.stderr.write(f"asked the network: {event} {arguments}")
            sys.stderr.flush()
            import os
            os._exit(77)
sys.addaudithook(watch)
from haneul.cli.main import main
main()
"""


class Machine:
    """A home, and commands on it that cannot reach a network."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = {**os.environ, "HANEUL_HOME": str(home), "NO_COLOR": "1"}
        self.environ["XDG_CONFIG_HOME"] = str(home)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", OFFLINE, *arguments]

    def run(self, *arguments: str, code: int = 0, stdin: bytes = b"") -> Any:
        done = subprocess.run(
            self.command(*arguments), env=self.environ, input=stdin, capture_output=True
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def json(self, *arguments: str, stdin: bytes = b"") -> Any:
        return json.loads(self.run(*arguments, "--json", stdin=stdin).stdout)

    def models(self) -> list[str]:
        return [model["name"] for model in self.json("ls")["models"]]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with a short path: sockets lie in the homes."""
    with tempfile.TemporaryDirectory(prefix="hn-") as made:
        yield Path(made)


@pytest.fixture(scope="module")
def here(folder: Path, tiny_model: Path) -> Machine:
    """A machine with a model, an alias, and a price that somebody set."""
    machine = Machine(folder / "a")
    machine.run("pull", str(tiny_model))
    machine.run("models", "alias", "tiny@prod")
    machine.run("prices", "set", "tiny", "--in", "0.10", "--out", "0.40")
    return machine


@pytest.fixture(scope="module")
def carried(here: Machine, folder: Path) -> Path:
    """The bundle of that machine."""
    path = folder / "site.tar"
    told = here.json("bundle", "create", str(path), "tiny@prod", "--note", "for site B")
    assert told["signer"] == here.json("bundle", "key")["key"]
    return path


@pytest.fixture(scope="module")
def there(here: Machine, folder: Path) -> Machine:
    """Another machine, which trusts the first."""
    machine = Machine(folder / "b")
    machine.run("bundle", "trust", here.json("bundle", "key")["key"], "--name", "site A")
    return machine


def test_a_guard_of_these_tests_ends_who_asks_the_network(folder: Path) -> None:
    done = Machine(folder / "c").run("pull", "https://example.com/model.gguf", code=77)
    assert b"asked the network" in done.stderr


def test_bundle_of_an_unknown_signer_is_not_loaded(carried: Path, folder: Path) -> None:
    machine = Machine(folder / "d")
    for command in ("load", "verify"):
        said = machine.run("bundle", command, str(carried), code=1).stderr
        assert b"whom this home does not know" in said
    assert machine.models() == []
    wrong = "ed25519:" + "0" * 64
    assert (
        b"not by" in machine.run("bundle", "load", str(carried), "--signer", wrong, code=1).stderr
    )
    assert b"site B" in machine.run("bundle", "verify", str(carried), "--any-signer").stdout


def test_damaged_bundle_is_not_loaded(there: Machine, carried: Path, folder: Path) -> None:
    damaged = folder / "damaged.tar"
    data = bytearray(carried.read_bytes())
    data[-200_000] ^= 1
    damaged.write_bytes(data)
    said = there.run("bundle", "load", str(damaged), code=1).stderr
    assert b"other bytes than were signed" in said
    assert there.models() == []


def test_killed_load_changes_no_name_and_the_next_one_ends_it(
    here: Machine, carried: Path, folder: Path
) -> None:
    machine = Machine(folder / "e")
    machine.run("bundle", "trust", here.json("bundle", "key")["key"], "--name", "site A")
    data = carried.read_bytes()
    command = machine.command("bundle", "load", "-")
    with subprocess.Popen(
        command, env=machine.environ, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(data[:-100_000])
        process.stdin.flush()
        partial = machine.home / "models" / "partial"
        deadline = time.monotonic() + READY_S
        while not (partial.is_dir() and any(partial.iterdir())):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert machine.models() == []
    machine.run("bundle", "load", "-", stdin=data)
    assert machine.models() == ["tiny"]


def test_bundle_goes_through_a_pipe_between_two_machines(here: Machine, folder: Path) -> None:
    machine = Machine(folder / "f")
    made = here.run("bundle", "create", "-", "tiny", "--own-machines")
    (model,) = machine.json("bundle", "load", "-", "--any-signer", stdin=made.stdout)["models"]
    assert (model["name"], model["is_served"]) == ("tiny", True)


def test_loaded_model_serves_with_its_price_and_alias(
    here: Machine, there: Machine, carried: Path
) -> None:
    assert there.json("bundle", "verify", str(carried))["signer"]["name"] == "site A"
    loaded = there.json("bundle", "load", str(carried))
    assert loaded["prices_set"] == 1
    (model,) = loaded["models"]
    assert model["aliases"] == ["prod"]
    assert there.json("models", "revisions", "tiny")[0]["revision"]["id"] == model["revision"]
    (price,) = there.json("prices", "ls", "--model", "tiny")
    assert price["price"]["output_nano"] == 400_000_000
    assert "bundle.load" in [row["action"] for row in there.json("audit")]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    key = there.json("keys", "create", "test")["key"]
    command = there.command("up", "--port", str(port), "--model", "tiny", "--no-input")
    said = there.home / "up.out"
    with said.open("wb") as out:
        process = subprocess.Popen(command, env=there.environ, stdout=out, stderr=out)
    try:
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0)
        for name in ("tiny", "tiny@prod"):
            assert answer(client, name, process, said).usage.completion_tokens > 0
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert "asked the network" not in said.read_text()


def answer(client: openai.OpenAI, name: str, process: Any, said: Path) -> Any:
    """An answer, once the cloud listens and knows the model."""
    deadline = time.monotonic() + READY_S
    while True:
        assert process.poll() is None, said.read_text()
        try:
            return client.chat.completions.create(
                model=name, messages=[{"role": "user", "content": "hi"}], max_tokens=8
            )
        except (openai.APIConnectionError, openai.NotFoundError, openai.APIStatusError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
