"""A cloud to be measured: a model on its embedded engine, the mock as a remote one, a key with
every limit there is, none of which is reached.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench import client
from bench.peers import free_port
from bench.running import Running

ROOT = Path(__file__).parent.parent
HANEUL = Path(sys.executable).parent / "haneul"
START_S = 180.0
UNREACHED = ("--budget", "1000000", "--rpm", "100000000", "--tpm", "1000000000")


class Measured(NamedTuple):
    """A running cloud and the ways into it."""

    pid: int  # of the gateway's process
    model: str
    gateway: dict[str, Any]  # where client.Target finds it
    engine: dict[str, Any]  # the embedded engine, past the gateway


@contextmanager
def upstream() -> Iterator[tuple[int, int]]:
    """The mock engine: its process and its port."""
    command = [sys.executable, "-m", "bench.upstream"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process.pid, json.loads(process.stdout.readline())["port"]
        finally:
            process.kill()


@contextmanager
def serving(scratch: Path, model: Path, mock_port: int) -> Iterator[Measured]:
    """The cloud, once it answers for the model and for mock/m."""
    home = scratch / "home"
    env = {**os.environ, "HANEUL_MODEL": str(model), "HANEUL_HOME": str(home)}
    port = free_port()
    with Running([str(HANEUL)], home=home, port=port, folder=scratch, env=env) as running:
        while b"Ctrl-C stops" not in running.text.encode():
            running.check(START_S)
            time.sleep(0.1)
        _command(env, "engines", "add", "mock", f"http://127.0.0.1:{mock_port}", "--model", "m",
                 "--price-in", "0.10", "--price-out", "0.40")  # fmt: skip
        key = _command(env, "keys", "create", "bench", *UNREACHED)["key"]
        gateway = {"port": port, "headers": {"authorization": f"Bearer {key}"}}
        _until_known(gateway, "mock/m")
        (engine,) = (path for path in home.glob("run/*.sock") if path.name != "cloud.sock")
        name = next(
            event["model"] for event in running.events() if event["event"] == "replica_ready"
        )
        yield Measured(running.process.pid, name, gateway, {"uds": str(engine)})
        running.stop()


def chat(model: str, **fields: Any) -> dict[str, Any]:
    """A chat request of 344 bytes and a little."""
    text = "Explain in a few plain sentences why the sky is blue at noon and red at dusk. " * 3
    return {"model": model, "messages": [{"role": "user", "content": text.strip()}], **fields}


def _command(env: dict[str, str], *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [HANEUL, *words, "--json"], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"haneul {' '.join(words)}: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _until_known(gateway: dict[str, Any], model: str) -> None:
    """The cloud looks for new engines every two seconds."""
    targets = {"gateway": {**gateway, "body": chat(model)}}
    plan = {"work": "alternate", "targets": targets, "rounds": 1, "warm_up": 0, "interval_s": 0}
    deadline = time.monotonic() + START_S
    while client.run({**plan, "cores": list(os.sched_getaffinity(0))})["gateway"]["errors"]:
        if time.monotonic() > deadline:
            raise SystemExit(f"the cloud does not answer for {model}")
        time.sleep(0.2)
