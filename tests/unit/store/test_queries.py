"""The queries of every noun, on both databases."""

from __future__ import annotations

import msgspec
import pytest
from sqlalchemy.exc import IntegrityError

from haneul.base.ids import new_id
from haneul.store import (
    audit,
    budgets,
    engines,
    forecasts,
    keys,
    ledger,
    models,
    prices,
    spending,
    tunings,
)
from haneul.store.budgets import BudgetRow
from haneul.store.engines import EngineRow
from haneul.store.forecasts import ForecastRow, MeasurementRow
from haneul.store.keys import KeyRow
from haneul.store.ledger import ChipHourRow, RequestRow
from haneul.store.models import ModelRow
from haneul.store.prices import PriceRow
from haneul.store.tunings import TrialRow, TuningRow

BIG = (1 << 63) - 1


def request_row(**fields):
    known = {
        "id": new_id("req"),
        "key_id": "k1",
        "route": "chat",
        "model": "m",
        "engine": "e",
        "state": "done",
        "status": 200,
        "currency": "USD",
        "received_us": 10,
        "finished_us": 20,
    }
    return RequestRow(**{**known, **fields})


def key_row(**fields):
    known = {"id": "k1", "name": "one", "hash": b"\0\xff", "scopes": "[]", "created_us": 1}
    return KeyRow(**{**known, **fields})


def price_row(**fields):
    known = {
        "id": new_id("prc"),
        "model": "*",
        "engine": "e",
        "currency": "USD",
        "input_nano": 1,
        "cached_nano": 2,
        "output_nano": 3,
        "created_us": 1,
    }
    return PriceRow(**{**known, **fields})


def test_a_record_comes_back_as_it_was_written(database):
    row = request_row(
        app="a",
        digest="d",
        engine_version="v",
        chip="c",
        error_code="x",
        is_stream=1,
        metering="engine",
        prompt_tokens=(1 << 31) - 1,
        cached_tokens=2,
        completion_tokens=3,
        reasoning_tokens=4,
        price_id="p",
        cost_nano=BIG,
        hour_nano=BIG,
        busy_us=BIG,
        upstream_id="하늘 ☁",
        end_user="'; DROP TABLE request; --",
        started_us=11,
        first_token_us=12,
        finished_us=BIG,
        tenant_id="t",
        user_id="u",
    )
    database.run(ledger.append, [row])
    assert database.run(ledger.find, row.id) == row
    assert database.run(ledger.known, [row.id, "other"]) == {row.id}


def test_one_request_has_one_record(database):
    row = request_row()
    database.run(ledger.append, [row])
    with pytest.raises(IntegrityError):
        database.run(ledger.append, [msgspec.structs.replace(row, cost_nano=5)])
    assert database.run(ledger.find, row.id).cost_nano == 0


def test_records_are_found_newest_first_by_their_key_alone(database):
    rows = [
        request_row(key_id=f"k{number % 2}", received_us=number, upstream_id="same")
        for number in range(6)
    ]
    database.run(ledger.append, rows)

    def recent(key_id, limit):
        return database.run(lambda c: ledger.recent(c, key_id=key_id, limit=limit))

    assert recent(None, 100) == rows[::-1]
    assert recent("k1", 2) == [rows[5], rows[3]]
    found = database.run(lambda c: ledger.find(c, "same", key_id="k0"))
    assert found == rows[4]
    assert database.run(lambda c: ledger.find(c, rows[4].id, key_id="k1")) is None


def test_sums_are_exact_beyond_what_a_float_holds(database):
    odd = (1 << 53) + 1
    rows = [request_row(cost_nano=odd, prompt_tokens=7) for _ in range(3)]
    rows.append(request_row(state="refused", status=400, model=None, engine=None))
    database.run(ledger.append, rows)
    assert database.run(keys.spent, "k1") == 3 * odd
    assert database.run(keys.spent, "nobody") == 0

    def usage(**window):
        return database.run(lambda c: ledger.usage(c, **window))

    first, second = usage(since_us=10, until_us=11)
    assert (first.cost_nano, first.requests, first.failed) == (3 * odd, 3, 0)
    assert (second.model, second.engine, second.failed) == (None, None, 1)
    assert usage(since_us=11, until_us=99) == []
    assert usage(since_us=0, until_us=99, key_id="other") == []


def test_sums_of_who_pays_move_with_the_records_and_not_without_them(database):
    day_us = spending.DAY_US
    rows = [
        request_row(cost_nano=2, received_us=day_us - 1, user_id="u", app="a"),
        request_row(cost_nano=3, received_us=day_us, user_id="u"),
        request_row(cost_nano=5, received_us=day_us, tenant_id="other", app="a"),
    ]
    database.run(ledger.append, rows[:1])
    database.run(ledger.append, rows[1:])
    with pytest.raises(IntegrityError):
        database.run(ledger.append, [request_row(cost_nano=100), rows[0]])

    def history(kind, owner, since_day=0):
        return database.run(lambda c: spending.history(c, kind, owner, since_day=since_day))

    assert history("key", "k1") == (0, [(0, 2), (1, 8)])
    assert history("key", "k1", since_day=1) == (2, [(1, 8)])
    assert history("user", "u") == (0, [(0, 2), (1, 3)])
    assert history("tenant", "default") == (0, [(0, 2), (1, 3)])
    assert history("app", "default/a") == (0, [(0, 2)])
    assert history("app", "other/a") == (0, [(1, 5)])
    assert database.run(spending.total, "tenant", "other") == 5
    assert history("user", "nobody") == (0, [])


def test_a_changed_budget_ends_and_another_begins(database):
    def row(**fields):
        known = {
            "id": new_id("bdg"),
            "tenant_id": "t",
            "owner_kind": "tenant",
            "owner_id": "t",
            "measure": "money",
            "period": "day",
            "amount": 5,
            "created_us": 1,
        }
        return BudgetRow(**{**known, **fields})

    first, month = row(), row(period="month")
    again = row(amount=BIG, created_us=2)
    foreign = row(tenant_id="other", owner_id="other")
    of_app = row(owner_kind="app", owner_id="a", created_us=3)
    of_another_key = row(owner_kind="key", owner_id="k2")
    for each in (first, month, foreign, again, of_app, of_another_key):
        database.run(budgets.put, each)

    def of_key(key_id):
        return database.run(lambda c: budgets.of_key(c, tenant_id="t", key_id=key_id, user_id=None))

    assert of_key("k1") == [month, again, of_app]
    assert of_another_key in of_key("k2")
    assert database.run(budgets.end, again.id, 9) == again
    assert database.run(budgets.end, again.id, 9) is None
    assert of_key("k1") == [month, of_app]


def test_a_price_in_force_is_the_newest_of_its_model_and_engine(database):
    old, new = price_row(created_us=1), price_row(created_us=2, input_nano=9)
    other = price_row(engine="f", created_us=3)
    for row in (new, old, other):
        database.run(prices.add, row)
    assert database.run(prices.in_force, "*", "e") == new
    assert database.run(prices.in_force, "m", "e") is None
    assert database.run(prices.get, old.id) == old
    assert database.run(prices.history, "*") == [other, new, old]


def test_of_two_prices_at_one_moment_the_later_made_is_in_force(database):
    first, second = price_row(id="prc_1"), price_row(id="prc_2", input_nano=2)
    database.run(prices.add, second)
    database.run(prices.add, first)
    assert database.run(prices.in_force, "*", "e") == second


def test_a_price_that_begins_later_takes_effect_by_itself_and_a_set_one_before_a_computed(database):
    computed = price_row(created_us=1)
    chosen = price_row(created_us=2, from_us=10)
    later = price_row(created_us=3, from_us=20, reasoning_nano=9)
    measured_again = price_row(created_us=4)
    other = price_row(model="m", created_us=1)
    for row in (computed, chosen, later, measured_again, other):
        database.run(prices.add, row)

    def held(at_us):
        one = database.run(lambda c: prices.in_force(c, "*", "e", at_us=at_us))
        every = database.run(lambda c: prices.all_in_force(c, at_us=at_us))
        assert {row.id for row in every} == {one.id, other.id}
        return one

    assert [held(at) for at in (9, 10, 19, 20)] == [measured_again, chosen, chosen, later]
    assert database.run(lambda c: prices.upcoming(c, after_us=10)) == [later]


def test_keys_are_found_by_id_and_by_the_name_of_a_live_one(database):
    one, two = key_row(), key_row(id="k2", name="two", budget_nano=BIG, models='["m"]')
    for row in (one, two):
        database.run(keys.add, row)
    assert database.run(keys.get, "k2") == two
    assert database.run(keys.named, "one") == database.run(keys.named, "k1") == one
    database.run(keys.revoke, "k1", 5)
    assert database.run(keys.named, "one") is None
    assert database.run(keys.get, "k1").revoked_us == 5
    assert [row.id for row in database.run(keys.every)] == ["k1", "k2"]


def test_an_engine_is_replaced_by_name_and_removed_without_a_trace_in_the_list(database):
    row = EngineRow(name="e", url="http://x", models="[]", created_us=1)
    database.run(engines.put, row)
    newer = msgspec.structs.replace(row, url="http://y")
    database.run(engines.put, newer)
    assert database.run(engines.every) == [newer]
    assert database.run(engines.remove, "e", 7) is True
    assert database.run(engines.remove, "e", 8) is False
    assert database.run(engines.every) == []
    database.run(engines.put, row)
    assert database.run(engines.every) == [row]


def test_a_models_name_points_at_its_newest_file(database):
    row = ModelRow(name="m", digest="d", path="/p", bytes=BIG, source="s", shape="{}", pulled_us=1)
    database.run(models.put, row)
    newer = msgspec.structs.replace(row, digest="e")
    database.run(models.put, newer)
    assert database.run(models.every) == [newer] == [database.run(models.get, "m")]
    database.run(models.remove, "m", 9)
    assert database.run(models.get, "m") is None
    assert database.run(models.every) == []


def test_forecasts_measurements_hours_and_changes_come_back_in_order(database):
    said = [
        ForecastRow(
            id=new_id("fct"),
            model="m",
            chip="c",
            kind="decode",
            low=1,
            mid=2,
            high=3,
            unit="tok/s",
            source="s",
            created_us=number,
        )
        for number in range(3)
    ]
    was = [
        MeasurementRow(
            id=new_id("msr"),
            model="m",
            digest="d",
            chip="c",
            engine_version="v",
            kind="decode",
            value=number,
            unit="tok/s",
            created_us=number,
        )
        for number in range(3)
    ]
    hours = [
        ChipHourRow(id=new_id("own"), chip="c", currency="USD", from_us=n, to_us=n + 1, cost_nano=n)
        for n in range(3)
    ]
    database.run(forecasts.add_forecasts, said[::-1])
    database.run(forecasts.add_measurements, was[::-1])
    for row in hours:
        database.run(ledger.append_chip_hour, row)
    database.run(audit.note, "me", "did", "this")
    assert database.run(forecasts.forecasts) == said
    assert database.run(forecasts.measurements) == was
    assert (
        database.run(
            lambda c: forecasts.newest(c, digest="d", chip="c", engine_version="v", kind="decode")
        )
        == was[2]
    )
    assert database.run(lambda c: ledger.chip_hours(c, since_us=1, until_us=2)) == [hours[1]]
    (change,) = database.run(audit.recent)
    assert (change.actor, change.action, change.subject) == ("me", "did", "this")


def trial_row(**fields):
    known = {
        "id": new_id("try"),
        "tuning_id": "t1",
        "model": "m",
        "digest": "d",
        "chip": "c",
        "setup": '{"kernel":"libllama"}',
        "state": "measured",
        "created_us": 1,
    }
    return TrialRow(**{**known, **fields})


def tuning_row(used, **fields):
    known = {
        "id": "t1",
        "model": "m",
        "digest": "d",
        "chip": "c",
        "versions": "v",
        "purpose": "both",
        "default_trial": used,
        "single_trial": used,
        "many_trial": used,
        "used_trial": used,
        "said": "s",
        "load": "{}",
        "took_us": 1,
        "created_us": 1,
    }
    return TuningRow(**{**known, **fields})


def test_the_newest_search_of_a_file_chip_and_versions_holds(database):
    def newest(versions):
        return database.run(lambda c: tunings.newest(c, digest="d", chip="c", versions=versions))

    full = trial_row(kernel="k", rounds=3, single_milli=BIG, loss_low=-5, loss_mid=0, loss_high=7)
    lost = trial_row(state="lost", reason="killed by SIGILL", created_us=2)
    first = tuning_row(full.id)
    database.run(tunings.add, first, [full, lost])
    assert newest("v") == (first, full)
    assert newest("other") is None
    again = trial_row(tuning_id="t2")
    second = tuning_row(again.id, id="t2", created_us=2)
    database.run(tunings.add, second, [again])
    assert newest("v") == (second, again)
    assert database.run(tunings.every) == [second, first]
    assert database.run(tunings.trials, "t1") == [full, lost]
