"""What a cloud finds when it starts, beside a maker's tool that does not answer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from log_lines import Lines

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_tool_that_fails_is_in_the_log_and_the_cloud_serves(
    start_cloud, log: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tool = tmp_path / "npu-smi"
    tool.write_text("#!/bin/sh\necho 'dcmi module initialize failed' >&2\nexit 187\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    running = await start_cloud()

    def told() -> list[dict[str, str]]:
        return [
            line for text in log.lines if (line := json.loads(text))["event"] == "chips_unknown"
        ]

    await running.until(lambda: bool(told()), 20, "the tool is named")
    assert (told()[0]["tool"], told()[0]["reason"]) == ("npu-smi", "dcmi module initialize failed")
    assert running.cloud.chips[0].kind == "cpu"
