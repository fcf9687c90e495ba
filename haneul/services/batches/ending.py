"""How a batch ends: its results become an output file and an error file, in the order of lines.

Every step can be done again after a kill: the files' ids are chosen once and kept, their bytes are
written anew, and one transaction puts their rows, ends the batch and forgets its lines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec

from haneul.base.ids import new_id
from haneul.base.log import logger
from haneul.base.units import now_us
from haneul.services.batches import lines
from haneul.services.batches.files import BATCH_OUTPUT, Files, write
from haneul.services.batches.lines import Found
from haneul.services.batches.states import before
from haneul.store import batches as queries
from haneul.store.batches import GOOD, BatchRow, Counts, LineRow
from haneul.store.database import Database
from haneul.store.files import FileRow

AT_ONCE = 100  # results in memory
CANCELLED = ("batch_cancelled", "This request was not run before the batch was cancelled.")
EXPIRED = ("batch_expired", "This request could not be run before the batch's time was over.")
log = logger("batches")


class Ending:
    """The end of one batch whose lines run no more."""

    def __init__(self, database: Database, files: Files, batch_id: str, found: Found) -> None:
        self._database = database
        self._files = files
        self._id = batch_id
        self._found = found
        self._total = 0 if found.problems else found.total
        self._why_not = EXPIRED

    async def run(self) -> None:
        """Writes the files and ends the batch."""
        row = await self._begin()
        counts = await self._database.ask(queries.counts, self._id)
        missing = self._total - counts.completed - counts.failed
        state = "cancelled" if row.state == "cancelling" else "expired" if missing else "completed"
        if state == "cancelled":
            self._why_not = CANCELLED
        made: list[FileRow] = []
        if counts.completed:
            made.append(await self._write(row, row.output_file_id, "output", self._good()))
        if counts.failed + missing:
            made.append(await self._write(row, row.error_file_id, "error", self._bad(row)))
        ids = {file.id for file in made}
        facts = {
            "state": state,
            "ended_us": now_us(),
            "total": self._total,
            "completed": counts.completed,
            "failed": counts.failed,
            "usage": show_usage(counts),
            "output_file_id": row.output_file_id if row.output_file_id in ids else None,
            "error_file_id": row.error_file_id if row.error_file_id in ids else None,
        }
        await self._database.call(queries.finish, self._id, made, facts)
        log.info("batch_ended", batch=self._id, state=state, completed=counts.completed)

    async def _begin(self) -> BatchRow:
        """The batch as it stands, with the ids that its files will have."""
        moved = {"state": "finalizing", "finalizing_us": now_us()}
        await self._database.call(queries.move, self._id, before("finalizing"), moved)
        row = await self._database.ask(queries.of_id, self._id)
        if row.output_file_id is None:
            ids = {"output_file_id": new_id("file"), "error_file_id": new_id("file")}
            await self._database.call(queries.move, self._id, [row.state], ids)
            row = msgspec.structs.replace(row, **ids)
        return row

    async def _write(
        self, row: BatchRow, file_id: str | None, name: str, told: Iterator[bytes]
    ) -> FileRow:
        assert file_id is not None
        size = await asyncio.to_thread(write, self._files.path(file_id), told)
        filename = f"{self._id}_{name}.jsonl"
        return self._files.row(row.key_id, BATCH_OUTPUT, filename, size, file_id=file_id)

    def _results(self) -> Iterator[LineRow]:
        """Every result, in order; read in the thread that writes them."""
        after = 0
        while True:
            read = partial(queries.results, batch_id=self._id, after=after, limit=AT_ONCE)
            rows = self._database.run(read)
            yield from rows
            if not rows:
                return
            after = rows[-1].number

    def _good(self) -> Iterator[bytes]:
        for row in self._results():
            if row.status == GOOD:
                yield row.result.encode() + b"\n"

    def _bad(self, batch: BatchRow) -> Iterator[bytes]:
        """What was refused, and in its place what was never run."""
        path = self._files.path(batch.input_file_id)
        expected = 1
        for row in self._results():
            yield from (self._not_run(path, number) for number in range(expected, row.number))
            if row.status != GOOD:
                yield row.result.encode() + b"\n"
            expected = row.number + 1
        yield from (self._not_run(path, number) for number in range(expected, self._total + 1))

    def _not_run(self, path: Path, number: int) -> bytes:
        line, _ = lines.read_line(lines.read_at(path, self._found, number))
        return lines.not_run(line.custom_id, *self._why_not) + b"\n"


def show_usage(counts: Counts) -> str:
    """The tokens of all answers as the API shows them, JSON."""
    usage = {
        "input_tokens": counts.prompt_tokens,
        "input_tokens_details": {"cached_tokens": counts.cached_tokens},
        "output_tokens": counts.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning_tokens},
        "total_tokens": counts.prompt_tokens + counts.completion_tokens,
    }
    return msgspec.json.encode(usage).decode()
