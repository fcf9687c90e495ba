"""The engines that are compared: haneul's own, llama-server in two builds, vLLM on the processor.

Each is a process that speaks OpenAI's protocol on a port of this machine and is asked alike.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench import processes

START_S = 400.0  # vLLM compiles for minutes
SLOTS = 16
WHEEL_SERVER = """
import json, sys, signal, xllamacpp
p, a = xllamacpp.CommonParams(), json.loads(sys.argv[1])
p.model.path, p.hostnames, p.port = a["file"], ["127.0.0.1"], a["port"]
p.n_parallel, p.n_ctx = a["slots"], a["cells"]
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = a["threads"]
p.n_batch = a["n_batch"] or p.n_batch
server = xllamacpp.Server(p)
while True: signal.pause()
"""


class Setting(NamedTuple):
    """What all sides share."""

    file: Path
    threads: int
    cells: int  # of the KV cache, in tokens
    context: int  # tokens of one sequence; of haneul all slots together have `cells` of them


class Side(NamedTuple):
    """One engine: its name in tables and its command on a port."""

    name: str
    command: Callable[[Setting, int], list[str]]
    model: str = "m"  # the name it answers to


class Running:
    """One started engine."""

    def __init__(self, side: Side, setting: Setting, log: Path) -> None:
        self.name, self.model = side.name, side.model
        self.port = free_port()
        began = time.monotonic()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                side.command(setting, self.port), stdout=output, stderr=output
            )
        try:
            self._wait(log)
        except BaseException:
            self.close()
            raise
        self.load_s = time.monotonic() - began

    def cpu_s(self) -> float:
        """Processor seconds so far, of the engine and all that it started."""
        return processes.cpu_s(processes.tree(self.process.pid))

    def peak_bytes(self) -> int:
        """The most memory so far, each process by itself; shared weights count in each."""
        return sum(map(_peak_bytes, processes.tree(self.process.pid)))

    def memory_bytes(self) -> int:
        """Memory now, shared pages divided among those who share them."""
        return processes.memory_bytes(processes.tree(self.process.pid))

    def close(self) -> None:
        known = processes.marks(processes.tree(self.process.pid))
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in known:
            subprocess.run(["kill", "-9", str(pid)], stderr=subprocess.DEVNULL, check=False)

    def _wait(self, log: Path) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended: {log.read_text()[-800:]}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise TimeoutError(f"{self.name} did not start")


def _peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def haneul(name: str, *flags: str, file: Path | None = None) -> Side:
    """haneul's engine with these flags; `file`: another quantisation of the same model."""

    def command(setting: Setting, port: int) -> list[str]:
        engine = [sys.executable, "-m", "haneul.engine", str(file or setting.file), "--name", "m"]
        engine += ["--port", str(port), "--slots", str(SLOTS), "--context", str(setting.context)]
        threads = [] if "--threads" in flags else ["--threads", str(setting.threads)]
        return [*engine, *threads, *flags]

    return Side(name, command)


def wheel_server(name: str = "llama-server wheel", *, n_batch: int = 0) -> Side:
    """Genuine llama-server inside the xllamacpp wheel, in its default settings."""

    def command(setting: Setting, port: int) -> list[str]:
        asked = {"file": str(setting.file), "port": port, "slots": SLOTS, "cells": setting.cells}
        asked |= {"threads": setting.threads, "n_batch": n_batch}
        return [sys.executable, "-c", WHEEL_SERVER, json.dumps(asked)]

    return Side(name, command)


def native_server(program: Path, *flags: str, file: Path | None = None, name: str = "") -> Side:
    """llama-server built on this machine for this machine."""

    def command(setting: Setting, port: int) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(port), "-t", str(setting.threads)]
        size = ["-np", str(SLOTS), "-c", str(setting.cells), "-tb", str(setting.threads)]
        return [str(program), "-m", str(file or setting.file), *where, *size, *flags]

    return Side(name or "llama-server native", command)


def vllm(program: Path, folder: Path) -> Side:
    """vLLM on the processor, with the weights in bf16 as a folder of safetensors."""

    def command(setting: Setting, port: int) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "m"]
        size = ["--max-model-len", str(setting.context), "--max-num-seqs", str(SLOTS)]
        room = ["--gpu-memory-utilization", "0.4"]  # of memory, despite its name; 0.92 is not free
        return [str(program), "serve", str(folder), *where, *size, *room, "--dtype", "bfloat16"]

    return Side("vLLM bf16", command)
