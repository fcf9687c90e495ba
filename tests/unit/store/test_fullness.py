"""How far budgets are used: by the ledger's own sums, in the period that runs."""

from __future__ import annotations

from haneul.store import budgets, keys, spending
from haneul.store.budgets import BudgetRow
from haneul.store.fullness import budgets_used
from haneul.store.keys import KeyRow
from haneul.store.ledger import RequestRow

DAY = 20_000
FIRST = {"total": 0, "day": DAY, "week": DAY - 3, "month": DAY - 12}


def spend(database, nano, *, day=DAY, key="k", user=None, app=None):
    row = RequestRow(
        id="r",
        key_id=key,
        user_id=user,
        app=app,
        route="chat",
        state="done",
        status=200,
        currency="USD",
        cost_nano=nano,
        received_us=day * spending.DAY_US,
        finished_us=0,
    )
    database.run(spending.add, [row])


def budget(database, kind, owner, period, amount, *, measure="money"):
    row = BudgetRow(
        id=f"{kind} {owner} {period} {measure}",
        tenant_id="default",
        owner_kind=kind,
        owner_id=owner,
        measure=measure,
        period=period,
        amount=amount,
        created_us=1,
    )
    database.run(budgets.put, row)
    return row.id


def key(database, name, amount):
    row = KeyRow(id=name, name=name, hash=b"h", scopes="[]", budget_nano=amount, created_us=1)
    database.run(keys.add, row)


def used(database):
    return sorted(database.run(budgets_used, FIRST))


def test_each_budget_counts_what_was_spent_in_its_own_period(database):
    key(database, "k", 1000)
    spend(database, 100, user="u", app="a")
    spend(database, 300, day=DAY - 2, user="u", app="a")
    spend(database, 400, day=DAY - 10, user="u", app="a")
    budget(database, "user", "u", "day", 1000)
    budget(database, "tenant", "default", "week", 1000)
    budget(database, "app", "a", "month", 1000)
    assert used(database) == [("app", 0.8), ("key", 0.8), ("tenant", 0.4), ("user", 0.1)]


def test_what_is_no_budget_of_money_or_holds_no_more_is_not_counted(database):
    key(database, "k", None)
    key(database, "gone", 10)
    key(database, "idle", 10)
    key(database, "nothing", 0)
    for name in ("k", "gone", "nothing"):
        spend(database, 5, key=name)
    database.run(keys.revoke, "gone", 2)
    budget(database, "key", "k", "", 9, measure="requests")
    ended = budget(database, "tenant", "default", "total", 9)
    database.run(budgets.end, ended, 3)
    assert used(database) == []
