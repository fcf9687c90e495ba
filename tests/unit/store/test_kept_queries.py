"""What clients find again, on both databases: responses, files, batches."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError

from haneul.base.errors import Conflict
from haneul.services.flights import Counters, Flights, Opened
from haneul.services.ledger import append_missing, recover
from haneul.services.prices import Rates
from haneul.store import batches, files, ledger, responses
from haneul.store.batches import BatchRow, Counts, LineRow
from haneul.store.files import FileRow
from haneul.store.ledger import RequestRow
from haneul.store.responses import ResponseRow

ROOM = 1000


def response(name, *, key="k", previous=None, size=100, at=1):
    return ResponseRow(
        id=name,
        key_id=key,
        previous_id=previous,
        input="[]",
        response="{}",
        bytes=size,
        created_us=at,
        used_us=at,
    )


def batch(name, *, key="k", state="in_progress", **facts):
    usual = {"endpoint": "/v1/embeddings", "input_file_id": "file_1", "created_us": 1}
    return BatchRow(id=name, key_id=key, state=state, expires_us=9, **usual, **facts)


def test_a_chain_goes_back_as_far_as_it_is_there_and_for_its_key_alone(database):
    for at, (name, previous) in enumerate([("a", None), ("b", "a"), ("c", "b"), ("x", "a")]):
        database.run(responses.put, response(name, previous=previous, at=at + 1), [], ROOM)
    chain = database.run(responses.chain, "k", "c")
    assert [link.id for link in chain] == ["a", "b", "c"]
    assert database.run(responses.chain, "other", "c") == []
    assert database.run(responses.several, ["a", "c", "none"]).keys() == {"a", "c"}
    assert database.run(responses.remove, "other", "b") is False
    assert database.run(responses.remove, "k", "b") is True
    assert [link.id for link in database.run(responses.chain, "k", "c")] == ["c"]
    assert database.run(responses.get, "k", "b") is None


def test_the_longest_unused_make_room_and_time_takes_the_rest(database):
    for at, name in enumerate("abcd"):
        database.run(responses.put, response(name, size=300, at=at + 1), [], ROOM)
    database.run(responses.put, response("other", key="o", at=1), [], ROOM)
    there = database.run(responses.several, [*"abcd", "other"])
    assert there.keys() == {"b", "c", "d", "other"}
    database.run(responses.put, response("e", size=300, at=9), ["b"], ROOM)
    assert database.run(responses.several, list("abcde")).keys() == {"b", "d", "e"}
    assert database.run(responses.remove_unused, 9) == 2
    assert database.run(responses.several, [*"bde", "other"]).keys() == {"b", "e"}


def test_files_are_listed_in_pages_by_key_and_purpose(database):
    for number in range(5):
        purpose = "batch_output" if number == 3 else "batch"
        row = FileRow(
            id=f"file_{number}",
            key_id="k",
            purpose=purpose,
            filename="f",
            bytes=10,
            created_us=number,
            expires_us=number * 10,
        )
        database.run(files.put, row)

    def listed(**wanted):
        usual = {"purpose": None, "after": None, "limit": 9, "is_newest_first": True}
        rows = database.run(lambda c: files.listed(c, "k", **{**usual, **wanted}))
        return [row.id[-1] for row in rows]

    assert listed() == list("43210")
    assert listed(is_newest_first=False, limit=2) == list("01")
    assert listed(after="file_3") == list("210")
    assert listed(purpose="batch_output") == ["3"]
    assert database.run(files.held_bytes, "k") == 50
    assert database.run(files.held_bytes, "nobody") == 0
    assert database.run(files.expired, 15) == ["file_0", "file_1"]
    database.run(files.remove, "file_0")
    assert database.run(files.known, ["file_0", "file_1"]) == {"file_1"}


def test_a_batch_counts_its_lines_and_forgets_them_when_it_ends(database):
    database.run(batches.put, batch("b1"))
    database.run(batches.put, batch("b2", state="completed", ended_us=5))
    for number, status in ((3, 200), (1, 400), (2, 200)):
        line = LineRow(
            batch_id="b1", number=number, status=status, result="{}", completion_tokens=7
        )
        database.run(batches.keep_line, line)
    with pytest.raises(IntegrityError):
        database.run(batches.keep_line, line)
    assert database.run(batches.counts, "b1") == Counts(2, 1, 0, 0, 21, 0)
    assert database.run(batches.counts, "b2") == Counts(0, 0, 0, 0, 0, 0)
    assert database.run(batches.done, "b1") == {1, 2, 3}
    some = database.run(lambda c: batches.results(c, "b1", after=1, limit=1))
    assert [row.number for row in some] == [2]
    assert [row.id for row in database.run(batches.in_states, frozenset({"in_progress"}))] == ["b1"]
    assert database.run(batches.uses, "file_1", {"in_progress"})
    assert not database.run(batches.uses, "file_1", {"validating"})
    assert database.run(batches.open_count, "k", {"in_progress"}) == 1
    assert not database.run(batches.move, "b2", ["in_progress"], {"state": "cancelling"})
    out = FileRow(id="o", key_id="k", purpose="p", filename="f", bytes=1, created_us=1)
    for _ in range(2):  # again, as after a kill
        database.run(batches.finish, "b1", [out], {"state": "completed", "ended_us": 8})
    assert database.run(batches.done, "b1") == set()
    assert database.run(batches.of_id, "b1").state == "completed"
    with pytest.raises(Conflict):
        database.run(batches.keep_line, line)
    listed = database.run(lambda c: batches.listed(c, "k", after="b2", limit=5))
    assert [row.id for row in listed] == ["b1"]
    assert database.run(batches.remove_ended, 6) == 1


def test_a_record_committed_with_its_result_outlives_the_page_that_a_kill_left(database, tmp_path):
    """The kill falls between the commit of a batch's line and the freeing of its page."""
    row = RequestRow(
        id="req_1",
        key_id="k",
        route="batch.chat",
        state="aborted",
        status=499,
        currency="USD",
        received_us=1,
        finished_us=1,
    )
    with Flights(tmp_path / "flights", 4) as flights:
        flight = flights.open(Opened(row=row, rates=Rates(), hour_nano=0))
        assert flight.counters == Counters()
        done = {"state": "done", "status": 200, "cost_nano": 668, "share_millionths": 500_000}
        committed = RequestRow(**{**{f: getattr(row, f) for f in row.__struct_fields__}, **done})
        database.run(append_missing, [committed])
    with Flights(tmp_path / "flights", 4) as flights:
        assert recover(database, flights) == 1
        assert flights.in_flight == 0
    found = database.run(lambda c: ledger.recent(c, key_id="k", limit=9))
    assert found == [committed]
