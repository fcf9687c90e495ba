"""Schemathesis asks a running cloud all that its description promises, with every check on."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from hub_models import put_model
from scripted_engine import scripted_engine

from haneul.services.roles import SCOPES
from haneul.testing.gguf import gguf_bytes

pytestmark = pytest.mark.asyncio(loop_scope="module")

TESTS = Path(__file__).parent.parent
WITHIN_S = 110


async def ask_everything(cloud, *options):
    """Runs Schemathesis; gives its status and what it printed."""
    key = await cloud.make_key(scopes=tuple(SCOPES))
    await put_model(cloud, "described", {"m.gguf": gguf_bytes(), "README.md": b"# A card"})
    async with scripted_engine() as url:
        await cloud.put_engine("scripted", url, ("model-of-scripted",))
        asking = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "schemathesis.cli",
            "--no-color",
            "--config-file",
            str(TESTS / "schemathesis.toml"),
            "run",
            f"{cloud.root}/openapi.json",
            *options,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                **os.environ,
                "HANEUL_HOOKS": str(TESTS / "schemathesis_hooks.py"),
                "HANEUL_KEY": key.secret,
                "HANEUL_MODEL": "model-of-scripted",
            },
        )
        told, _ = await asyncio.wait_for(asking.communicate(), WITHIN_S)
    return asking.returncode, told.decode()


async def test_every_address_keeps_what_its_description_promises(cloud):
    status, told = await ask_everything(
        cloud, "--phases", "examples,fuzzing", "--max-examples", "4"
    )
    assert status == 0, told[-6000:]


@pytest.mark.slow
async def test_every_bound_of_the_description_is_kept(cloud):
    status, told = await ask_everything(cloud, "--phases", "coverage", "--workers", "2")
    assert status == 0, told[-6000:]


@pytest.mark.slow
async def test_addresses_used_one_after_another_keep_it_too(cloud):
    status, told = await ask_everything(
        cloud, "--phases", "fuzzing,stateful", "--max-examples", "10", "--workers", "2"
    )
    assert status == 0, told[-6000:]
