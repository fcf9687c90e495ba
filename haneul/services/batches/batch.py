"""One batch from its file to its results; whatever of it was done before is not done again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import msgspec

from haneul.base.errors import HaneulError, NotAuthenticated, QuotaExceeded
from haneul.base.ids import new_id
from haneul.base.log import logger
from haneul.base.units import now_us
from haneul.services import standing
from haneul.services.batches import lines
from haneul.services.batches.ending import Ending
from haneul.services.batches.files import Files
from haneul.services.batches.lines import Found, Line
from haneul.services.batches.room import Room
from haneul.services.batches.run import Order, Outcome, code_of, run
from haneul.services.chat import Gateway
from haneul.services.dialect import Dialect
from haneul.services.keys import LOCAL, LOCAL_ID, Key
from haneul.store import batches as queries
from haneul.store.batches import BatchRow, LineRow
from haneul.store.database import Database

AGAIN = frozenset({429, 502, 503, 504, 500, 0})  # may end better another time
PATIENT = frozenset({429, 503})  # until the batch's time is over
TRIES_MAX = 3  # of a line whose engine fails
PAUSE_S, PAUSE_MAX_S = 1.0, 60.0
LOOK_S = 0.5
log = logger("batches")


class Tools(NamedTuple):
    """What a batch is run with."""

    gateway: Gateway
    database: Database
    files: Files
    dialects: Mapping[str, Dialect]
    room: Room
    at_once: int
    days: int
    share_millionths: int
    line_max_bytes: int


class Batch:
    """A batch that is not ended."""

    def __init__(self, tools: Tools, row: BatchRow, is_cancelled: Callable[[], bool]) -> None:
        self._tools = tools
        self._row = row
        self._is_cancelled = is_cancelled
        self._path = tools.files.path(row.input_file_id)
        self._left: deque[int] = deque()  # numbers of the lines that are to run
        self._inside: set[int] = set()  # those that are being asked
        self._tries: dict[int, int] = {}
        self._paused_until = 0.0

    async def run(self) -> None:
        """Takes it from whatever state it is in to its end."""
        found = await asyncio.to_thread(
            lines.check, self._path, self._row.endpoint, line_max_bytes=self._tools.line_max_bytes
        )
        if self._row.state == "validating" and not await self._begin(found):
            return
        if self._row.state in ("validating", "in_progress"):
            await self._run_lines(found)
        await Ending(self._tools.database, self._tools.files, self._row.id, found).run()

    async def _begin(self, found: Found) -> bool:
        """Whether there is more to do than to say what is wrong with the file."""
        facts: dict[str, object] = {"model": found.model}
        if found.problems:
            errors = lines.show_problems(found.problems)
            facts |= {"state": "failed", "errors": errors, "ended_us": now_us()}
        else:
            facts |= {"state": "in_progress", "in_progress_us": now_us(), "total": found.total}
        has_moved = await self._tools.database.call(
            queries.move, self._row.id, ["validating"], facts
        )
        return not (found.problems and has_moved)

    @property
    def _is_over(self) -> bool:
        return self._is_cancelled() or now_us() >= self._row.expires_us

    async def _run_lines(self, found: Found) -> None:
        """Runs every line that has no result, until its time is over or it is cancelled."""
        done = await self._tools.database.ask(queries.done, self._row.id)
        self._left.extend(number for number in range(1, found.total + 1) if number not in done)
        running: dict[asyncio.Task[None], int] = {}
        try:
            while (self._left or running) and not self._is_over:
                while self._left and len(running) < self._tools.at_once and self._is_time():
                    number = self._left.popleft()
                    running[asyncio.create_task(self._line(found, number))] = number
                for task in await _ended(running):
                    del running[task]
                    task.result()
            inside = [task for task, number in running.items() if number in self._inside]
            await asyncio.gather(*inside)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _is_time(self) -> bool:
        return asyncio.get_running_loop().time() >= self._paused_until

    async def _line(self, found: Found, number: int) -> None:
        """Runs one line once there is a place for it; it is left over where that did not help."""
        try:
            data = await asyncio.to_thread(lines.read_at, self._path, found, number)
            line, model = lines.read_line(data)
            key = await self._key()
            async with self._tools.room.place(key, model):
                if self._is_over:
                    return
                self._inside.add(number)
                outcome = await self._ask(key, number, line)
            if not outcome.is_kept:
                await self._judge(number, line, outcome)
        except HaneulError as error:
            log.warning("line_put_off", batch=self._row.id, line=number, reason=error.message)
            self._put_off(number, error.retry_after_s)
        finally:
            self._inside.discard(number)

    async def _key(self) -> Key:
        """The batch's key as it stands now. Raises Unavailable."""
        if self._row.key_id == LOCAL_ID:
            return LOCAL
        found = await self._tools.database.ask(standing.read, self._row.key_id)
        assert found is not None, "keys are never deleted"
        return found.key

    async def _ask(self, key: Key, number: int, line: Line) -> Outcome:
        if not key.is_live:
            error = NotAuthenticated(f"The API key '{key.name}' is revoked or expired.")
            body = msgspec.json.encode(error.as_openai())
            return Outcome(False, error.status, body, new_id("req"), None)
        tools = self._tools
        order = Order(
            self._row.id, number, line.custom_id, bytes(line.body), tools.share_millionths
        )
        dialect = tools.dialects[line.url]
        return await run(tools.gateway, dialect, key, order, database=tools.database)

    async def _judge(self, number: int, line: Line, outcome: Outcome) -> None:
        """Keeps why a line was not answered, unless it may be another time."""
        tries = self._tries[number] = self._tries.get(number, 0) + 1
        status = outcome.status
        may_end_better = status in AGAIN and code_of(outcome.body) != QuotaExceeded.code
        if may_end_better and (status in PATIENT or tries < TRIES_MAX):
            self._put_off(number, outcome.retry_after_s)
            return
        result = lines.result(
            line.custom_id,
            status=status or 500,
            request_id=outcome.request_id,
            body=outcome.body or msgspec.json.encode(HaneulError().as_openai()),
        )
        row = LineRow(
            batch_id=self._row.id, number=number, status=status or 500, result=result.decode()
        )
        await self._tools.database.call(queries.keep_line, row)

    def _put_off(self, number: int, pause_s: float | None) -> None:
        """The line is to be run later; so long no other of the batch is begun."""
        self._left.append(number)
        pause_s = min(pause_s or PAUSE_S, PAUSE_MAX_S)
        self._paused_until = asyncio.get_running_loop().time() + pause_s


async def _ended(running: Collection[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Those that have ended, as soon as one has, or a moment has passed."""
    if not running:
        await asyncio.sleep(LOOK_S)
        return set()
    ended, _ = await asyncio.wait(running, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
    return ended
