"""Revisions, aliases and family trees, on each kind of database."""

from __future__ import annotations

import msgspec

from haneul.base.ids import new_id
from haneul.store import revisions
from haneul.store.revisions import AliasRow, DerivationRow, QualityRow, RevisionRow

ROW = RevisionRow(
    model="m", id="r1", manifest="{}", digest="d", bytes=1 << 40, source="s", created_us=1
)


def test_a_revision_is_added_once_and_found_by_each_of_its_names(database):
    newer = msgspec.structs.replace(ROW, id="r2", digest="e", created_us=2)
    other = msgspec.structs.replace(ROW, model="n")
    assert [database.run(revisions.add, row) for row in (ROW, newer, other, ROW)] == [
        *(True, True, True, False)
    ]
    assert database.run(revisions.of_model, "m") == [newer, ROW]
    assert {row.model for row in database.run(revisions.of_id, "r1")} == {"m", "n"}
    assert database.run(revisions.of_digest, "e") == [newer]
    assert len(database.run(revisions.every)) == 3


def test_a_withdrawn_revision_stays_with_its_reason(database):
    database.run(revisions.add, ROW)
    assert database.run(revisions.withdraw, "m", "r1", 9, "wrong") is True
    assert database.run(revisions.withdraw, "m", "r9", 9, "wrong") is False
    held = database.run(revisions.get, "m", "r1")
    assert (held.withdrawn_us, held.reason) == (9, "wrong")


def test_an_alias_is_where_it_was_moved_last(database):
    def move(alias, revision, at):
        row = AliasRow(
            id=new_id("mov"),
            model="m",
            alias=alias,
            revision=revision,
            actor="me",
            created_us=at,
        )
        database.run(revisions.move, row)

    move("prod", "r1", 1)
    move("canary", "r2", 2)
    move("prod", "r2", 3)
    assert database.run(revisions.aliases, "m") == {"prod": "r2", "canary": "r2"}
    move("canary", None, 4)
    assert database.run(revisions.aliases, "m") == {"prod": "r2"}
    assert [row.revision for row in database.run(revisions.moves, "m")] == [None, "r2", "r2", "r1"]


def test_a_family_is_found_both_ways_with_its_measurements(database):
    edge = DerivationRow(
        id=new_id("drv"),
        child="c",
        parent="p",
        relation="quantized",
        recipe="{}",
        tools="{}",
        created_us=1,
    )
    database.run(revisions.derive, edge)
    assert database.run(revisions.parents, "c") == database.run(revisions.children, "p") == [edge]
    assert database.run(revisions.parents, "p") == database.run(revisions.children, "c") == []
    rows = [
        QualityRow(id=new_id("qlt"), child="c", parent="p", suite="s", measures="{}", created_us=n)
        for n in (1, 2)
    ]
    for row in rows:
        database.run(revisions.measure, row)
    assert database.run(revisions.measures, "c") == rows[::-1]
