"""A model's weights in another format, made once in a process of its own and kept beside it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from haneul.services.replica import environment
from haneul.services.tune.candidate import REASON_MAX, Lost

NICE = 10


async def requantise(source: Path, target: Path, kind: str, *, within_s: float) -> None:
    """Writes the file unless it is there. Raises Lost with the reason."""
    if await asyncio.to_thread(target.is_file):
        return
    await asyncio.to_thread(lambda: target.parent.mkdir(parents=True, exist_ok=True))
    fresh = target.with_suffix(f".{os.getpid()}.part")
    arguments = ["-m", "haneul.engine.requantise", str(source), str(fresh), "--type", kind]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
        start_new_session=True,
    )
    try:
        os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
        async with asyncio.timeout(within_s):
            _, said = await process.communicate()
        if process.returncode != 0:
            raise Lost(f"cannot be requantised to {kind}: {_reason(said, process.returncode)}")
        await asyncio.to_thread(fresh.replace, target)
    except TimeoutError as cause:
        raise Lost(f"requantising to {kind} takes longer than {within_s:.0f} s") from cause
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        await asyncio.to_thread(fresh.unlink, missing_ok=True)


def _reason(said: bytes, code: int | None) -> str:
    """The last line: JSON where our own program wrote it."""
    last = said.strip().rpartition(b"\n")[2]
    try:
        return msgspec.json.decode(last, type=dict[str, str]).get("error", "")[:REASON_MAX]
    except msgspec.MsgspecError:
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"
