"""What goes into a bundle: read from the database and the catalogue, before a byte is written."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

from sqlalchemy import Connection

from haneul import __version__
from haneul.base.errors import BadRequest, Conflict, ModelNotFound, NotAllowed
from haneul.base.ids import new_id
from haneul.base.units import now_us
from haneul.models import revisions
from haneul.models.bundle.contents import VERSION, Blob, Contents, Edge, Measured, Model, Price
from haneul.models.licences import licence
from haneul.models.manifest import File, manifest, read
from haneul.store import models as model_queries
from haneul.store import prices as price_queries
from haneul.store import revisions as queries
from haneul.store.models import ModelRow
from haneul.store.prices import PriceRow
from haneul.store.revisions import RevisionRow


def collect(
    connection: Connection,
    names: Sequence[str],
    *,
    engine: str,
    with_prices: bool = True,
    is_shared: bool = True,
    note: str = "",
) -> Contents:
    """What a bundle of these models holds; engine is the one whose prices go with them.

    Raises ModelNotFound, Conflict for a revision that was withdrawn, and NotAllowed for one that
    is to be shared and whose licence forbids it.
    """
    models: dict[tuple[str, str], Model] = {}
    for name in names:
        model = _model(connection, name)
        if is_shared:
            _check_sharing(model)
        models[model.name, model.manifest.revision] = model
    if not models:
        raise BadRequest("A bundle holds at least one model.", param="model")
    chosen = tuple(models.values())
    of_names = list(dict.fromkeys(model.name for model in chosen))
    made_of, measured = _family(connection, [model.manifest.revision for model in chosen])
    return Contents(
        haneul_bundle=VERSION,
        id=new_id("bdl"),
        created_us=now_us(),
        made_by=f"haneul {__version__}",
        note=note,
        models=chosen,
        made_of=made_of,
        measured=measured,
        prices=tuple(_prices(connection, of_names, engine)) if with_prices else (),
        catalogue=stated(of_names),
        blobs=_blobs(chosen),
    )


def stated(names: Iterable[str]) -> tuple[dict[str, Any], ...]:
    """What the catalogue's files say of these models, in their form; one document a file."""
    wanted = set(names)
    folder = resources.files("haneul.models.families").joinpath("data")
    found = []
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if not file.name.endswith(".toml"):
            continue
        document = tomllib.loads(file.read_text("utf-8"))
        common = document.get("common", {})
        models = [
            {**common, **each} for each in document.get("model", []) if each["name"] in wanted
        ]
        if models:
            found.append({"dated": str(document.get("dated", "")), "model": models})
    return tuple(found)


def _model(connection: Connection, text: str) -> Model:
    try:
        row = revisions.resolve(connection, text)
    except ModelNotFound:
        alone = model_queries.get(connection, text)
        if alone is None:
            raise
        return _of_a_file(alone)
    if row.withdrawn_us is not None:
        raise Conflict(f"{revisions.named(row)} was withdrawn: {row.reason}.")
    return _of_a_revision(connection, row)


def _of_a_revision(connection: Connection, row: RevisionRow) -> Model:
    aliases = queries.aliases(connection, row.model)
    return Model(
        name=row.model,
        manifest=read(row.manifest),
        digest=row.digest,
        source=row.source,
        source_revision=row.source_revision,
        licence=row.licence,
        facts=row.facts,
        aliases=tuple(sorted(alias for alias, to in aliases.items() if to == row.id)),
    )


def _of_a_file(row: ModelRow) -> Model:
    """A model that was pulled before there were revisions: one file."""
    file = File(path="model.gguf", sha256=row.digest, bytes=row.bytes)
    return Model(
        name=row.name,
        manifest=manifest("gguf", [file]),
        digest=row.digest,
        source=row.source,
        licence=row.licence,
    )


def _check_sharing(model: Model) -> None:
    terms = licence(model.licence)
    if terms.allows_sharing is False:
        raise NotAllowed(
            f"The licence of {model.name}, {terms.name}, does not let it be passed on "
            f"({terms.source}). For machines of your own: --own-machines."
        )


def _family(
    connection: Connection, children: Sequence[str]
) -> tuple[tuple[Edge, ...], tuple[Measured, ...]]:
    """The edges and measurements of revisions and all their ancestors."""
    line = sorted(
        {*children, *(up for each in children for up in revisions.ancestors(connection, each))}
    )
    edges = tuple(
        Edge(
            child=row.child,
            parent=row.parent,
            relation=row.relation,
            recipe=row.recipe,
            tools=row.tools,
            licence=row.licence,
        )
        for each in line
        for row in queries.parents(connection, each)
    )
    measured = tuple(
        Measured(
            id=row.id,
            child=row.child,
            parent=row.parent,
            suite=row.suite,
            measures=row.measures,
            created_us=row.created_us,
        )
        for each in line
        for row in queries.measures(connection, each)
    )
    return edges, measured


def _prices(connection: Connection, names: Sequence[str], engine: str) -> Iterable[Price]:
    """What somebody set, now and to come. A computed price is of this machine's chips."""
    now = now_us()
    rows = [row for name in names if (row := price_queries.in_force(connection, name, engine))]
    later = price_queries.upcoming(connection, after_us=now)
    rows += [row for row in later if row.model in names and row.engine == engine]
    return (_price(row, now) for row in rows if row.from_us)


def _price(row: PriceRow, now: int) -> Price:
    return Price(
        model=row.model,
        currency=row.currency,
        input_nano=row.input_nano,
        cached_nano=row.cached_nano,
        output_nano=row.output_nano,
        reasoning_nano=row.reasoning_nano,
        unit=row.unit,
        unit_nano=row.unit_nano,
        from_us=row.from_us if row.from_us > now else 0,
    )


def _blobs(models: Iterable[Model]) -> tuple[Blob, ...]:
    """Each file once, the small ones first: what describes the weights is seen before them."""
    sizes = {file.sha256: file.bytes for model in models for file in model.manifest.files}
    return tuple(
        Blob(sha256, sizes[sha256]) for sha256 in sorted(sizes, key=lambda d: (sizes[d], d))
    )
