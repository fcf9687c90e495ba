"""The schema in one go for an empty SQLite file: what the migrations make of one, written down.

Alembic takes 12 MB of memory and a third of a second, which a first start need not pay. `make
schema` writes newest.sql anew after a migration was added; a test holds it to the migrations.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import Connection, Engine

FILE = Path(__file__).parent / "newest.sql"
BETWEEN = "\n\n"  # statements
BRACKETS = ("BEGIN TRANSACTION;", "COMMIT;")


def fill(engine: Engine) -> None:
    """Makes the tables in an empty SQLite file; leaves every other database as it is."""
    if engine.dialect.name != "sqlite":
        return
    with engine.begin() as connection:  # the only write lock is held from its first statement on
        if not _is_empty(connection):
            return
        for statement in FILE.read_text().split(BETWEEN):
            connection.exec_driver_sql(statement)


def written_down(database: sqlite3.Connection) -> str:
    """What `fill` reads, of a database that the migrations have made."""
    statements = [each for each in database.iterdump() if each not in BRACKETS]
    return BETWEEN.join(each.strip() for each in statements) + "\n"


def _is_empty(connection: Connection) -> bool:
    return not connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar()
