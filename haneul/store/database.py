"""Opening the database, and running work on it away from the event loop.

SQLite in write-ahead mode with full synchronisation, or PostgreSQL by URL (`[postgres]` extra).
Migrations run at opening; a database newer than this program is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from haneul.base.errors import AlreadyRunning, CommandError, Unavailable
from haneul.store import fresh
from haneul.store.migrate import migrate

T = TypeVar("T")
BUSY_MS = 10_000  # how long SQLite waits for another writer
CACHE_KIB = 512  # of each connection; what is beyond it the system's cache of files has
READING = "haneul_reading"
AWAY = (OperationalError, InterfaceError, PoolTimeoutError)  # locked, full or unreachable


class Database:
    """An open database: `run` inside a thread or command, `call` and `ask` from the event loop."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # Apart, so that nobody who reads stands behind somebody who waits for a lock.
        self._writing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-write")
        self._reading = ThreadPoolExecutor(max_workers=2, thread_name_prefix="store-read")
        self._held: Connection | None = None

    def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """work(connection, *arguments) in one transaction; blocks."""
        with self.engine.begin() as connection:
            return work(connection, *arguments)

    async def call(self, work: Callable[..., T], *arguments: Any) -> T:
        """The same from the event loop, in a thread of the store's own. Raises Unavailable."""
        return await _in_thread(self._writing, self.run, work, *arguments)

    async def ask(self, work: Callable[..., T], *arguments: Any) -> T:
        """The same for work that only reads, which waits for no writer. Raises Unavailable."""
        return await _in_thread(self._reading, self._read, work, *arguments)

    def _read(self, work: Callable[..., T], *arguments: Any) -> T:
        with (
            self.engine.connect() as connection,
            connection.execution_options(**{READING: True}).begin(),
        ):
            return work(connection, *arguments)

    def hold(self) -> None:
        """Makes this process the only cloud on the store until it ends. Raises AlreadyRunning.

        Budgets are counted in the process, so two of them would each spend the whole. A SQLite
        store is held by its home's own lock.
        """
        if self.engine.dialect.name == "postgresql":
            self._held = self.engine.connect()
            if not self._held.execute(text("SELECT pg_try_advisory_lock(8421)")).scalar_one():
                raise AlreadyRunning("another cloud is running on this database already")
            self._held.commit()

    def close(self) -> None:
        """Waits for running work and closes every connection."""
        if self._held is not None:
            self._held.close()
        self._writing.shutdown()
        self._reading.shutdown()
        self.engine.dispose()


async def _in_thread(threads: Executor, work: Callable[..., T], *arguments: Any) -> T:
    loop = asyncio.get_running_loop()
    try:
        return await loop.run_in_executor(threads, work, *arguments)
    except AWAY as cause:
        message = "The database does not answer at the moment."
        raise Unavailable(message, retry_after_s=5) from cause


def open_database(url: str, home: Path) -> Database:
    """The migrated database at the URL, or the SQLite file in home. Raises CommandError."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        engine = _engine(url, home)
    except ModuleNotFoundError as cause:
        raise CommandError("for PostgreSQL install 'haneul[postgres]'") from cause
    except SQLAlchemyError as cause:
        raise CommandError(f"database_url cannot be used: {_reason(cause)}") from cause
    try:
        fresh.fill(engine)
        migrate(engine)
    except SQLAlchemyError as cause:
        engine.dispose()
        raise CommandError(f"the database cannot be opened: {_reason(cause)}") from cause
    except CommandError:
        engine.dispose()
        raise
    return Database(engine)


def _engine(url: str, home: Path) -> Engine:
    """Errors of its statements show no values: they would end in logs."""
    if not url:
        engine = sqlalchemy.create_engine(f"sqlite:///{home}/haneul.db", hide_parameters=True)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin)
        return engine
    if not url.startswith("postgresql://"):
        raise CommandError("database_url is empty for SQLite in home, or postgresql://…")
    url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    return sqlalchemy.create_engine(url, pool_pre_ping=True, hide_parameters=True)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin in _begin, not in the driver
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "secure_delete=ON",  # what clients delete is overwritten
        f"busy_timeout={BUSY_MS}",
        f"cache_size=-{CACHE_KIB}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    """Taking the write lock at once avoids the upgrade of a read lock, which cannot wait."""
    is_reading = connection.get_execution_options().get(READING, False)
    connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")


def _reason(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0]
