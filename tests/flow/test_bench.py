"""The measuring tools measure what they say: their client against their mock and a fake engine."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haneul.testing.engine import FakeEngine, Faults

ROOT = Path(__file__).parent.parent.parent
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def mock_port() -> Iterator[int]:
    """The port of a running mock engine."""
    command = [sys.executable, "-m", "bench.upstream"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["port"]
        process.kill()


async def ask(plan: dict[str, Any]) -> Any:
    """What a client process says to a plan."""
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "bench.client"]
    client = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)
    said, _ = await client.communicate(
        json.dumps({**plan, "cores": sorted(os.sched_getaffinity(0))}).encode()
    )
    return json.loads(said)


async def saturate(port: int, **fields: Any) -> Any:
    target = {"port": port, "body": {**CHAT, **fields}}
    return await ask({"work": "saturate", "target": target, "connections": 4, "seconds": 0.3})


async def test_every_event_of_a_stream_is_counted(mock_port: int) -> None:
    counted = await saturate(mock_port, stream=True)
    assert counted["errors"] == 0
    assert counted["requests"] >= 4
    assert counted["events"] == 103 * counted["requests"]


async def test_whole_answers_have_no_events(mock_port: int) -> None:
    counted = await saturate(mock_port)
    assert (counted["errors"], counted["events"]) == (0, 0)
    assert counted["requests"] > 100


async def test_pairs_have_one_time_a_round_for_each_side(mock_port: int) -> None:
    to = {"port": mock_port, "body": CHAT}
    plan = {"work": "alternate", "targets": {"engine": to, "gateway": to}, "rounds": 5}
    found = await ask({**plan, "warm_up": 1, "interval_s": 0.01})
    for side in ("engine", "gateway"):
        assert len(found[side]["first_s"]) == len(found[side]["total_s"]) == 5
        assert found[side]["errors"] == 0


@pytest.mark.parametrize("faults", [Faults(status=500), Faults(die_after=2)], ids=["500", "cut"])
async def test_an_answer_that_fails_is_an_error(faults: Faults) -> None:
    async with FakeEngine(faults=faults) as engine:
        counted = await saturate(int(engine.url.rpartition(":")[2]), stream=True)
    assert counted["errors"] == counted["requests"] > 0
