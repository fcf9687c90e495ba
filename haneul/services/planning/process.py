"""Plans of pages, each made in a process of its own: a second of arithmetic would hold up streams.

The process reads one job from standard input and writes one answer; it has a deadline, and few run
at once. See __main__.py for the other end.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from typing import Any

import msgspec
from msgspec import Struct

from haneul.base.errors import (
    BadRequest,
    DeadlineExceeded,
    HaneulError,
    ModelNotFound,
    NotFound,
    Overloaded,
    UnsupportedValue,
)
from haneul.base.log import logger
from haneul.chips.shape import Shape
from haneul.services.planning.question import Question

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH")
WITHIN_S = 60.0
WAITING_MOST = 8
WAITING_EACH = 2  # of one key, so that others find room
TROUBLE_MOST = 2000  # bytes of what a planner that failed said last
ANSWER_BYTES_MOST = 16 << 20
REFUSED = 3  # exit code: what was written is an error
REFUSALS = {each.code: each for each in (ModelNotFound, NotFound, UnsupportedValue, BadRequest)}
log = logger("planning")


class Job(Struct, frozen=True, kw_only=True):
    """A question with what only the asking process may read."""

    question: Question
    cached_share: float
    shape: Shape | None = None  # of a model that is here


class Refusal(Struct, frozen=True, kw_only=True):
    """An error on its way between the processes."""

    code: str
    message: str
    param: str | None


class Planners:
    """Makes plans one after another; whoever waits too long or is one too many is told so."""

    def __init__(
        self,
        *,
        within_s: float = WITHIN_S,
        waiting_most: int = WAITING_MOST,
        waiting_each: int = WAITING_EACH,
    ) -> None:
        self._within_s = within_s
        self._waiting_most = waiting_most
        self._waiting_each = waiting_each
        self._waiting: Counter[str] = Counter()
        self._one = asyncio.Lock()

    async def plan(self, job: Job, *, asker: str = "") -> bytes:
        """The plan as JSON; asker is the key that asks.

        Raises the question's errors, Overloaded and DeadlineExceeded.
        """
        if self._waiting[asker] >= self._waiting_each:
            raise Overloaded("Other plans of this key are being made.", retry_after_s=5.0)
        if self._waiting.total() >= self._waiting_most:
            raise Overloaded("Other plans are being made.", retry_after_s=5.0)
        self._waiting[asker] += 1
        try:
            async with asyncio.timeout(self._within_s), self._one:
                return await _run(msgspec.json.encode(job))
        except TimeoutError as cause:
            raise DeadlineExceeded("The plan took too long: name fewer chips.") from cause
        finally:
            self._waiting[asker] -= 1
            if not self._waiting[asker]:
                del self._waiting[asker]


async def _run(job: bytes) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "haneul.services.planning"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
        start_new_session=True,
    )
    try:
        answer, said = await process.communicate(job)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == REFUSED:
        raise _refusal(answer)
    if process.returncode != 0 or len(answer) > ANSWER_BYTES_MOST:
        tail = said[-TROUBLE_MOST:].decode(errors="replace")
        log.error("planner_failed", code=process.returncode, said=tail)
        raise HaneulError(f"The planner ended with code {process.returncode}.")
    return answer


def _refusal(answer: bytes) -> HaneulError:
    said = msgspec.json.decode(answer, type=Refusal)
    options: dict[str, Any] = {"param": said.param}
    return REFUSALS.get(said.code, HaneulError)(said.message, **options)
