"""Opening a database, and reading and writing it while others do."""

from __future__ import annotations

import asyncio
import time

import pytest
from sqlalchemy import text

from haneul.base.errors import CommandError, Unavailable
from haneul.store import audit
from haneul.store.database import open_database


def count(connection):
    return connection.execute(text("SELECT count(*) FROM audit")).scalar()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://x", "postgresql://"),
        ("sqlite:///x.db", "postgresql://"),
        ("nonsense", "postgresql://"),
        ("postgresql://[", "cannot be opened|Invalid"),
        ("postgresql:///none?host=/nowhere", "cannot be opened"),
    ],
)
def test_an_address_of_no_use_is_refused_in_words(tmp_path, url, said):
    with pytest.raises(CommandError, match=said):
        open_database(url, tmp_path)


def test_a_file_that_is_no_database_is_refused_in_words(tmp_path):
    (tmp_path / "haneul.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(CommandError, match="cannot be opened: file is not a database"):
        open_database("", tmp_path)


def test_the_home_is_made_for_its_owner_alone(tmp_path):
    open_database("", tmp_path / "new" / "home").close()
    assert (tmp_path / "new" / "home").stat().st_mode & 0o077 == 0


async def test_reading_waits_for_no_writer(database):
    with database.engine.connect() as writer, writer.begin():
        audit.note(writer, "me", "does", "this")
        began = time.monotonic()
        assert await database.ask(count) == 0
        assert time.monotonic() - began < 2
    assert await database.ask(count) == 1


async def test_reading_does_not_stand_behind_writers_that_wait_for_a_lock(tmp_path):
    opened = open_database("", tmp_path)
    with opened.engine.connect() as other, other.begin():
        writing = [
            asyncio.create_task(opened.call(audit.note, "me", "does", str(number)))
            for number in range(5)
        ]
        await asyncio.sleep(0.1)
        began = time.monotonic()
        assert await opened.ask(count) == 0
        assert time.monotonic() - began < 2
        assert not any(task.done() for task in writing)
    await asyncio.gather(*writing)
    assert await opened.ask(count) == 5
    opened.close()


async def test_work_that_fails_changes_nothing(database):
    def half(connection):
        audit.note(connection, "me", "does", "this")
        raise LookupError

    with pytest.raises(LookupError):
        await database.call(half)
    assert await database.ask(count) == 0


async def test_writers_take_turns(database):
    def add(connection, number):
        found = count(connection)
        audit.note(connection, "me", "does", str(number))
        return found

    seen = await asyncio.gather(*(database.call(add, number) for number in range(20)))
    assert len(seen) == 20
    assert await database.ask(count) == 20


async def test_a_database_that_is_gone_is_unavailable_for_a_while(tmp_path):
    opened = open_database("", tmp_path)
    opened.engine.dispose()
    (tmp_path / "haneul.db").unlink()
    (tmp_path / "haneul.db").mkdir()
    with pytest.raises(Unavailable, match="database does not answer") as caught:
        await opened.ask(count)
    assert caught.value.retry_after_s == 5
    opened.close()


def test_an_error_of_a_statement_shows_no_values(tmp_path):
    opened = open_database("", tmp_path)
    with pytest.raises(Exception, match="hidden") as caught:
        opened.run(
            lambda connection: connection.execute(
                text("INSERT INTO audit (id, at_us) VALUES (:id, :at_us)"),
                {"id": "a-secret-value", "at_us": 1},
            )
        )
    assert "a-secret-value" not in str(caught.value)
    opened.close()
