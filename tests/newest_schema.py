"""Prints haneul/store/newest.sql: what all migrations together make of an empty SQLite file."""

from __future__ import annotations

import sqlite3

import sqlalchemy

from haneul.store import fresh
from haneul.store.migrate import migrate


def migrated() -> str:
    """The statements, as `fresh.fill` reads them."""
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.StaticPool)
    migrate(engine)
    with engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        assert isinstance(driver, sqlite3.Connection)
        found = fresh.written_down(driver)
    engine.dispose()
    return found


if __name__ == "__main__":
    print(migrated(), end="")
