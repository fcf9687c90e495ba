"""Which price holds for a model on an engine, now and at every later moment."""

from __future__ import annotations

import pytest

from haneul.base.errors import BadRequest
from haneul.base.ids import new_id
from haneul.services.prices import read_prices, set_price
from haneul.services.targets import Target, always_ready
from haneul.store import audit
from haneul.store import prices as queries
from haneul.store.database import open_database
from haneul.store.prices import PriceRow


@pytest.fixture
def database(tmp_path):
    opened = open_database("", tmp_path)
    yield opened
    opened.close()


def price(model="*", **fields):
    known = {"engine": "e", "currency": "USD", "cached_nano": 0, "output_nano": 0, "created_us": 1}
    known |= {"id": new_id("prc"), "input_nano": 0}
    return PriceRow(model=model, **{**known, **fields})


def target(price_list):
    now, later = price_list.of("m", "e")
    return Target(
        model="e/m",
        engine="e",
        upstream_model="m",
        transport=None,
        gate=None,
        ready=always_ready,
        currency="USD",
        price=now,
        upcoming=later,
    )


def read(database, *rows, at_us):
    for row in rows:
        database.run(queries.add, row)
    return database.run(lambda connection: read_prices(connection, at_us=at_us))


def test_a_models_own_price_goes_before_that_of_its_engine(database):
    of_all, own = price(), price("m")
    found = read(database, of_all, own, at_us=5)
    assert found.of("m", "e") == (own, ())
    assert found.of("other", "e") == (of_all, ())
    assert found.of("m", "elsewhere") == (None, ())


def test_a_price_begins_at_its_moment_though_nobody_looks_at_the_store(database):
    first, second = price("m", from_us=10), price("m", from_us=20)
    here = target(read(database, price("m"), second, first, at_us=5))
    found = [here.price_at(at_us) for at_us in (9, 10, 19, 20, 99)]
    assert found[1:] == [first, first, second, second]
    assert found[0].from_us == 0


def test_an_engines_later_price_holds_only_until_the_model_has_its_own(database):
    of_all, own = price(from_us=10), price("m", from_us=20)
    here = target(read(database, price(), of_all, own, price(from_us=30), at_us=5))
    assert [here.price_at(at_us) for at_us in (10, 20, 30)] == [of_all, own, own]


def test_a_price_cannot_begin_in_the_past(database):
    with pytest.raises(BadRequest, match="past"):
        database.run(lambda c: set_price(c, price("m", created_us=9, from_us=8), actor="test"))
    database.run(lambda c: set_price(c, price("m", created_us=9, from_us=9), actor="test"))
    (note,) = database.run(audit.recent)
    assert (note.action, note.actor) == ("price.set", "test")
