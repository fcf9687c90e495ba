"""Who changed what: found by every filter, never changed, gone only when it is long past."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError

from haneul.base.units import now_us
from haneul.store import audit, schema
from haneul.store.audit import KEPT_DAYS, Actor
from haneul.store.keys import KeyRow

DAY_US = 86_400_000_000


def old(database, days, name):
    """An act that was noted so many days ago."""
    row = {"id": name, "at_us": now_us() - days * DAY_US, "actor": "a", "action": "x.y"}
    row["subject"] = name
    database.run(lambda connection: connection.execute(insert(schema.audit), [row]))


def subjects(database, **asked):
    return [row.subject for row in database.run(lambda c: audit.find(c, **asked))]


def test_acts_are_found_by_each_of_their_facts(database):
    ada, key = Actor("cli ada", "terminal"), Actor("key K", "10.0.0.9", "req_1")
    database.run(audit.note, ada, "key.create", "k1")
    database.run(audit.note, key, "key.revoke", "k2")
    database.run(audit.note, "cloud", "keyring.open", "k3")
    assert subjects(database) == ["k3", "k2", "k1"]
    assert subjects(database, action="key") == ["k2", "k1"], "not what only begins alike"
    assert subjects(database, action="key.create") == ["k1"]
    assert subjects(database, action="key%") == []
    assert subjects(database, actor="cli ada") == ["k1"]
    assert subjects(database, subject="k2") == ["k2"]
    assert subjects(database, request_id="req_1") == ["k2"]
    assert subjects(database, limit=1) == ["k3"]
    (newest, *_) = database.run(audit.recent)
    assert subjects(database, until_us=newest.at_us) == ["k2", "k1"]
    assert subjects(database, since_us=newest.at_us) == ["k3"]
    assert (newest.actor, newest.origin, newest.request_id) == ("cloud", None, None)


def test_before_and_after_hold_no_secret(database):
    row = KeyRow(id="k", name="n", hash=b"CANARY", scopes="[]", created_us=1)
    link = {"url": "https://me:CANARY@host/v1", "password": "CANARY", "key": "CANARY", "n": None}
    database.run(
        lambda c: audit.note(c, "a", "b", "c", "at http://u:CANARY@h", before=row, after=link)
    )
    (noted,) = database.run(audit.recent)
    assert noted.detail == "at http://h"
    assert (
        noted.before == '{"id":"k","name":"n","scopes":"[]","created_us":1,"tenant_id":"default"}'
    )
    assert noted.after == '{"url":"https://host/v1"}'
    assert "CANARY" not in repr(noted)


def test_a_side_that_is_too_long_is_cut_and_is_json_still(database):
    database.run(lambda c: audit.note(c, "a", "b", "c", after={"text": "x" * 100_000}))
    (noted,) = database.run(audit.recent)
    assert noted.after.startswith('{"cut":"')
    assert noted.after.endswith('"}')
    assert len(noted.after) < 70_000


def test_only_what_is_long_past_is_forgotten_and_that_is_an_act_itself(database):
    for days in (1, KEPT_DAYS - 1, KEPT_DAYS + 1, 400):
        old(database, days, f"d{days}")
    forget = lambda before_us: database.run(lambda c: audit.forget(c, before_us=before_us))  # noqa: E731
    assert forget(now_us() - 300 * DAY_US) == 1
    assert forget(now_us()) == 1, "the last ninety days stay, whatever is asked"
    assert forget(now_us()) == 0
    assert sorted(subjects(database)) == ["audit", "audit", "d1", f"d{KEPT_DAYS - 1}"]
    (note, _) = database.run(lambda c: audit.find(c, action="audit.forget"))
    assert '"rows":1' in note.before


@pytest.mark.parametrize("statement", ["DELETE FROM audit", "UPDATE audit SET actor = 'b'"])
def test_the_database_itself_keeps_what_is_young(database, statement):
    old(database, KEPT_DAYS - 1, "young")
    with pytest.raises(DBAPIError, match="audit is append-only"):
        database.run(lambda connection: connection.execute(text(statement)))


def test_not_even_an_old_act_is_changed(database):
    old(database, KEPT_DAYS + 9, "old")
    with pytest.raises(DBAPIError, match="audit is append-only"):
        database.run(lambda connection: connection.execute(text("UPDATE audit SET actor = 'b'")))
