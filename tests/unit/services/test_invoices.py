"""Invoices are the ledger's rows to the nano-unit, numbered without gaps, and never change."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haneul.base.errors import BadRequest, Conflict, NotFound
from haneul.base.ids import new_id
from haneul.services import invoices as service
from haneul.services import tenants
from haneul.services.periods import month_bounds_us, month_of
from haneul.store import audit, ledger
from haneul.store import invoices as queries
from haneul.store.database import open_database
from haneul.store.invoices import InvoiceRow, LineRow
from haneul.store.ledger import RequestRow
from haneul.store.spending import DAY_US

OCTOBER_US, NOVEMBER_US = month_bounds_us("2026-10")
DECEMBER_US = month_bounds_us("2026-11")[1]
LATER_US = DECEMBER_US + 5
# Around the borders of the months as well as inside them.
MOMENTS = st.sampled_from(
    [border + step for border in (OCTOBER_US, NOVEMBER_US) for step in (-1, 0, 1)]
    + [NOVEMBER_US - DAY_US, DECEMBER_US - 1]
)
ROWS = st.lists(
    st.builds(
        dict,
        tenant_id=st.sampled_from(["default", "acme"]),
        key_id=st.sampled_from(["k1", "k2"]),
        model=st.sampled_from([None, "m1", "m2"]),
        engine=st.sampled_from([None, "embedded", "far"]),
        price_id=st.sampled_from([None, "p1", "p2"]),
        currency=st.sampled_from(["USD", "USD", "EUR"]),
        state=st.sampled_from(["done", "aborted", "failed"]),
        prompt_tokens=st.integers(0, 1 << 20),
        cost_nano=st.integers(0, 10**15),
        unit=st.sampled_from([None, "audio_us", "image", "character"]),
        units=st.sampled_from([None, 0, 1, 7]),
        received_us=MOMENTS,
    ),
    max_size=12,
)


def row(**fields):
    known = {
        "id": new_id("req"),
        "key_id": "k1",
        "route": "chat",
        "state": "done",
        "status": 200,
        "currency": "USD",
        "received_us": OCTOBER_US,
        "finished_us": LATER_US,
    }
    return RequestRow(**{**known, **fields})


@pytest.fixture
def database(tmp_path):
    opened = open_database("", tmp_path)
    yield opened
    opened.close()


def issue(database, tenant="default", month="2026-10", at_us=LATER_US):
    return database.run(lambda c: service.issue(c, tenant, month, at_us=at_us, actor="test"))


def credit(database, number, amount_nano=None, tenant="default"):
    return database.run(
        lambda c: service.credit(
            c,
            tenant,
            number,
            amount_nano=amount_nano,
            reason="outage",
            at_us=LATER_US,
            actor="test",
        )
    )


@given(batches=st.lists(ROWS, min_size=1, max_size=3))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_all_invoices_of_a_month_are_the_rows_of_the_month_to_the_nano_unit(batches):
    """Rows come in batches, with invoices issued in between: late rows are invoiced once."""
    with tempfile.TemporaryDirectory() as home:
        database = open_database("", Path(home))
        database.run(lambda c: tenants.create(c, "acme", "", actor="test"))
        made, rows = [], []
        for batch in batches:
            fresh = [row(**fields) for fields in batch]
            if fresh:
                database.run(ledger.append, fresh)
            rows += fresh
            for tenant in ("default", "acme"):
                for month in ("2026-09", "2026-10", "2026-11"):
                    try:
                        made += issue(database, tenant, month)
                    except Conflict:
                        continue
        billed, used = Counter(), Counter()
        for invoice in made:
            head, lines = invoice.head, invoice.lines
            assert head.total_nano == sum(line.cost_nano for line in lines)
            assert lines
            assert database.run(service.find, head.tenant_id, head.number) == invoice
            for line in lines:
                place = (head.tenant_id, head.month, head.currency, line.key_id, line.price_id)
                billed[place] += line.cost_nano
                billed[(*place, "requests")] += line.requests
                billed[(*place, "prompt")] += line.prompt_tokens
                billed[(*place, "audio_us")] += line.audio_us
                billed[(*place, "image")] += line.images
                billed[(*place, "character")] += line.characters
        for each in rows:
            month = month_of(each.received_us)
            place = (each.tenant_id, month, each.currency, each.key_id, each.price_id)
            used[place] += each.cost_nano
            used[(*place, "requests")] += 1
            used[(*place, "prompt")] += each.prompt_tokens
            if each.unit is not None:
                used[(*place, each.unit)] += each.units or 0
        assert +billed == +used
        for tenant in ("default", "acme"):
            numbers = [head.number for head in database.run(queries.every, tenant)]
            assert numbers == list(range(1, len(numbers) + 1))
        database.close()


def test_a_line_says_how_much_sound_and_how_many_pictures_it_is_for(database):
    database.run(
        ledger.append,
        [
            row(model="ear", unit="audio_us", units=2_500_000, cost_nano=3),
            row(model="ear", unit="audio_us", units=500_000, cost_nano=1),
            row(model="brush", unit="image", units=4, cost_nano=5),
            row(model="voice", unit="character", units=120, cost_nano=7),
            row(model="plain", prompt_tokens=9),
        ],
    )
    (invoice,) = issue(database)
    said = {line.model: (line.audio_us, line.images, line.characters) for line in invoice.lines}
    assert said == {
        "ear": (3_000_000, 0, 0),
        "brush": (0, 4, 0),
        "voice": (0, 0, 120),
        "plain": (0, 0, 0),
    }


def test_what_was_invoiced_before_quantities_were_noted_is_not_invoiced_again(database):
    """Of a late row of the same model only the money is known exactly, and that is said."""
    database.run(ledger.append, [row(model="ear", unit="audio_us", units=9, cost_nano=3)])
    head = InvoiceRow(
        id="inv_1",
        tenant_id="default",
        number=1,
        kind="invoice",
        month="2026-10",
        currency="USD",
        total_nano=3,
        issued_us=LATER_US,
    )
    line = LineRow(
        id="ivl_1",
        invoice_id="inv_1",
        position=1,
        key_id="k1",
        model="ear",
        requests=1,
        cost_nano=3,
        audio_us=None,
        images=None,
        characters=None,
    )
    database.run(queries.add, head, [line])
    with pytest.raises(Conflict, match="Nothing of 2026-10"):
        issue(database)
    database.run(ledger.append, [row(model="ear", unit="audio_us", units=5, cost_nano=2)])
    (second,) = issue(database)
    (late,) = second.lines
    assert (late.requests, late.cost_nano, late.audio_us) == (1, 2, None)


def test_a_month_that_is_not_over_cannot_be_invoiced(database):
    database.run(ledger.append, [row()])
    with pytest.raises(BadRequest, match="not over"):
        issue(database, at_us=NOVEMBER_US - 1)
    (invoice,) = issue(database, at_us=NOVEMBER_US)
    assert invoice.head.number == 1


@pytest.mark.parametrize("month", ["", "2026-13", "2026-1", "2026-10-01", "October", "0000-01"])
def test_what_is_no_month_is_refused(database, month):
    with pytest.raises(BadRequest, match="not a month"):
        issue(database, month=month)


def test_a_month_is_invoiced_once(database):
    database.run(ledger.append, [row(cost_nano=5)])
    issue(database)
    with pytest.raises(Conflict, match="Nothing of 2026-10"):
        issue(database)
    with pytest.raises(NotFound):
        issue(database, tenant="nobody")


def test_what_was_refused_is_on_no_invoice(database):
    database.run(ledger.append, [row(state="refused", status=429), row(cost_nano=3)])
    (invoice,) = issue(database)
    assert [line.requests for line in invoice.lines] == [1]


def test_credit_notes_are_numbered_with_the_invoices_and_never_take_more_than_there_is(database):
    database.run(ledger.append, [row(cost_nano=10)])
    issue(database)
    first = credit(database, 1, 4)
    assert (first.head.number, first.head.total_nano, first.head.of_number) == (2, -4, 1)
    assert sum(line.cost_nano for line in first.lines) == -4
    with pytest.raises(BadRequest, match=r"USD 0\.000000006 left"):
        credit(database, 1, 7)
    assert credit(database, 1).head.total_nano == -6
    for number in (1, 2):
        with pytest.raises(BadRequest, match="left to credit"):
            credit(database, number)
    with pytest.raises(NotFound):
        credit(database, 9)
    with pytest.raises(Conflict):
        issue(database)  # credit notes do not make room for another invoice
    actions = [note.action for note in database.run(audit.recent)]
    assert sorted(actions) == ["invoice.credit", "invoice.credit", "invoice.issue"]


def test_one_tenant_cannot_be_shown_what_is_another_ones(database):
    database.run(lambda c: tenants.create(c, "acme", "", actor="test"))
    database.run(ledger.append, [row(cost_nano=1), row(cost_nano=2, tenant_id="acme")])
    (mine,) = issue(database, "acme")
    assert (mine.head.number, mine.head.total_nano) == (1, 2)
    assert database.run(service.find, "acme", 1) == mine
    with pytest.raises(NotFound):
        database.run(service.find, "default", 1)
    assert msgspec.json.encode(mine)
