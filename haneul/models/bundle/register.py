"""What a loaded bundle means from now on: its models under their names, their family, their prices.

Everything here runs in one transaction. What this home has decided for itself stays: an alias that
is there is not moved, a price that somebody set is not replaced.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from haneul.base.errors import HaneulError, NotAllowed
from haneul.base.ids import new_id
from haneul.base.units import now_us
from haneul.models import revisions, serving
from haneul.models.bundle.contents import Contents, Model
from haneul.models.bundle.load import Signed
from haneul.models.folder.accept import Accepted
from haneul.models.folder.blobs import Blobs
from haneul.models.revisions import Facts
from haneul.store import audit
from haneul.store import prices as price_queries
from haneul.store import revisions as queries
from haneul.store.audit import Who
from haneul.store.prices import PriceRow
from haneul.store.revisions import DerivationRow, QualityRow, RevisionRow


class Placed(Struct, frozen=True, kw_only=True):
    """What became of one model."""

    name: str
    revision: str
    bytes: int
    is_new: bool
    is_served: bool
    aliases: tuple[str, ...] = ()  # that lead to it now
    note: str = ""  # why it is not served


def register(
    connection: Connection,
    signed: Signed,
    proven: Sequence[Accepted],
    blobs: Blobs,
    *,
    is_served: bool = True,
    actor: Who,
) -> list[Placed]:
    """Notes every model and its family. Raises Conflict for a revision that was withdrawn here."""
    contents = signed.contents
    _family(connection, contents)
    placed = [
        _place(connection, signed, model, accepted, blobs, is_served=is_served, actor=actor)
        for model, accepted in zip(contents.models, proven, strict=True)
    ]
    told = {"signer": signed.signer.key, "models": [f"{p.name}@{p.revision}" for p in placed]}
    audit.note(connection, actor, "bundle.load", contents.id, signed.signer.name, after=told)
    return placed


def prices(
    connection: Connection, contents: Contents, *, engine: str, currency: str
) -> tuple[list[PriceRow], list[str]]:
    """The prices to be set here, and why others are not: one set here stays, and its currency."""
    now = now_us()
    rows, left = [], []
    held = {name: _is_set(connection, name, engine) for name in _named(contents)}
    for price in contents.prices:
        if price.currency != currency:
            left.append(f"{price.model}: in {price.currency}, and bills here are in {currency}")
        elif held.get(price.model):
            left.append(f"{price.model}: it has a price that was set here")
        else:
            facts = msgspec.structs.asdict(price) | {"from_us": max(price.from_us, now)}
            basis = msgspec.json.encode({"source": f"bundle {contents.id}"}).decode()
            own = {"id": new_id("prc"), "engine": engine, "basis": basis, "created_us": now}
            rows.append(msgspec.convert(facts | own, PriceRow))
    return rows, list(dict.fromkeys(left))


def _named(contents: Contents) -> set[str]:
    return {price.model for price in contents.prices}


def _is_set(connection: Connection, model: str, engine: str) -> bool:
    return any(
        row.engine == engine and row.from_us for row in price_queries.history(connection, model)
    )


def _place(
    connection: Connection,
    signed: Signed,
    model: Model,
    accepted: Accepted,
    blobs: Blobs,
    *,
    is_served: bool,
    actor: Who,
) -> Placed:
    is_new = queries.get(connection, model.name, model.manifest.revision) is None
    row = revisions.register(
        connection,
        model.name,
        model.manifest,
        digest=model.digest,
        source=f"{model.source} by bundle of {signed.signer.name or signed.signer.key[:20]}",
        source_revision=model.source_revision,
        licence=model.licence,
        facts=_facts(model, accepted),
        actor=actor,
    )
    note = _serve(connection, row, blobs) if is_served else "kept only, as you asked"
    return Placed(
        name=row.model,
        revision=row.id,
        bytes=row.bytes,
        is_new=is_new,
        is_served=not note,
        aliases=_aliases(connection, model, row, blobs, actor=actor) if not note else (),
        note=note,
    )


def _serve(connection: Connection, row: RevisionRow, blobs: Blobs) -> str:
    """Why the revision is not served; "" when it is."""
    try:
        serving.serve(connection, row, blobs)
    except NotAllowed as refused:
        return refused.message
    return ""


def _aliases(
    connection: Connection, model: Model, row: RevisionRow, blobs: Blobs, *, actor: Who
) -> tuple[str, ...]:
    """Points those aliases at the revision that lead nowhere yet."""
    here = queries.aliases(connection, model.name)
    moved = []
    for alias in model.aliases:
        if alias in here:
            continue
        try:
            revisions.point(connection, model.name, alias, row, actor=actor)
        except HaneulError:
            continue  # a name that this version does not take for an alias
        moved.append(alias)
    if moved:
        serving.settle(connection, model.name, blobs)
    return tuple(alias for alias in (*here, *moved) if alias in moved or here[alias] == row.id)


def _facts(model: Model, accepted: Accepted) -> Facts:
    """What the bundle knows, with the shape that was read here."""
    try:
        told = msgspec.json.decode(model.facts, type=Facts)
    except (msgspec.MsgspecError, RecursionError):
        told = Facts()
    return msgspec.structs.replace(told, shape=accepted.facts.shape)


def _family(connection: Connection, contents: Contents) -> None:
    """Notes the edges and measurements that are not known here."""
    for edge in contents.made_of:
        known = {(row.parent, row.relation) for row in queries.parents(connection, edge.child)}
        is_round = edge.child == edge.parent or edge.child in revisions.ancestors(
            connection, edge.parent
        )
        if (edge.parent, edge.relation) in known or is_round:
            continue
        facts = msgspec.structs.asdict(edge)
        queries.derive(
            connection, DerivationRow(**facts, id=new_id("drv"), created_us=contents.created_us)
        )
    for measured in contents.measured:
        ids = {row.id for row in queries.measures(connection, measured.child)}
        if measured.id not in ids:
            queries.measure(connection, QualityRow(**msgspec.structs.asdict(measured)))
