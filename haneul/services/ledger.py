"""Writing the ledger: one thread, one transaction for whatever has gathered, retried until done.

A record waits in its page of `flights` until its commit; a database that cannot be written to
fills those pages and then refuses new requests, but loses none.
"""

from __future__ import annotations

import asyncio
import queue
import threading

import msgspec
from msgspec import Struct
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError

from haneul.base.log import logger
from haneul.services.flights import Flight, Flights
from haneul.store import ledger as queries
from haneul.store.database import Database
from haneul.store.ledger import RequestRow

BATCH_MAX = 500
WAITING_MAX = 10_000  # records that may wait for the database before requests are refused
RETRY_S = 1.0
GATHER_S = 0.02  # a commit costs as much for a hundred records as for one
REFUSED = (DataError, IntegrityError, OverflowError, ValueError)  # at a row, not at the database
log = logger("ledger")


class Entry(Struct, frozen=True, eq=False):
    """A record to commit, the page that holds it until then, and who waits for the commit."""

    row: RequestRow | None = None
    flight: Flight | None = None
    done: asyncio.Future[None] | None = None
    is_last: bool = False


class Ledger:
    """The one writer of terminal records."""

    def __init__(self, database: Database, *, gather_s: float = GATHER_S) -> None:
        self._database = database
        self._gather_s = gather_s
        self._waiting: queue.SimpleQueue[Entry] = queue.SimpleQueue()
        self.is_failing = False  # the last commit was not taken
        self._closing = threading.Event()
        self._is_awaited = threading.Event()  # somebody waits for a commit
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Records that the database has yet to take."""
        return self._waiting.qsize()

    @property
    def is_behind(self) -> bool:
        """Whether so many records wait that no request should be taken."""
        return self._waiting.qsize() > WAITING_MAX

    def append(self, row: RequestRow, flight: Flight | None = None) -> None:
        """Takes a terminal record; returns at once. The flight's page is freed at the commit."""
        self._waiting.put(Entry(row, flight))

    async def flush(self, *, is_last: bool = False) -> None:
        """Returns when everything appended so far is committed."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.put(Entry(done=done, is_last=is_last))
        self._is_awaited.set()
        await done

    async def aclose(self) -> None:
        """Commits what is waiting and ends the thread.

        What the database does not take now stays in its pages, for the next start.
        """
        self._closing.set()
        await self.flush(is_last=True)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            batch = self._gather()
            is_last = any(entry.is_last for entry in batch)
            if not self._commit([entry.row for entry in batch if entry.row is not None]):
                batch = [Entry(None, None, entry.done, entry.is_last) for entry in batch]
            self._loop.call_soon_threadsafe(_committed, batch)

    def _gather(self) -> list[Entry]:
        """Waits for one entry, lets others come for a moment, and takes all that are there."""
        batch = [self._waiting.get()]
        self._is_awaited.wait(self._gather_s)
        self._is_awaited.clear()
        try:
            while len(batch) < BATCH_MAX:
                batch.append(self._waiting.get_nowait())
        except queue.Empty:
            pass
        return batch

    def _commit(self, rows: list[RequestRow]) -> bool:
        """Whether the records are in; False only when the cloud is closing and they are not."""
        while rows:
            try:
                write(self._database, rows)
                self.is_failing = False
                return True
            except Exception:  # whatever it was, this thread must go on
                log.exception("ledger_write_failed", rows=len(rows))
                self.is_failing = True
            if self._closing.wait(RETRY_S):
                return False
        return True


def write(database: Database, rows: list[RequestRow]) -> None:
    """Adds the records in one transaction.

    One that the database will never take is logged whole and left out: it must not keep the
    others from being written.
    """
    try:
        _append(database, rows)
    except REFUSED as cause:
        if len(rows) == 1:
            row = msgspec.structs.asdict(rows[0])
            log.error("ledger_row_refused", row=row, reason=str(cause)[:300])
            return
        for row_alone in rows:
            write(database, [row_alone])


def _append(database: Database, rows: list[RequestRow]) -> None:
    """Takes the records for new; only where one is not, those that are there are looked for.

    A look before every commit would cost as much as the commit, and a statement of its own for
    each number of records, which the driver keeps.
    """
    try:
        database.run(queries.append, rows)
    except IntegrityError:
        database.run(append_missing, rows)


def append_missing(connection: Connection, rows: list[RequestRow]) -> None:
    """Adds the records that are not there yet: a commit whose answer was lost is not repeated."""
    present = queries.known(connection, [row.id for row in rows])
    if fresh := [row for row in rows if row.id not in present]:
        queries.append(connection, fresh)


def recover(database: Database, flights: Flights) -> int:
    """Writes the records that a killed process left in its pages; returns how many."""
    left = flights.left()
    if left:
        rows = {row.id: row for _, row in left}  # a request can hold two pages for a moment
        write(database, list(rows.values()))
        for at, _ in left:
            flights.release(at)
    return len(left)


def _committed(batch: list[Entry]) -> None:
    for entry in batch:
        if entry.flight is not None:
            entry.flight.free()
        if entry.done is not None and not entry.done.done():
            entry.done.set_result(None)
