"""Opening the database, and running work on it away from the event loop.

SQLite in write-ahead mode with full synchronisation, or PostgreSQL by URL (`[postgres]` extra).
Migrations run at opening; a database newer than this program is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError

from haneul.base.errors import CommandError
from haneul.store.migrate import migrate

T = TypeVar("T")
BUSY_MS = 10_000  # how long SQLite waits for another writer


class Database:
    """An open database: `run` inside a thread or command, `call` from the event loop."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="store")

    def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """work(connection, *arguments) in one transaction; blocks."""
        with self.engine.begin() as connection:
            return work(connection, *arguments)

    async def call(self, work: Callable[..., T], *arguments: Any) -> T:
        """The same from the event loop, in a thread of the store's own."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self.run, work, *arguments)

    def close(self) -> None:
        """Waits for running work and closes every connection."""
        self._threads.shutdown()
        self.engine.dispose()


def open_database(url: str, home: Path) -> Database:
    """The migrated database at the URL, or the SQLite file in home. Raises CommandError."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    is_sqlite = not url
    engine = sqlalchemy.create_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1) or f"sqlite:///{home}/haneul.db",
        pool_pre_ping=not is_sqlite,
    )
    if is_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_immediate)
    try:
        migrate(engine)
    except SQLAlchemyError as cause:
        raise CommandError(f"the database cannot be opened: {_reason(cause)}") from cause
    return Database(engine)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin in _begin_immediate, not in the driver
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_MS}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Connection) -> None:
    """Taking the write lock at once avoids the upgrade of a read lock, which cannot wait."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _reason(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0]
