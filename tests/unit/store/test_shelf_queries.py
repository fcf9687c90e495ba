"""What the hub offers and who took it, on each kind of database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec

from haneul.store import revisions, shelf
from haneul.store.revisions import RevisionRow
from haneul.store.shelf import PullRow

ROW = RevisionRow(
    model="m", id="r1", manifest="{}", digest="d", bytes=1 << 40, source="s", created_us=1
)


def test_states_are_read_without_their_files_the_newest_first(database):
    newer = msgspec.structs.replace(ROW, id="r2", created_us=2)
    other = msgspec.structs.replace(ROW, model="n", licence="mit")
    for row in (ROW, newer, other):
        database.run(revisions.add, row)
    database.run(revisions.withdraw, "m", "r1", 9, "wrong")
    assert [state.id for state in database.run(shelf.states, "m")] == ["r2", "r1"]
    assert database.run(shelf.states, "m")[1].withdrawn_us == 9
    assert [(state.model, state.licence) for state in database.run(shelf.states)] == [
        *(("m", None), ("m", None), ("n", "mit"))
    ]
    assert database.run(shelf.models) == ["m", "n"]


def test_pulls_are_added_up_by_model_key_and_day(database):
    row = PullRow(model="m", key_id="k", day=3, pulls=1, bytes=1 << 40)
    database.run(shelf.count, [row, msgspec.structs.replace(row, day=4)])
    database.run(shelf.count, [row, msgspec.structs.replace(row, model="n", pulls=5)])
    assert database.run(shelf.pulls) == {"m": 3, "n": 5}
    assert [(one.day, one.pulls, one.bytes) for one in database.run(shelf.pulls_of, "m")] == [
        *((4, 1, 1 << 40), (3, 2, 1 << 41))
    ]
    assert database.run(shelf.pulls_of, "other") == []


def test_several_who_count_at_once_lose_nothing(database):
    row = PullRow(model="m", key_id="k", day=3, pulls=1, bytes=10)
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(database.run, shelf.count, [row]) for _ in range(40)]:
            done.result()
    (held,) = database.run(shelf.every_pull)
    assert (held.pulls, held.bytes) == (40, 400)
