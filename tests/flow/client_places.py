"""Clients that would not fit beside the tests' own packages: each in an environment of its own.

They are locked by hash in tests/clients/NAME.lock, made of NAME.in as requirements.lock is (its
first lines say how), and kept in the user's cache folder, one for each lock: installed once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent.parent / "clients"


def python_of(name: str) -> Path:
    """The interpreter that has the clients of a lock file."""
    lock = CLIENTS / f"{name}.lock"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "haneul-tests"
    folder = cache / f"{name}-{digest}-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
        pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "-q")
        _run(*pip, "--no-deps", "--require-hashes", "-r", str(lock))
        (folder / "ready").touch()
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"{command[0]}: {done.stderr[-500:]}")
