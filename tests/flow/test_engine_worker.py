"""How the front learns why a worker is gone."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from haneul.base.errors import EngineUnavailable
from haneul.engine.worker.job import Job, WorkerSpec
from haneul.engine.worker.process import WorkerProcess
from haneul.engine.worker.stepper import CannotServe


def spec(file, **fields):
    plain = {"kernel": "libllama", "file": str(file), "parent": os.getpid()}
    plain |= {"context_tokens": 512, "slots": 2, "threads": 1}
    return WorkerSpec(**(plain | fields))


async def test_a_worker_that_cannot_load_says_why(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    worker = WorkerProcess(spec(tmp_path / "m.gguf", options={"nonsense": 1}))
    with pytest.raises(CannotServe, match="no option nonsense"):
        await worker.start()


async def test_a_worker_killed_by_a_signal_is_told_by_its_name(tiny_model):
    worker = WorkerProcess(spec(tiny_model))
    await worker.start()
    dying = asyncio.create_task(worker.died())
    steps = worker.run(Job(prompt="hello", ignores_end=True))
    await anext(steps)
    assert worker._process is not None
    os.kill(worker._process.pid, signal.SIGILL)
    assert await dying == "The kernel ended: killed by SIGILL"
    with pytest.raises(EngineUnavailable):
        async for _ in steps:
            pass
    with pytest.raises(EngineUnavailable):
        await worker.ask("counters")
    await worker.close()
