"""Other gateways in front of the same mock engine: nginx as the floor, routers for language models.

nginx comes as a Debian package unpacked into the cache folder, the routers from PyPI into virtual
environments there, Portkey's gateway from npm; nothing is installed system-wide. Each gets one
worker and its quickest settings: no keys, no log of accesses, no buffering of streams.
"""

from __future__ import annotations

import http.client
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

INSTALL_S = 60.0
START_S = 60.0
ROOT = Path(__file__).parent.parent
PATH = "/v1/chat/completions"

NGINX = """
worker_processes 1; daemon off; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4;
  scgi_temp_path t5;
  upstream mock {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port}; keepalive_requests 100000000;
    location / {{
      proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""
LITELLM = """
model_list:
  - model_name: m
    litellm_params: {{model: openai/m, api_base: "http://127.0.0.1:{upstream}/v1", api_key: none}}
general_settings:
  dangerously_permit_weak_or_unset_master_key: true  # no key is checked, as by the other peers
"""


class Peer(NamedTuple):
    """How to get one gateway and how to start it."""

    name: str
    package: str  # NAME==VERSION: of PyPI; NAME@VERSION: of npm; NAME: of Debian; empty: our own
    program: list[str]  # what to start of it
    arguments: Callable[[Path, int, int], list[str]]  # from a scratch folder, its port, the mock's
    install_s: float = INSTALL_S
    headers: Callable[[int], dict[str, str]] = (
        lambda _: {}
    )  # that requests need, from the mock's port


class Started(NamedTuple):
    """A gateway that answers."""

    name: str
    version: str
    pid: int
    port: int
    headers: dict[str, str]


def cache_folder() -> Path:
    """Where the peers are kept between runs."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "haneul-bench"


def install(peer: Peer) -> list[str]:
    """The command's first words. Raises RuntimeError with the reason it cannot be had."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    if not peer.package:
        return [sys.executable, *peer.program]
    get = _from_debian
    if "@" in peer.package:
        get = _from_npm
    elif "==" in peer.package:
        get = _from_pypi
    try:
        return get(peer, folder)
    except (OSError, subprocess.SubprocessError) as cause:
        said = (getattr(cause, "stderr", None) or b"").decode(errors="replace")[-300:]
        raise RuntimeError(f"{peer.name} cannot be installed: {cause} {said}") from cause


@contextmanager
def start(peer: Peer, command: list[str], upstream: int, scratch: Path) -> Iterator[Started]:
    """The gateway in front of the mock on port `upstream`, once it answers."""
    folder = scratch / peer.name
    folder.mkdir(exist_ok=True)
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *peer.arguments(folder, port, upstream)],
            cwd=folder if peer.package else ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            headers = peer.headers(upstream)
            _until_answering(peer.name, process, port, headers, folder / "log")
            yield Started(peer.name, _version(peer, command), process.pid, port, headers)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _until_answering(
    name: str, process: subprocess.Popen[bytes], port: int, headers: dict[str, str], log: Path
) -> None:
    deadline = time.monotonic() + START_S
    while _status(port, headers) != 200:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{name} does not answer: {log.read_text()[-500:]}")
        time.sleep(0.05)


def _status(port: int, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    body = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
    try:
        said = {"content-type": "application/json", **headers}
        connection.request("POST", PATH, body, said)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def _from_debian(peer: Peer, folder: Path) -> list[str]:
    program = peer.program[0]
    if found := shutil.which(program):
        return [found]
    unpacked = folder / peer.package / "usr" / "sbin" / program
    if not unpacked.exists():
        _do(["apt-get", "download", "-q", peer.package], folder, peer.install_s)
        newest = max(folder.glob(f"{peer.package}_*.deb"))
        _do(["dpkg-deb", "-x", newest.name, peer.package], folder, peer.install_s)
    return [str(unpacked)]


def _from_pypi(peer: Peer, folder: Path) -> list[str]:
    venv = folder / peer.package
    if not (venv / "complete").exists():
        _do([sys.executable, "-m", "venv", "--clear", peer.package], folder, peer.install_s)
        pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "-q", peer.package]
        _do(pip, folder, peer.install_s)
        (venv / "complete").touch()
    return [str(venv / "bin" / peer.program[0]), *peer.program[1:]]


def _from_npm(peer: Peer, folder: Path) -> list[str]:
    name = peer.package.rpartition("@")[0]
    place = folder / peer.name
    program = place / "node_modules" / name / peer.program[-1]
    if not program.exists():
        place.mkdir(exist_ok=True)
        npm = ["npm", "install", "--prefix", str(place), "--no-audit", "--no-fund", "--silent"]
        _do([*npm, peer.package], folder, peer.install_s)
    return [*peer.program[:-1], str(program)]


def _version(peer: Peer, command: list[str]) -> str:
    if not peer.package:
        return platform.python_version()
    if "==" in peer.package or "@" in peer.package:
        return peer.package.replace("==", "@").rpartition("@")[2]
    said = subprocess.run([*command, "-v"], capture_output=True, text=True, check=True)
    return (said.stdout + said.stderr).strip().rpartition("/")[2]


def _do(command: list[str], folder: Path, within_s: float) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=within_s)


def _nginx(folder: Path, port: int, upstream: int) -> list[str]:
    (folder / "nginx.conf").write_text(NGINX.format(port=port, upstream=upstream))
    return ["-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]


def _router(folder: Path, port: int, upstream: int) -> list[str]:
    return [
        *("--worker-urls", f"http://127.0.0.1:{upstream}", "--policy", "round_robin"),
        *("--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(free_port())),
    ]


def _litellm(folder: Path, port: int, upstream: int) -> list[str]:
    (folder / "config.yaml").write_text(LITELLM.format(upstream=upstream))
    return ["--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]


def _portkey(folder: Path, port: int, upstream: int) -> list[str]:
    return [f"--port={port}", "--headless"]


def _portkey_headers(upstream: int) -> dict[str, str]:
    host = f"http://127.0.0.1:{upstream}/v1"
    return {"x-portkey-provider": "openai", "x-portkey-custom-host": host, "authorization": "none"}


def _floor(folder: Path, port: int, upstream: int) -> list[str]:
    return [str(port), str(upstream)]


PEERS = (
    Peer("nginx", "nginx", ["nginx"], _nginx),
    Peer("bare Python", "", ["-m", "bench.floor"], _floor),
    Peer("vllm-router", "vllm-router==0.1.17", ["vllm-router"], _router),
    Peer(
        "sglang-router",
        "sglang-router==0.3.2",
        ["python", "-m", "sglang_router.launch_router"],
        _router,
    ),
)
PORTKEY_PEER = Peer(
    "portkey",
    "@portkey-ai/gateway@1.15.2",
    ["node", "build/start-server.js"],
    _portkey,
    240.0,
    _portkey_headers,
)
LITELLM_PEER = Peer("litellm", "litellm[proxy]==1.106.2", ["litellm"], _litellm, 240.0)
