"""A model's program and its tests, run apart: no network, no environment, bounds on all it takes.

This keeps a program that goes wrong from doing harm. It is no prison for one that was written to
break out of an interpreter: that takes a machine of its own.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import tempfile
from pathlib import Path

from msgspec import Struct

from haneul.quality.checks import GOOD, Verdict, bad

CELL = Path(__file__).with_name("cell.py")
OUTPUT_MAX_BYTES = 64 << 10
REASON_MAX_CHARS = 200
START_S = 5.0  # for the interpreter itself, on a busy machine


class Ran(Struct, frozen=True):
    """How a program ended, and what held it."""

    is_passed: bool
    network: str  # apart: it had none of the machine's; refused: the interpreter refused it
    reason: str | None = None

    def verdict(self) -> Verdict:
        return GOOD if self.is_passed else bad(self.reason or "its tests fail")


async def run_tests(
    code: str, tests: str, *, deadline_s: float, is_apart_wanted: bool = True
) -> Ran:
    """Runs the code and then the tests on it; how that ended. Raises nothing of theirs."""
    word = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="haneul-cell-") as folder:
        file = Path(folder) / "answer.py"
        await asyncio.to_thread(file.write_text, f"{code}\n\n{tests}\n", "utf-8", "replace")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-B", str(CELL), str(file)),
            "unshare" if is_apart_wanted else "stay",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={},
            cwd=folder,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(deadline_s + START_S):
                said, wrong = await _talk(process, word)
        except TimeoutError:
            return Ran(False, "unknown", f"it did not end within {deadline_s:g} s")
        finally:
            _end(process)
            await process.wait()
    return _read(said, wrong, word, process.returncode)


async def _talk(process: asyncio.subprocess.Process, word: str) -> tuple[bytes, bytes]:
    """What it says on both, up to the bound; beyond it it is ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(f"{word}\n".encode())
    process.stdin.close()
    return await asyncio.gather(
        _bounded(process, process.stdout), _bounded(process, process.stderr)
    )


async def _bounded(process: asyncio.subprocess.Process, stream: asyncio.StreamReader) -> bytes:
    parts, size = [], 0
    while data := await stream.read(8192):
        size += len(data)
        if size > OUTPUT_MAX_BYTES:
            _end(process)
            break
        parts.append(data)
    return b"".join(parts)


def _end(process: asyncio.subprocess.Process) -> None:
    """It and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _read(said: bytes, wrong: bytes, word: str, code: int | None) -> Ran:
    network = said.partition(b"\n")[0].decode("ascii", "replace") or "unknown"
    if code == 0 and said.endswith(f"\n{word}\n".encode()):
        return Ran(True, network)
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return Ran(False, network, "it took too long or wrote too much")
    lines = wrong.decode("utf-8", "replace").strip().splitlines()
    reason = lines[-1] if lines else f"it ended with code {code} before its tests did"
    return Ran(False, network, reason[:REASON_MAX_CHARS])
