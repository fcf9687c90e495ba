"""A database of each kind: the same schema, the same queries, the same laws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from haneul.store.database import Database, open_database
from haneul.testing.postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest) -> Callable[[], str]:
    """The URL of an empty database; "" is SQLite in the home."""
    if request.param == "sqlite":
        return str
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database


@pytest.fixture
def database(new_url: Callable[[], str], tmp_path: Path) -> Iterator[Database]:
    """An open one with the newest schema."""
    opened = open_database(new_url(), tmp_path)
    yield opened
    opened.close()
