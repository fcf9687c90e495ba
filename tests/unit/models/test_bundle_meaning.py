"""What a bundle brings means here what it meant there, and what this home decided stays."""

from types import SimpleNamespace

import msgspec
import pytest
from bundle_homes import ENGINE, Home, model

from haneul.base.errors import Conflict, NotAllowed
from haneul.base.ids import new_id
from haneul.base.units import now_us
from haneul.chips.estimate import exactly
from haneul.models import revisions, serving
from haneul.models.bundle import keys, register
from haneul.models.bundle.contents import Price
from haneul.models.licences import known
from haneul.models.quality import Measures
from haneul.store import prices as price_queries
from haneul.store import revisions as queries
from haneul.store.prices import PriceRow


@pytest.fixture
def homes(tmp_path):
    """Two homes; the second takes the first one's bundles."""
    here, there = Home(tmp_path / "here"), Home(tmp_path / "there")
    keys.trust(there.folder / "keys", here.public, "here")
    yield SimpleNamespace(here=here, there=there)
    here.store.close()
    there.store.close()


def test_revision_that_was_withdrawn_here_does_not_come_back_by_bundle(homes):
    homes.here.add("tiny", model())
    data = homes.here.bundle("tiny")
    homes.there.load(data)
    row = homes.there.store.run(queries.of_model, "tiny")[0]
    homes.there.store.run(lambda c: serving.withdraw(c, row, "wrong template"))
    with pytest.raises(Conflict, match="wrong template"):
        homes.there.load(data)


def test_licence_that_forbids_sharing_is_kept_to_unless_it_stays_in_the_house(homes):
    homes.here.add("tiny", model(), licence="cc-by-nc-nd-4.0")
    assert homes.here.collect("tiny").models[0].licence == "cc-by-nc-nd-4.0"  # may be passed on
    closed = next(each for each in known() if each.allows_sharing is False)
    homes.here.add("closed", model(2), licence=closed.id)
    with pytest.raises(NotAllowed, match="own-machines"):
        homes.here.collect("closed")
    assert homes.here.collect("closed", is_shared=False).models[0].name == "closed"


def test_what_serves_stays_when_models_are_only_kept(homes):
    homes.there.add("tiny", model(1))
    served = homes.there.rows()["tiny"].revision
    homes.here.add("tiny", model(2))
    (placed,) = homes.there.load(homes.here.bundle("tiny"), is_served=False)
    assert not placed.is_served
    assert homes.there.rows()["tiny"].revision == served
    (placed,) = homes.there.load(homes.here.bundle("tiny"))
    assert homes.there.rows()["tiny"].revision == placed.revision


def test_aliases_come_along_and_those_that_are_here_stay(homes):
    here, there = homes.here, homes.there
    row = here.add("tiny", model(1))
    for alias in ("prod", "canary"):
        here.store.run(lambda c, alias=alias: revisions.point(c, "tiny", alias, row, actor="test"))
    own = there.add("tiny", model(2))
    there.store.run(lambda c: revisions.point(c, "tiny", "prod", own, actor="test"))
    (placed,) = there.load(here.bundle("tiny@prod"))
    assert placed.aliases == ("canary",)
    aliases = there.store.run(lambda c: queries.aliases(c, "tiny"))
    assert aliases == {"prod": own.id, "canary": row.id}


def test_family_of_a_derivative_comes_along_once(homes):
    here, there = homes.here, homes.there
    parent = here.add("base", model(1))
    child = here.add("child", model(2), is_served=False)
    measures = _measures()

    def derive(connection):
        revisions.derived(
            connection,
            child,
            [parent.id],
            relation="quantized",
            recipe={"type": "Q4_0"},
            tools={"haneul": "0"},
            actor="test",
        )

    here.store.run(derive)
    unmeasured = here.bundle("child")
    assert "not measured" in there.load(unmeasured)[0].note
    here.store.run(lambda c: revisions.measured(c, child.id, parent.id, "texts 1", measures))
    for _ in range(2):
        (placed,) = there.load(here.bundle("child"))
        assert placed.is_served
    (edge,) = there.store.run(queries.parents, child.id)
    assert (edge.parent, edge.relation) == (parent.id, "quantized")
    assert len(there.store.run(queries.measures, child.id)) == 1
    assert there.store.run(lambda c: revisions.loss(c, child.id)) == pytest.approx(0.02)


def _measures():
    return Measures(
        perplexity_ratio=exactly(1.02, "", source="test"),
        kl_nats=exactly(0.01, "nats", source="test"),
        agreement=exactly(0.97, "", source="test"),
        parent_perplexity=12.0,
        tokens=1000,
    )


def price(model, *, from_us, currency="USD"):
    return PriceRow(
        id=new_id("prc"),
        model=model,
        engine=ENGINE,
        currency=currency,
        input_nano=1_000,
        cached_nano=500,
        output_nano=9_000,
        created_us=now_us(),
        from_us=from_us,
    )


def test_prices_that_somebody_set_come_along_and_those_set_here_stay(homes):
    here, there = homes.here, homes.there
    later = now_us() + 10**12
    for name in ("one", "two", "three"):
        here.add(name, model(name))
    rows = [price("one", from_us=1), price("one", from_us=later), price("two", from_us=0)]
    for row in [*rows, price("three", from_us=1)]:
        here.store.run(price_queries.add, row)
    there.store.run(price_queries.add, price("three", from_us=2))
    contents = here.collect("one", "two", "three")
    assert [(each.model, each.from_us) for each in contents.prices] == [
        ("one", 0),
        ("three", 0),
        ("one", later),
    ]
    rows, left = there.store.run(
        lambda c: register.prices(c, contents, engine=ENGINE, currency="USD")
    )
    assert [(row.model, row.output_nano) for row in rows] == [("one", 9_000), ("one", 9_000)]
    assert rows[0].from_us >= rows[0].created_us
    assert rows[1].from_us == later
    assert left == ["three: it has a price that was set here"]
    _, left = there.store.run(lambda c: register.prices(c, contents, engine=ENGINE, currency="EUR"))
    assert left == [f"{name}: in USD, and bills here are in EUR" for name in ("one", "three")]
    assert here.collect("one", with_prices=False).prices == ()


def test_prices_of_a_bundle_are_within_what_a_ledger_keeps():
    stated = {"model": "m", "currency": "USD", "cached_nano": 0, "output_nano": 0}
    for wrong in (-1, 1 << 63):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**stated, "input_nano": wrong}, Price)


def test_entry_of_the_catalogue_comes_along(homes):
    homes.here.add("smollm2:135m", model())
    (document,) = homes.here.collect("smollm2:135m").catalogue
    assert [each["name"] for each in document["model"]] == ["smollm2:135m"]
    assert document["model"][0]["licence"]
