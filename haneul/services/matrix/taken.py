"""Rows of others: taken whole or not at all, from signers this home trusts, never as its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from haneul.base.errors import BadRequest, CommandError
from haneul.base.units import now_us
from haneul.chips.fleet import Fleet
from haneul.models.bundle.keys import Trusted
from haneul.services.matrix.own import rows_here
from haneul.services.matrix.row import Entry, MatrixRow
from haneul.services.matrix.sheet import Signed
from haneul.store import audit
from haneul.store import matrix as queries
from haneul.store.audit import Who
from haneul.store.matrix import TakenRow

KEPT_MOST = 100_000  # rows of others in one home


class Taken(Struct, frozen=True, kw_only=True):
    """What became of the rows of a file."""

    added: int
    known: int  # were here before
    own: int  # this home's own, come back: what was measured here is known without them
    signers: dict[str, int]  # rows that were added, by whose they are


def take(
    connection: Connection,
    rows: Iterable[Signed],
    *,
    own: str,
    trusted: Iterable[Trusted],
    actor: Who,
    source: str,
) -> Taken:
    """Keeps the rows of trusted signers. own is this home's public key.

    Raises BrokenFile for a changed row, BadRequest for a signer nobody trusts here, CommandError
    where no more are kept; nothing is kept then.
    """
    names = {each.key: each.name for each in trusted}
    found: dict[str, Signed] = {}
    returned = 0
    for signed in rows:
        if signed.signer == own:
            returned += 1
        elif signed.signer not in names:
            raise BadRequest(
                f"Rows are signed by {signed.signer}, whom this home does not trust: "
                f"haneul bundle trust {signed.signer} --name NAME"
            )
        else:
            found[signed.id] = signed
    there = queries.those_there(connection, list(found))
    fresh = [signed for ident, signed in found.items() if ident not in there]
    if queries.count(connection) + len(fresh) > KEPT_MOST:
        raise CommandError(f"A home keeps {KEPT_MOST:,} rows of others at most.")
    queries.add(connection, [_row(signed) for signed in fresh])
    signers: dict[str, int] = {}
    for signed in fresh:
        signers[signed.signer] = signers.get(signed.signer, 0) + 1
    taken = Taken(added=len(fresh), known=len(there), own=returned, signers=signers)
    if fresh:
        said = {"added": len(fresh), "signers": signers}
        audit.note(connection, actor, "matrix.import", source, after=said)
    return taken


def entries(
    connection: Connection,
    fleet: Fleet,
    *,
    own: str | None,
    trusted: Iterable[Trusted],
    with_requests: bool = True,
) -> list[Entry]:
    """The matrix: what was measured here first, then the rows of those who are trusted now."""
    names = {each.key: each.name for each in trusted if each.key != own}
    here = rows_here(connection, fleet, with_requests=with_requests)
    return [
        *(Entry(row=row) for row in here),
        *_of_others(connection, names),
    ]


def _of_others(connection: Connection, names: Mapping[str, str]) -> list[Entry]:
    found = []
    for each in queries.of(connection, names):
        try:
            row = msgspec.json.decode(each.written, type=MatrixRow)
        except msgspec.MsgspecError:
            continue  # of a release that took more; it stays where it is, and is not shown
        found.append(Entry(row=row, signer=each.signer, signer_name=names[each.signer]))
    return found


def _row(signed: Signed) -> TakenRow:
    return TakenRow(
        id=signed.id,
        signer=signed.signer,
        signature=signed.signature,
        model=signed.row.model,
        digest=signed.row.digest,
        chip=signed.row.chip,
        written=signed.written.decode(),
        taken_us=now_us(),
    )
