"""Queries about revisions of models, the aliases that point at them, and their family tree."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Select, insert, select, update

from haneul.store import schema
from haneul.store.rows import all_rows, one_row


class RevisionRow(Struct, frozen=True, kw_only=True):
    """One state of a model: its files, where they came from."""

    model: str
    id: str
    manifest: str
    digest: str
    bytes: int
    source: str
    source_revision: str = ""
    licence: str | None = None
    facts: str = "{}"
    created_us: int
    withdrawn_us: int | None = None
    reason: str | None = None


class AliasRow(Struct, frozen=True, kw_only=True):
    """A name of a model's revision, from some time on."""

    id: str
    model: str
    alias: str
    revision: str | None
    actor: str
    created_us: int


class DerivationRow(Struct, frozen=True, kw_only=True):
    """One edge of the family tree."""

    id: str
    child: str
    parent: str
    relation: str
    recipe: str
    tools: str
    licence: str | None = None
    created_us: int


class QualityRow(Struct, frozen=True, kw_only=True):
    """How a child was measured against its parent."""

    id: str
    child: str
    parent: str
    suite: str
    measures: str
    created_us: int


def add(connection: Connection, row: RevisionRow) -> bool:
    """Adds the revision; whether it was new."""
    if get(connection, row.model, row.id) is not None:
        return False
    connection.execute(insert(schema.hub.revision), [msgspec.structs.asdict(row)])
    return True


def get(connection: Connection, model: str, revision: str) -> RevisionRow | None:
    column = schema.hub.revision.c
    statement = _revisions().where(column.model == model, column.id == revision)
    return one_row(connection, statement, RevisionRow)


def of_model(connection: Connection, model: str) -> list[RevisionRow]:
    """Every revision of a model, the newest first, the withdrawn ones too."""
    column = schema.hub.revision.c
    statement = _revisions().where(column.model == model)
    return all_rows(connection, statement, RevisionRow)


def of_id(connection: Connection, revision: str) -> list[RevisionRow]:
    """A revision under every model that has it."""
    return all_rows(
        connection, _revisions().where(schema.hub.revision.c.id == revision), RevisionRow
    )


def of_digest(connection: Connection, digest: str) -> list[RevisionRow]:
    """The revisions whose weights have that digest, as the ledger names them."""
    statement = _revisions().where(schema.hub.revision.c.digest == digest)
    return all_rows(connection, statement, RevisionRow)


def every(connection: Connection) -> list[RevisionRow]:
    """Every revision, the newest first."""
    return all_rows(connection, _revisions(), RevisionRow)


def withdraw(
    connection: Connection, model: str, revision: str, at_us: int | None, reason: str | None
) -> bool:
    """Withdraws a revision, or with None as the time takes that back; whether there is such."""
    column = schema.hub.revision.c
    statement = update(schema.hub.revision).where(column.model == model, column.id == revision)
    values = {"withdrawn_us": at_us, "reason": reason}
    return connection.execute(statement.values(**values)).rowcount > 0


def move(connection: Connection, row: AliasRow) -> None:
    """Points an alias at a revision, or at none."""
    connection.execute(insert(schema.hub.alias_move), [msgspec.structs.asdict(row)])


def moves(connection: Connection, model: str) -> list[AliasRow]:
    """Every move of a model's aliases, the newest first."""
    table = schema.hub.alias_move
    newest = (table.c.created_us.desc(), table.c.id.desc())
    statement = select(table).where(table.c.model == model).order_by(*newest)
    return all_rows(connection, statement, AliasRow)


def aliases(connection: Connection, model: str) -> dict[str, str]:
    """What each alias of a model points at now."""
    held: dict[str, str | None] = {}
    for row in moves(connection, model):
        held.setdefault(row.alias, row.revision)
    return {alias: revision for alias, revision in held.items() if revision is not None}


def every_alias(connection: Connection) -> dict[tuple[str, str], str]:
    """What each alias of each model points at now, by model and alias."""
    table = schema.hub.alias_move
    held: dict[tuple[str, str], str | None] = {}
    newest = (table.c.created_us.desc(), table.c.id.desc())
    for row in all_rows(connection, select(table).order_by(*newest), AliasRow):
        held.setdefault((row.model, row.alias), row.revision)
    return {name: revision for name, revision in held.items() if revision is not None}


def derive(connection: Connection, row: DerivationRow) -> None:
    """Notes what was made of what."""
    connection.execute(insert(schema.hub.derivation), [msgspec.structs.asdict(row)])


def parents(connection: Connection, child: str) -> list[DerivationRow]:
    table = schema.hub.derivation
    statement = select(table).where(table.c.child == child).order_by(table.c.id)
    return all_rows(connection, statement, DerivationRow)


def children(connection: Connection, parent: str) -> list[DerivationRow]:
    table = schema.hub.derivation
    statement = select(table).where(table.c.parent == parent).order_by(table.c.id)
    return all_rows(connection, statement, DerivationRow)


def measure(connection: Connection, row: QualityRow) -> None:
    """Notes a measurement of a child."""
    connection.execute(insert(schema.hub.quality), [msgspec.structs.asdict(row)])


def measures(connection: Connection, child: str) -> list[QualityRow]:
    """Every measurement of a child, the newest first."""
    table = schema.hub.quality
    newest = (table.c.created_us.desc(), table.c.id.desc())
    statement = select(table).where(table.c.child == child).order_by(*newest)
    return all_rows(connection, statement, QualityRow)


def _revisions() -> Select[tuple[object, ...]]:
    table = schema.hub.revision
    return select(table).order_by(table.c.created_us.desc(), table.c.id)
