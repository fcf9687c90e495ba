"""Runs one job of making a model in a process of its own, which ends with this one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable

import msgspec

from haneul.base.deriving import FAILED, Job, Result, Step
from haneul.base.errors import CommandError

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH")
LINE_MAX_BYTES = 1 << 20
REASON_MAX = 2000
OnStep = Callable[[Step], None]

_Line = msgspec.json.Decoder(Step)
_Result: msgspec.json.Decoder[Result] = msgspec.json.Decoder(Result)


async def run(job: Job, *, on_step: OnStep | None = None) -> Result:
    """What came of the job. It has no deadline; who is called off ends it.

    Raises CommandError with the reason.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "haneul.engine.derive",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=LINE_MAX_BYTES,
        env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
        start_new_session=True,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(msgspec.json.encode(job))
        process.stdin.close()
        last, said = await asyncio.gather(_lines(process, on_step), _last_words(process))
        code = await process.wait()
        if code:
            raise CommandError(_reason(said, code))
        return _Result.decode(last)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _lines(process: asyncio.subprocess.Process, on_step: OnStep | None) -> bytes:
    """The last line; those before it are reported."""
    assert process.stdout is not None
    last = b""
    async for line in process.stdout:
        if last and on_step is not None:
            on_step(_Line.decode(last))
        last = line
    return last


async def _last_words(process: asyncio.subprocess.Process) -> bytes:
    """The end of what it says on standard error, however much that is."""
    assert process.stderr is not None
    said = b""
    while data := await process.stderr.read(1 << 16):
        said = (said + data)[-LINE_MAX_BYTES:]
    return said


def _reason(said: bytes, code: int) -> str:
    if code < 0:
        return f"The work was ended by {signal.Signals(-code).name}."
    last = said.strip().rpartition(b"\n")[2]
    if code == FAILED:
        try:
            return msgspec.json.decode(last, type=dict[str, str])["error"][:REASON_MAX]
        except (msgspec.MsgspecError, KeyError):
            pass  # something wrote after it
    return f"The work ended with code {code}: {last.decode(errors='replace')[:200]}"
