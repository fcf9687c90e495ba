"""LangChain's standard tests of a chat model and of embeddings, through the gateway.

They ask for more than a tiny model can do, so a scripted engine answers most; a tiny model of our
own engine answers those that need no skill.
"""

from __future__ import annotations

import asyncio
import os
import re

import pytest
from client_places import CLIENTS, python_of
from scripted_engine import scripted_engine

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(300)]

SIMPLE = "TestChat and (invoke or stream or batch or usage or double) and not (override or time)"

SKIPPED = 7  # pictures, PDF, sound, Anthropic's blocks, recordings: see langchain_standard.py


async def standard(cloud, key, model, *options, most=512):
    """Runs the tests; gives how many passed, failed, were skipped, and what was printed."""
    asking = await asyncio.create_subprocess_exec(
        str(await asyncio.to_thread(python_of, "langchain")),
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--noconftest",
        "-o",
        "asyncio_mode=auto",
        "-o",
        "asyncio_default_test_loop_scope=session",  # one HTTP client serves all its tests
        "-o",
        "asyncio_default_fixture_loop_scope=session",
        "--rootdir",
        str(CLIENTS),
        "-c",
        os.devnull,
        str(CLIENTS / "langchain_standard.py"),
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={
            **os.environ,
            "HANEUL_URL": cloud.cloud.base_url,
            "HANEUL_KEY": key.secret,
            "HANEUL_MODEL": model,
            "HANEUL_OTHER_MODEL": "other-model",
            "HANEUL_MAX_TOKENS": str(most),
            "LANGSMITH_TRACING": "false",
        },
    )
    told, _ = await asyncio.wait_for(asking.communicate(), 200)
    text = told.decode()
    counts = {
        name: int(count) for count, name in re.findall(r"(\d+) (passed|failed|error|skipped)", text)
    }
    return counts, text


async def test_langchains_standard_tests_pass(cloud, key):
    async with scripted_engine() as url:
        await cloud.put_engine("scripted", url, ("scripted-model", "other-model"))
        counts, text = await standard(cloud, key, "scripted-model")
    assert counts.keys() == {"passed", "skipped"}, text[-6000:]
    assert counts["passed"] >= 40
    assert counts["skipped"] == SKIPPED, text[-6000:]
    rows = await cloud.rows(key.key.id)
    assert {row.state for row in rows} == {"done"}


async def test_those_that_need_no_skill_pass_on_our_own_engine(cloud, key, tiny_model):
    target = await cloud.cloud.serve(str(tiny_model))
    counts, text = await standard(cloud, key, target.model, "-k", SIMPLE, most=8)
    assert counts.keys() == {"passed"}, text[-6000:]
    assert counts["passed"] >= 8
