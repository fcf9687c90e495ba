"""The last release of OpenAI's client of an older major, beside the newest."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

ASK = Path(__file__).parent / "old_openai.py"
OLD = "1.109.1"


@pytest.fixture(scope="session")
def old_client() -> Path:
    """A folder with the old client and what it needs, kept from run to run."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "haneul-tests"
    folder = cache / f"openai-{OLD}"
    if not (folder / "openai").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder)]
        got = subprocess.run([*pip, f"openai=={OLD}"], capture_output=True, text=True)
        if got.returncode:
            pytest.fail(f"no openai {OLD}. pip: {got.stderr[-300:]}")
    return folder


async def test_an_older_major_gets_responses_files_and_batches_too(cloud, key, old_client):
    engine = await cloud.add_engine(words=["blue", "sky"])
    asking = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ASK),
        cloud.cloud.base_url,
        key.secret,
        engine.models[0],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(old_client)},
    )
    told, errors = await asyncio.wait_for(asking.communicate(), 100)
    assert asking.returncode == 0, errors.decode()[-2000:]
    assert json.loads(told) == {
        "version": OLD,
        "first": "blue sky ",
        "last": "response.completed",
        "second": "blue sky ",
        "items": 3,
        "batch": "completed",
        "result": "blue sky ",
        "gone": 404,
    }
