"""The revisions of a model: kept for ever, pointed at by aliases, withdrawn with a reason.

A revision is named NAME@ALIAS or NAME@ID, of an ID as few of its first digits as are its own.
A derivative is not served before it was measured against its parent.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from haneul.base.errors import BadRequest, Conflict, ModelNotFound, NotAllowed
from haneul.base.ids import new_id
from haneul.base.units import now_us
from haneul.chips.shape import Shape
from haneul.models import quality
from haneul.models.manifest import Manifest, dump
from haneul.models.quality import Measures
from haneul.store import audit
from haneul.store import models as model_queries
from haneul.store import revisions as queries
from haneul.store.audit import Who
from haneul.store.revisions import AliasRow, DerivationRow, QualityRow, RevisionRow

ALIAS = re.compile(r"[a-z][a-z0-9._-]{0,31}")
PREFIX = re.compile(r"[0-9a-f]{6,64}")
SHORT = 12  # digits of an identifier that people are shown


class Facts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a revision beside its files."""

    shape: Shape | None = None
    template_sha256: str = ""  # of its chat template
    upstream: str = ""  # the makers' own repository
    left_out: tuple[str, ...] = ()  # files of the source that are not kept, and why


def register(
    connection: Connection,
    model: str,
    manifest: Manifest,
    *,
    digest: str,
    source: str,
    source_revision: str = "",
    licence: str | None = None,
    facts: Facts | None = None,
    actor: Who,
) -> RevisionRow:
    """Notes the files of a model as a revision; the one that is there where it is known already.

    digest is what the ledger calls the weights: the SHA-256 of a single file, else the revision's
    own name. Raises Conflict for a revision that was withdrawn.
    """
    row = RevisionRow(
        model=model,
        id=manifest.revision,
        manifest=dump(manifest),
        digest=digest,
        bytes=manifest.bytes,
        source=source,
        source_revision=source_revision,
        licence=licence,
        facts=msgspec.json.encode(facts or Facts()).decode(),
        created_us=now_us(),
    )
    present = queries.get(connection, model, row.id)
    if present is not None and present.withdrawn_us is not None:
        raise Conflict(f"{named(present)} was withdrawn: {present.reason or 'no reason given'}.")
    if present is not None:
        return present
    queries.add(connection, row)
    audit.note(connection, actor, "revision.add", model, row.id, after=_told(row))
    return row


def resolve(connection: Connection, text: str) -> RevisionRow:
    """The revision that NAME, NAME@ALIAS or NAME@ID means; of a name alone the one that serves.

    Raises ModelNotFound with what there is, BadRequest for an ID that several begin with.
    """
    rows = queries.of_model(connection, text)
    if rows:
        return _current(connection, text, rows)
    model, _, mark = text.rpartition("@")
    rows = queries.of_model(connection, model) if model else []
    if not rows:
        raise ModelNotFound(_unknown(connection, model or text), param="model")
    aliases = queries.aliases(connection, model)
    wanted = aliases.get(mark, mark)
    found = [row for row in rows if PREFIX.fullmatch(wanted) and row.id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadRequest(f"{len(found)} revisions of {model} begin with {mark}.", param="model")
    there = [*sorted(aliases), *(row.id[:SHORT] for row in rows[:5])]
    near = difflib.get_close_matches(mark, there, n=1)
    hint = f" Did you mean {model}@{near[0]}?" if near else f" There are: {', '.join(there)}."
    raise ModelNotFound(f"{model} has no revision or alias '{mark[:64]}'.{hint}", param="model")


def named(row: RevisionRow) -> str:
    """How a revision is shown: NAME@ID with an ID's first digits."""
    return f"{row.model}@{row.id[:SHORT]}"


def point(
    connection: Connection, model: str, alias: str, revision: RevisionRow | None, *, actor: Who
) -> None:
    """Moves an alias to a revision, or takes it away with None.

    Raises BadRequest for what cannot be an alias, Conflict for a withdrawn revision, NotAllowed
    for one that may not be served yet.
    """
    if not ALIAS.fullmatch(alias) or PREFIX.fullmatch(alias):
        raise BadRequest(
            "An alias is 1 to 32 small letters, digits, dots and dashes, and begins with a letter "
            "(prod, canary, v2).",
            param="alias",
        )
    before = queries.aliases(connection, model).get(alias)
    if revision is None and before is None:
        raise ModelNotFound(f"{model} has no alias '{alias}'.", param="alias")
    if revision is not None:
        if revision.withdrawn_us is not None:
            raise Conflict(f"{named(revision)} was withdrawn: {revision.reason}.")
        check_served(connection, revision)
    row = AliasRow(
        id=new_id("als"),
        model=model,
        alias=alias,
        revision=revision.id if revision else None,
        actor=actor if isinstance(actor, str) else actor.who,
        created_us=now_us(),
    )
    queries.move(connection, row)
    subject = f"{model}@{alias}"
    was, now = ({"revision": each} for each in (before, row.revision))
    audit.note(connection, actor, "alias.move", subject, before=was, after=now)


def check_served(connection: Connection, row: RevisionRow) -> None:
    """Raises NotAllowed for a derivative that nobody measured against its parent."""
    edges = queries.parents(connection, row.id)
    is_made = any(edge.relation in quality.MEASURED for edge in edges)
    if is_made and loss(connection, row.id) is None:
        raise NotAllowed(
            f"{named(row)} was made of another model and not measured against it: "
            f"haneul models measure {named(row)}"
        )


def loss(connection: Connection, revision: str) -> float | None:
    """By which share perplexity grew from its farthest measured ancestor; None: not measured.

    Along a line of derivatives the losses are multiplied; of several parents the worst counts.
    """
    rows = queries.measures(connection, revision)
    newest: dict[str, QualityRow] = {}
    for row in rows:
        newest.setdefault(row.parent, row)
    losses = []
    for parent, row in newest.items():
        if parent == revision:
            continue
        ratio = 1 + quality.read(row.measures).loss
        losses.append(ratio * (1 + (loss(connection, parent) or 0.0)) - 1)
    return max(losses, default=None)


def losses(connection: Connection) -> dict[str, float]:
    """The loss of every measured derivative, by the digest of its weights; the worst counts."""
    found: dict[str, float] = {}
    for row in queries.every(connection):
        lost = loss(connection, row.id)
        if lost is not None:
            found[row.digest] = max(lost, found.get(row.digest, 0.0))
    return found


def derived(
    connection: Connection,
    child: RevisionRow,
    parents: list[str],
    *,
    relation: str,
    recipe: dict[str, Any],
    tools: dict[str, str],
    actor: Who,
) -> None:
    """Notes what a revision was made of: the revisions' ids, or names elsewhere. Once each."""
    known = {(edge.parent, edge.relation) for edge in queries.parents(connection, child.id)}
    for parent in parents:
        if (parent, relation) in known:
            continue
        if parent == child.id or child.id in ancestors(connection, parent):
            raise Conflict(f"{named(child)} cannot come from itself.")
        row = DerivationRow(
            id=new_id("drv"),
            child=child.id,
            parent=parent,
            relation=relation,
            recipe=msgspec.json.encode(recipe).decode(),
            tools=msgspec.json.encode(tools).decode(),
            licence=child.licence,
            created_us=now_us(),
        )
        queries.derive(connection, row)
        audit.note(connection, actor, f"model.{relation}", named(child), parent, after=recipe)


def measured(
    connection: Connection, child: str, parent: str, suite: str, measures: Measures
) -> None:
    """Notes what a child lost against its parent."""
    row = QualityRow(
        id=new_id("qlt"),
        child=child,
        parent=parent,
        suite=suite,
        measures=quality.dump(measures),
        created_us=now_us(),
    )
    queries.measure(connection, row)


def ancestors(connection: Connection, revision: str) -> set[str]:
    """Everything that a revision was made of, however far back."""
    found: set[str] = set()
    open_ = [revision]
    while open_:
        for edge in queries.parents(connection, open_.pop()):
            if edge.parent not in found:
                found.add(edge.parent)
                open_.append(edge.parent)
    return found


def facts(row: RevisionRow) -> Facts:
    """What is known of a revision beside its files."""
    return msgspec.json.decode(row.facts, type=Facts)


def _current(connection: Connection, model: str, rows: list[RevisionRow]) -> RevisionRow:
    serving = model_queries.get(connection, model)
    for row in rows:
        if serving is not None and row.id == serving.revision:
            return row
    standing = [row for row in rows if row.withdrawn_us is None]
    return standing[0] if standing else rows[0]


def _unknown(connection: Connection, model: str) -> str:
    known = sorted({row.model for row in queries.every(connection)})
    near = difflib.get_close_matches(model, known, n=2)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"There is no model '{model[:100]}' here.{hint}"


def _told(row: RevisionRow) -> dict[str, Any]:
    names = ("model", "id", "digest", "bytes", "source", "source_revision", "licence")
    return {name: getattr(row, name) for name in names}
