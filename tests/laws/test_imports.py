"""What starts with the cloud: the hot path pays for no library it does not use."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("httpx", "pydantic", "openai", "starlette", "fastapi", "numpy", "torch")
LATE = ("aiohttp", "alembic")  # for TLS and old homes only; each takes 12 MB


def loaded(statement):
    """The modules that a fresh interpreter has after it."""
    code = f"{statement}\nimport sys; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["haneul.server", "haneul.cloud", "haneul.cli.up"])
def test_the_cloud_loads_no_heavy_library(module):
    modules = loaded(f"import {module}")
    assert module in modules
    assert not modules & {*HEAVY, *LATE}


def test_a_worker_loads_what_answers_requests_and_no_more():
    modules = loaded("import haneul.worker")
    assert not modules & {*HEAVY, *LATE, "haneul.api", "haneul.cli", "haneul.openapi"}


def test_the_command_loads_no_other_than_the_one_that_is_asked_for():
    modules = loaded("from haneul.cli.main import haneul\nhaneul.commands['ps']")
    assert "haneul.cli.running" in modules
    assert "haneul.cli.up" not in modules


def test_the_engine_loads_nothing_of_the_cloud():
    modules = loaded("import haneul.engine.server")
    ours = {name.split(".")[1] for name in modules if name.startswith("haneul.")}
    assert ours <= {"base", "engine"}
    assert not modules & {*HEAVY, *LATE, "sqlalchemy"}


def test_importing_does_nothing_but_define(tmp_path):
    code = "import os, sys, threading, socket\nimport haneul.cloud, haneul.cli.main\n" + (
        "assert threading.active_count() == 1\nassert os.listdir('.') == []\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
