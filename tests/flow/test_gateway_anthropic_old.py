"""A client of early 2025 gets the same through the gateway: its API had no thinking yet."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

VERSION = "0.45.2"
SCRIPT = Path(__file__).parent / "anthropic_old.py"


@pytest.fixture(scope="module")
def old_client() -> Path:
    """A folder with the old client; what it needs beside is that of the new one."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "haneul-tests"
    folder = cache / f"anthropic-{VERSION}"
    if not (folder / "anthropic").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
        wanted = [f"anthropic=={VERSION}", "distro==1.9.0", "sniffio==1.3.1"]
        got = subprocess.run([*pip, *wanted], capture_output=True, text=True)
        if got.returncode:
            pytest.fail(f"no old client; pip: {got.stderr[-300:]}")
    return folder


def streamed(*deltas, finish):
    """A streamed answer as an engine's events."""
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks += [{"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}]
    chunks += [{"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}]
    events = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]
    return (*events, b"data: [DONE]\n\n")


async def test_an_old_client_reads_messages_streams_tools_and_errors(cloud, key, old_client):
    part = {"index": 0, "id": "c", "function": {"name": "weather", "arguments": '{"city":'}}
    rest = {"index": 0, "function": {"arguments": '"Jeju"}'}}
    calling = await cloud.add_engine(
        pieces=streamed({"tool_calls": [part]}, {"tool_calls": [rest]}, finish="tool_calls")
    )
    plain = await cloud.add_engine(pieces=streamed({"content": "4"}, finish="stop"))
    echo = await cloud.add_engine(words=["a", "b"])
    models = [engine.models[0] for engine in (plain, calling, echo)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        cloud.root,
        key.secret,
        *models,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(old_client)},
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert json.loads(output) == {
        "version": VERSION,
        "whole": "a b ",
        "counts": [3, 2],
        "streamed": ["a ", "b "],
        "called": [["weather", {"city": "Jeju"}]],
        "why": "tool_use",
        "text": "4",
        "refused": "not_found_error",
    }
