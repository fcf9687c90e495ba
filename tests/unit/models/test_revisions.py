"""Revisions are kept, pointed at, withdrawn; derivatives serve once they were measured."""

from __future__ import annotations

import msgspec
import pytest

from haneul.base.errors import BadRequest, Conflict, ModelNotFound, NotAllowed
from haneul.chips.estimate import around, exactly
from haneul.chips.shape import Shape
from haneul.models import lineage, revisions, serving
from haneul.models.folder import gc
from haneul.models.folder.blobs import Blobs
from haneul.models.manifest import File, manifest
from haneul.models.quality import Measures, loss_of
from haneul.models.revisions import Facts
from haneul.services.known import read
from haneul.store import models, routes
from haneul.store.database import open_database
from haneul.store.routes import RouteRow

SHAPE = Shape(
    architecture="llama",
    layers=2,
    hidden=64,
    heads=4,
    kv_heads=2,
    key_size=16,
    value_size=16,
    feed_forward=128,
    vocabulary=100,
    context_tokens=256,
    parameters=1000,
    active_parameters=1000,
    weight_bytes=1000,
    active_bytes=1000,
    quantisation="Q4_1",
)


@pytest.fixture
def database(tmp_path):
    opened = open_database("", tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def blobs(tmp_path):
    return Blobs(tmp_path / "models")


def add(database, letter, *, model="m", **fields):
    """A revision of one file, whose digest is that letter."""
    files = manifest("gguf", [File(path=f"{letter}.gguf", sha256=letter * 64, bytes=10)])
    options = {
        "digest": letter * 64,
        "source": "test",
        "licence": "MIT",
        "facts": Facts(shape=SHAPE),
        "actor": "me",
        **fields,
    }
    return database.run(lambda c: revisions.register(c, model, files, **options))


def derive(database, child, parent, relation="quantized"):
    recipe = {"type": "Q4_K_M"}
    database.run(
        lambda c: revisions.derived(
            c, child, [parent.id], relation=relation, recipe=recipe, tools={"t": "1"}, actor="me"
        )
    )


def measure(database, child, parent, ratio):
    said = Measures(
        perplexity_ratio=around(ratio, "×", factor=1.01, source="test"),
        kl_nats=exactly(0.01, "nat", source="test"),
        agreement=exactly(0.9, "share", source="test"),
        parent_perplexity=9.0,
        tokens=1000,
    )
    database.run(lambda c: revisions.measured(c, child.id, parent.id, "text 1", said))


def serve(database, row, blobs):
    return database.run(lambda c: serving.serve(c, row, blobs))


def point(database, alias, row, blobs, model="m"):
    def move(connection):
        revisions.point(connection, model, alias, row, actor="me")
        serving.settle(connection, model, blobs)

    database.run(move)


def names(database):
    return {row.name for row in database.run(models.every)}


def test_the_same_files_are_the_same_revision(database):
    assert add(database, "a") == add(database, "a", source="elsewhere")


def test_a_revision_is_found_by_each_of_its_names(database, blobs):
    first, second = add(database, "a"), add(database, "b")
    serve(database, first, blobs)
    point(database, "prod", second, blobs)
    find = lambda text: database.run(lambda c: revisions.resolve(c, text))  # noqa: E731
    assert find("m") == first
    assert find("m@prod") == second
    assert find(f"m@{second.id[:8]}") == second
    with pytest.raises(ModelNotFound, match="Did you mean m@prod"):
        find("m@prud")
    with pytest.raises(ModelNotFound, match="no revision or alias"):
        find("m@" + "0" * 8)
    with pytest.raises(ModelNotFound, match="There is no model 'n'"):
        find("n")


@pytest.mark.parametrize("alias", ["", "Prod", "a b", "abcdef", "1st", "x" * 33, "a@b"])
def test_what_could_be_mistaken_is_no_alias(database, blobs, alias):
    row = add(database, "a")
    with pytest.raises(BadRequest):
        point(database, alias, row, blobs)


def test_an_alias_leads_to_the_row_of_its_revision_and_to_no_second_engine(database, blobs):
    first, second = add(database, "a"), add(database, "b")
    serve(database, first, blobs)
    point(database, "prod", first, blobs)
    assert names(database) == {"m"}
    assert database.run(serving.routes) == {"m@prod": "m"}
    serve(database, second, blobs)  # the name goes on, the alias stays
    pinned = revisions.named(first)
    assert names(database) == {"m", pinned}
    assert database.run(serving.routes) == {"m@prod": pinned}
    assert database.run(models.get, pinned).digest == "a" * 64
    point(database, "prod", second, blobs)
    assert names(database) == {"m"}
    assert database.run(serving.routes) == {"m@prod": "m"}
    point(database, "prod", None, blobs)
    assert database.run(serving.routes) == {}


def test_the_cloud_follows_an_alias_as_a_route(database, blobs):
    serve(database, row := add(database, "a"), blobs)
    point(database, "prod", row, blobs)
    known = database.run(read)
    assert [(route.name, route.members[0].model) for route in known.routes] == [("m@prod", "m")]


def test_a_withdrawn_revision_is_not_served_and_not_taken_in_again(database, blobs):
    row = add(database, "a")
    serve(database, row, blobs)
    point(database, "prod", row, blobs)
    assert database.run(lambda c: serving.withdraw(c, row, "leaks")) == ["m"]
    assert names(database) == set()
    with pytest.raises(Conflict, match="leaks"):
        add(database, "a")
    with pytest.raises(Conflict, match="withdrawn"):
        point(database, "canary", database.run(lambda c: revisions.resolve(c, "m")), blobs)


def test_a_derivative_is_not_served_before_it_was_measured(database, blobs):
    base, child = add(database, "a"), add(database, "b", model="n")
    derive(database, child, base)
    with pytest.raises(NotAllowed, match="not measured"):
        serve(database, child, blobs)
    with pytest.raises(NotAllowed, match="not measured"):
        point(database, "prod", child, blobs, model="n")
    measure(database, child, base, 1.02)
    assert serve(database, child, blobs).name == "n"


def test_files_of_a_withdrawn_revision_are_not_needed_any_more(database, blobs):
    kept, gone = add(database, "a"), add(database, "b")
    serve(database, gone, blobs)
    assert {kept.digest, gone.digest} <= database.run(gc.referenced).digests
    database.run(lambda c: serving.withdraw(c, gone, "old"))
    needed = database.run(gc.referenced)
    assert kept.digest in needed.digests
    assert gone.digest not in needed.digests
    assert gone.id not in needed.revisions


def test_losses_add_up_along_a_line(database):
    base, child, grandchild = (add(database, letter) for letter in "abc")
    derive(database, child, base)
    derive(database, grandchild, child)
    measure(database, child, base, 1.10)
    measure(database, grandchild, child, 1.10)
    assert database.run(lambda c: revisions.loss(c, grandchild.id)) == pytest.approx(0.21)
    assert database.run(revisions.losses) == {
        "b" * 64: pytest.approx(0.10),
        "c" * 64: pytest.approx(0.21),
    }


def test_no_revision_comes_from_itself(database):
    base, child = add(database, "a"), add(database, "b")
    derive(database, child, base)
    with pytest.raises(Conflict):
        derive(database, base, child)
    with pytest.raises(Conflict):
        derive(database, base, base)


def test_a_tree_says_what_breaks(database, blobs):
    base, child = add(database, "a"), add(database, "b", model="n")
    derive(database, child, base)
    measure(database, child, base, 1.05)
    serve(database, base, blobs)
    serve(database, child, blobs)
    point(database, "prod", base, blobs)
    members = msgspec.json.encode([["m@prod", None]]).decode()
    row = RouteRow(name="chat", members=members, fallbacks="[]", created_us=1)
    database.run(routes.put, row)
    tree = database.run(lambda c: lineage.lineage(c, base))
    assert [node.name for node in tree.down] == [revisions.named(child)]
    assert tree.breaks == (
        "m is served from it",
        "the alias m@prod points at it",
        "the route chat leads to m@prod",
        f"{revisions.named(child)} was made of it",
    )
    lines = lineage.draw(tree)
    assert lines[0].startswith(f"● {revisions.named(base)}")
    assert lines[1].startswith(f"└─ {revisions.named(child)}  quantized  perplexity +5.0%")
    up = database.run(lambda c: lineage.lineage(c, child)).up
    assert [node.name for node in up] == [revisions.named(base)]
    assert lineage.draw(database.run(lambda c: lineage.lineage(c, child)))[0].startswith("┌─ m@")


@pytest.mark.parametrize(("text", "share"), [("2%", 0.02), ("0.5", 0.5), (" 0 % ".strip(), 0.0)])
def test_a_loss_is_a_share_or_a_percentage(text, share):
    assert loss_of(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "-1%", "nan", "inf", "two"])
def test_what_is_no_loss_is_refused(text):
    with pytest.raises(BadRequest):
        loss_of(text)
