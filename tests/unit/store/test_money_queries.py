"""Tenants, invoices and kept answers, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.exc import IntegrityError

from haneul.base.errors import Conflict
from haneul.base.ids import new_id
from haneul.services import invoices as service
from haneul.services import tenants as tenants_service
from haneul.store import invoices, ledger, replays, tenants
from haneul.store.invoices import InvoiceRow, LineRow
from haneul.store.ledger import RequestRow
from haneul.store.replays import ReplayRow

OCTOBER_US = 1_790_812_800_000_000
LATER_US = 1_800_000_000_000_000
ODD = (1 << 53) + 1  # beyond what a float holds


def row(**fields):
    known = {
        "id": new_id("req"),
        "key_id": "k1",
        "tenant_id": "acme",
        "route": "chat",
        "state": "done",
        "status": 200,
        "currency": "USD",
        "received_us": OCTOBER_US,
        "finished_us": LATER_US,
    }
    return RequestRow(**{**known, **fields})


@pytest.fixture
def acme(database):
    return database.run(lambda c: tenants_service.create(c, "acme", "Acme", actor="test"))


def issue(database, month="2026-10"):
    return database.run(lambda c: service.issue(c, "acme", month, at_us=LATER_US, actor="test"))


def test_sums_of_an_invoice_are_exact_and_hold_only_what_is_missing(database, acme):
    database.run(ledger.append, [row(cost_nano=ODD), row(cost_nano=ODD, price_id="p")])
    database.run(ledger.append, [row(cost_nano=5, tenant_id="default")])
    (first,) = issue(database)
    assert first.head.total_nano == 2 * ODD
    assert [line.price_id for line in first.lines].count(None) == 1
    database.run(ledger.append, [row(cost_nano=7, prompt_tokens=3)])
    (second,) = issue(database)
    (line,) = second.lines
    assert (line.cost_nano, line.requests, line.prompt_tokens) == (7, 1, 3)
    with pytest.raises(Conflict):
        issue(database)
    assert [head.number for head in database.run(invoices.every, "acme")] == [1, 2]
    assert database.run(invoices.lines, second.head.id) == [line]


def test_two_who_issue_at_once_do_not_invoice_twice_nor_leave_a_gap(database, acme):
    database.run(ledger.append, [row(cost_nano=7)])

    def one(_):
        try:
            return len(issue(database))
        except Conflict:
            return 0

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(one, range(8))) == 1
    assert [head.number for head in database.run(invoices.every)] == [1]


def test_a_number_is_given_once(database, acme):
    def add(number):
        head = InvoiceRow(
            id=new_id("inv"),
            tenant_id="acme",
            number=number,
            kind="invoice",
            month="2026-10",
            currency="USD",
            total_nano=0,
            issued_us=1,
        )
        line = LineRow(id=new_id("ivl"), invoice_id=head.id, position=1)
        database.run(lambda c: invoices.add(c, head, [line]))

    add(1)
    with pytest.raises(IntegrityError):
        add(1)


def test_users_are_found_by_name_until_they_are_removed(database, acme):
    user = database.run(
        lambda c: tenants_service.add_user(c, "acme", "ada", "member", actor="test")
    )
    assert database.run(tenants.user_named, "acme", "ada") == user
    assert database.run(tenants.user_named, "default", user.id) is None
    database.run(lambda c: tenants.change_user(c, user.id, role="viewer"))
    assert database.run(tenants.user, user.id).role == "viewer"
    database.run(lambda c: tenants.change_user(c, user.id, removed_us=5))
    assert database.run(tenants.user_named, "acme", "ada") is None
    assert [each.removed_us for each in database.run(tenants.users, "acme")] == [5]
    again = database.run(
        lambda c: tenants_service.add_user(c, "acme", "ada", "member", actor="test")
    )
    assert again.id != user.id


def test_kept_answers_are_forgotten_by_age_and_by_size(database):
    def kept(name, created_us):
        return ReplayRow(
            key_id="k",
            name=name,
            digest=b"\0\xff",
            request_id="req",
            content_type="application/json",
            body=b"\0{}",
            bytes=30,
            created_us=created_us,
        )

    rows = [kept("old", 1), *(kept(f"n{number}", 10 + number) for number in range(5))]
    for each in [*rows, kept("n4", 15)]:
        database.run(replays.put, each)
    database.run(lambda c: replays.prune(c, before_us=10, most_bytes=100))

    def left(since_us):
        found = [
            database.run(lambda c, name=each.name: replays.get(c, "k", name, since_us=since_us))
            for each in rows
        ]
        return [each.name for each in found if each is not None]

    assert left(0) == ["n2", "n3", "n4"]
    assert left(13) == ["n3", "n4"]
    assert database.run(lambda c: replays.get(c, "k", "n3", since_us=0)).body == b"\0{}"
