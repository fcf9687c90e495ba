"""An older line of Ollama's client gets the same as the newest."""

from __future__ import annotations

import asyncio
import json

import pytest
from client_places import CLIENTS, python_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(300)]


async def test_an_older_client_chats_generates_embeds_and_lists(cloud, key):
    engine = await cloud.add_engine(words=["blue", "sky"])
    asking = await asyncio.create_subprocess_exec(
        str(await asyncio.to_thread(python_of, "ollama")),
        str(CLIENTS / "ollama_old.py"),
        cloud.root,
        key.secret,
        engine.models[0],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, errors = await asyncio.wait_for(asking.communicate(), 60)
    assert asking.returncode == 0, errors.decode()[-3000:]
    assert json.loads(told) == {
        "version": "0.4.9",
        "whole": "blue sky ",
        "streamed": "blue sky ",
        "counts": [2, 2],
        "written": "blue ",
        "width": 2,
        "listed": True,
        "refused": 404,
    }
