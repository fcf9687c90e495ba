"""Simon Willison's `llm` on a cloud, by nothing but its own configuration files."""

from __future__ import annotations

import asyncio
import json
import os

import pytest
from client_places import python_of
from scripted_engine import scripted_engine

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(300)]

MODELS = """\
- model_id: sky
  model_name: {model}
  api_base: {url}
  api_key_name: haneul
  supports_schema: true
  supports_tools: true
"""
TOOL = "def weather(city: str) -> str:\n    return 'rain'\n"


class Llm:
    """The command, with a home of its own."""

    def __init__(self, python, home):
        self._python = python
        self._env = {**os.environ, "LLM_USER_PATH": str(home)}

    async def run(self, *arguments):
        """What it printed."""
        running = await asyncio.create_subprocess_exec(
            str(self._python),
            "-m",
            "llm",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._env,
        )
        told, errors = await asyncio.wait_for(running.communicate(), 60)
        assert running.returncode == 0, errors.decode()[-2000:]
        return told.decode()


async def test_it_asks_streams_fills_schemas_calls_tools_and_logs(cloud, key, tmp_path):
    async with scripted_engine() as url:
        await cloud.put_engine("scripted", url, ("scripted-model",))
        models = MODELS.format(model="scripted-model", url=cloud.cloud.base_url)
        (tmp_path / "extra-openai-models.yaml").write_text(models)
        (tmp_path / "keys.json").write_text(json.dumps({"haneul": key.secret}))
        llm = Llm(await asyncio.to_thread(python_of, "llm"), tmp_path)
        assert "sky" in await llm.run("models")
        streamed = await llm.run("-m", "sky", "say it")
        whole = await llm.run("-m", "sky", "--no-stream", "say it")
        assert streamed == whole != ""
        filled = await llm.run("-m", "sky", "--no-stream", "--schema", "age int", "how old?")
        assert json.loads(filled) == {"age": 3}
        functions = ("--functions", TOOL)
        called = await llm.run("-m", "sky", *functions, "what is the weather in Jeju?")
        assert called.strip() == whole.strip()  # once the tool has given its result
        logged = json.loads(await llm.run("logs", "--json", "-n", "0"))
    assert {row["model"] for row in logged} == {"sky"}
    rows = await cloud.rows(key.key.id)
    assert [row.state for row in rows] == ["done"] * 5
    counted = sum(row["output_tokens"] for row in logged)
    assert counted == sum(row.completion_tokens for row in rows)
