"""The tables of the hub: revisions, the names that point at them, what was made of what."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text

APPEND_ONLY = ("alias_move", "derivation", "quality")


class HubTables(NamedTuple):
    """Every table of the hub."""

    revision: Table
    alias_move: Table
    derivation: Table
    quality: Table
    pull_count: Table


def tables(metadata: MetaData) -> HubTables:
    """Adds them to the schema."""
    revision = Table(
        "revision",  # what a model's files are; never changed, only withdrawn
        metadata,
        Column("model", Text, primary_key=True),
        Column("id", Text, primary_key=True),  # digest of the manifest, hexadecimal
        Column("manifest", Text, nullable=False),  # JSON of models.manifest.Manifest
        Column("digest", Text, nullable=False),  # of the weights as the ledger names them
        Column("bytes", BigInteger, nullable=False),
        Column("source", Text, nullable=False),  # where it came from, in words
        Column("source_revision", Text, nullable=False),  # as the source calls it; "": none
        Column("licence", Text),
        Column("facts", Text, nullable=False),  # JSON: shape, template, what else is known
        Column("created_us", BigInteger, nullable=False),
        Column("withdrawn_us", BigInteger),
        Column("reason", Text),  # of the withdrawal
        Index("revision_by_id", "id"),
        Index("revision_by_digest", "digest"),
    )
    alias_move = Table(
        "alias_move",  # append-only; the newest of a model's alias holds
        metadata,
        Column("id", Text, primary_key=True),
        Column("model", Text, nullable=False),
        Column("alias", Text, nullable=False),
        Column("revision", Text),  # NULL: the alias was taken away
        Column("actor", Text, nullable=False),
        Column("created_us", BigInteger, nullable=False),
        Index("alias_newest", "model", "alias", "created_us"),
    )
    derivation = Table(
        "derivation",  # append-only: what was made of what, and how
        metadata,
        Column("id", Text, primary_key=True),
        Column("child", Text, nullable=False),  # revision
        Column("parent", Text, nullable=False),  # revision, or a name elsewhere (hf:org/repo@rev)
        Column("relation", Text, nullable=False),  # converted, quantized, merged, adapted, tuned
        Column("recipe", Text, nullable=False),  # JSON: all that is needed to do it again
        Column("tools", Text, nullable=False),  # JSON: names and versions
        Column("licence", Text),  # as inherited
        Column("created_us", BigInteger, nullable=False),
        Index("derivation_by_child", "child"),
        Index("derivation_by_parent", "parent"),
    )
    quality = Table(
        "quality",  # append-only; the newest of a child and parent holds
        metadata,
        Column("id", Text, primary_key=True),
        Column("child", Text, nullable=False),
        Column("parent", Text, nullable=False),
        Column("suite", Text, nullable=False),  # what was asked, with its version
        Column("measures", Text, nullable=False),  # JSON: name -> value, unit, interval
        Column("created_us", BigInteger, nullable=False),
        Index("quality_newest", "child", "created_us"),
    )
    pull_count = Table(
        "pull_count",  # what others took from here
        metadata,
        Column("model", Text, primary_key=True),
        Column("key_id", Text, primary_key=True),
        Column("day", Integer, primary_key=True),  # since 1970
        Column("pulls", BigInteger, nullable=False),
        Column("bytes", BigInteger, nullable=False),
    )
    return HubTables(revision, alias_move, derivation, quality, pull_count)
