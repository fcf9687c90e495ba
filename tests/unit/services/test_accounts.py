"""Accounts of whoever asked lately: one purse for each owner, and nothing forgotten with it."""

from __future__ import annotations

import asyncio
import gc

import pytest

from haneul.base.errors import QuotaExceeded
from haneul.base.ids import new_id
from haneul.base.units import now_us
from haneul.services.accounts import Accounts
from haneul.services.budgets import Limit
from haneul.services.keys import Key
from haneul.store import ledger
from haneul.store.database import open_database
from haneul.store.ledger import RequestRow


class Waiting:
    """Rows that were settled and are not in the database yet, as behind a slow disk."""

    def __init__(self, database):
        self.database = database
        self.rows = []
        self.flushes = 0

    def add(self, key, cost_nano):
        row = RequestRow(
            id=new_id("req"),
            key_id=key.id,
            tenant_id=key.tenant_id,
            app=key.app,
            route="chat",
            state="done",
            status=200,
            currency="USD",
            cost_nano=cost_nano,
            received_us=now_us(),
            finished_us=now_us(),
        )
        self.rows.append(row)

    async def flush(self):
        self.flushes += 1
        rows, self.rows = self.rows, []
        if rows:
            await self.database.call(ledger.append, rows)


@pytest.fixture
def database(tmp_path):
    opened = open_database("", tmp_path)
    yield opened
    opened.close()


def key(name, app=None, amount=100):
    limit = Limit("key", name, f"API key '{name}'", "money", "total", amount)
    return Key(id=name, name=name, scopes=frozenset(), app=app, limits=(limit,))


def spend(account, holder, nano):
    reservation = account.reserve(holder, nano, 0, currency="USD", at_us=now_us())
    account.settle(reservation, nano, 0)


async def test_what_a_forgotten_owner_spent_counts_though_it_was_not_written_yet(database):
    waiting = Waiting(database)
    accounts = Accounts(database, waiting.flush, remembered_max=2)
    one = key("one")
    spend(await accounts.of(one), one, 60)
    waiting.add(one, 60)
    assert waiting.flushes == 0, "who is seen first waits for no writer"
    for name in ("two", "three", "four"):
        await accounts.of(key(name))
    gc.collect()
    again = await accounts.of(one)
    assert waiting.flushes > 0
    assert again.spent_nano == 60
    with pytest.raises(QuotaExceeded):
        spend(again, one, 41)


async def test_an_owner_whose_request_runs_is_not_forgotten(database):
    accounts = Accounts(database, Waiting(database).flush, remembered_max=1)
    one = key("one")
    account = await accounts.of(one)
    reservation = account.reserve(one, 60, 0, currency="USD", at_us=now_us())
    for name in ("two", "three"):
        await accounts.of(key(name))
    gc.collect()
    again = await accounts.of(one)
    with pytest.raises(QuotaExceeded):
        spend(again, one, 41)
    account.settle(reservation, 1, 0)
    assert (again.spent_nano, again.reserved_nano) == (1, 0)


async def test_apps_and_keys_of_a_tenant_share_its_purse(database):
    accounts = Accounts(database)
    holders = [key("one"), key("one", app="a"), key("two", app="a")]
    found = await asyncio.gather(*(accounts.of(holder) for holder in holders * 5))
    assert len({id(account) for account in found}) == 3
    assert len({id(account.purses["tenant"]) for account in found}) == 1
    assert len({id(account.purses["key"]) for account in found}) == 2
    assert len({id(account.purses["app"]) for account in found if "app" in account.purses}) == 1
    spend(found[0], holders[0], 5)
    spend(found[2], holders[2], 7)
    assert found[1].purses["tenant"].total.spent == 12
    assert found[1].spent_nano == 5
