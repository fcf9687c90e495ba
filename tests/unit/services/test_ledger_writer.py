"""The one writer: what it is given is written once, whatever the database does meanwhile."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest
import pytest_asyncio
from sqlalchemy import text

from haneul.base.ids import new_id
from haneul.services import ledger as ledger_service
from haneul.services.flights import Flights, Opened
from haneul.services.ledger import Ledger, recover
from haneul.services.prices import Rates
from haneul.store import ledger as queries
from haneul.store.database import open_database
from haneul.store.ledger import RequestRow


@pytest.fixture
def database(tmp_path):
    opened = open_database("", tmp_path)
    yield opened
    opened.close()


@pytest_asyncio.fixture
async def ledger(database):
    writer = Ledger(database)
    yield writer
    await writer.aclose()


def row(**fields):
    known = {
        "id": new_id("req"),
        "key_id": "k",
        "route": "chat",
        "state": "done",
        "status": 200,
        "currency": "USD",
        "received_us": 1,
        "finished_us": 2,
    }
    return RequestRow(**{**known, **fields})


def ids(database):
    return {
        found.id for found in database.run(lambda c: queries.recent(c, key_id=None, limit=9999))
    }


def refuse_writing(database):
    """Every INSERT fails as on a full disk, until `allow_writing`."""
    database.run(lambda c: c.execute(text("ALTER TABLE request RENAME TO away")))


def allow_writing(database):
    database.run(lambda c: c.execute(text("ALTER TABLE away RENAME TO request")))


async def test_everything_appended_is_there_after_a_flush(database, ledger):
    rows = [row() for _ in range(1200)]
    for one in rows:
        ledger.append(one)
    await ledger.flush()
    assert ids(database) == {one.id for one in rows}


async def test_a_page_is_freed_only_when_its_record_is_committed(database, ledger, tmp_path):
    with Flights(tmp_path / "flights", 4) as table:
        refuse_writing(database)
        flight = table.open(Opened(row=row(), rates=Rates(), hour_nano=0))
        flight.finish(flight.opened.row)
        ledger.append(flight.opened.row, flight)
        await asyncio.sleep(0.2)
        assert table.in_flight == 1
        allow_writing(database)
        await ledger.flush()
        assert table.in_flight == 0
        assert ids(database) == {flight.opened.row.id}


async def test_a_record_appended_twice_is_written_once(database, ledger):
    one = row()
    for _ in range(3):
        ledger.append(one)
        await ledger.flush()
    ledger.append(msgspec.structs.replace(one, cost_nano=9))
    await ledger.flush()
    assert database.run(queries.find, one.id) == one


@pytest.mark.parametrize(
    "poison",
    [
        {"prompt_tokens": 1 << 70},
        {"end_user": "\ud800"},
        {"route": None},
    ],
    ids=["astronomic", "half-a-surrogate", "null"],
)
async def test_a_record_that_can_never_be_written_keeps_no_other_from_it(
    database, ledger, caplog, poison
):
    before, bad, after = row(), row(**poison), row()
    for one in (before, bad, after):
        ledger.append(one)
    await asyncio.wait_for(ledger.flush(), 10)
    assert ids(database) == {before.id, after.id}
    (said,) = [record for record in caplog.records if record.message == "ledger_row_refused"]
    assert said.fields["row"]["id"] == bad.id
    last = row()
    ledger.append(last)
    await ledger.flush()
    assert last.id in ids(database)


async def test_a_writer_that_is_closed_while_the_database_is_away_ends(database, tmp_path):
    with Flights(tmp_path / "flights", 4) as table:
        ledger = Ledger(database)
        refuse_writing(database)
        flight = table.open(Opened(row=row(), rates=Rates(), hour_nano=0))
        flight.finish(flight.opened.row)
        ledger.append(flight.opened.row, flight)
        began = time.monotonic()
        await asyncio.wait_for(ledger.aclose(), 20)
        assert time.monotonic() - began < 10
        assert table.in_flight == 1
        allow_writing(database)
        assert recover(database, table) == 1
        assert table.in_flight == 0
        assert ids(database) == {flight.opened.row.id}


async def test_recovering_twice_writes_once(database, tmp_path):
    with Flights(tmp_path / "flights", 4) as table:
        for _ in range(3):
            table.open(Opened(row=row(state="aborted"), rates=Rates(), hour_nano=0))
        before = bytes(table.memory)
        assert recover(database, table) == 3
        table.memory[:] = before  # as if killed after the commit and before the pages were freed
        assert recover(database, table) == 3
        assert recover(database, table) == 0
    assert len(ids(database)) == 3


async def test_a_request_killed_between_two_pages_has_one_record(database, tmp_path):
    with Flights(tmp_path / "flights", 4) as table:
        one = row(state="aborted")
        for engine in ("first", "second"):
            opened = Opened(
                row=msgspec.structs.replace(one, engine=engine), rates=Rates(), hour_nano=0
            )
            table.open(opened)
        assert recover(database, table) == 2
    assert ids(database) == {one.id}


async def test_a_writer_far_behind_says_so(database):
    refuse_writing(database)
    ledger = Ledger(database)
    assert not ledger.is_behind
    for _ in range(ledger_service.WAITING_MAX + ledger_service.BATCH_MAX + 2):
        ledger.append(row())
    assert ledger.is_behind
    allow_writing(database)
    await ledger.flush()
    assert not ledger.is_behind
    await ledger.aclose()
